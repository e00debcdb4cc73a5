package config

import (
	"errors"
	"strings"
	"testing"
)

// noHour25 is a rule that knows little of cron.
func noHour25(expression string) error {
	fields := strings.Fields(expression)
	switch {
	case expression == "@daily":
		return nil
	case strings.Contains(expression, "@every"), strings.Contains(expression, "TZ="):
		return errors.New("use something else")
	case len(fields) != 5:
		return errors.New("cannot read it")
	case fields[1] == "25":
		return errors.New("refused")
	case expression == "0 0 31 2 *":
		return errors.New("it never runs")
	}
	return nil
}

func TestWhichFieldOfAScheduleIsWrong(t *testing.T) {
	tests := []struct{ name, expression, want string }{
		{"a schedule that is right", "0 24 * * *", ""},
		{"a word that is right", "@daily", ""},
		{"steps that are right", "*/60 0/24 1-31/31 */12 0,1-6/7", ""},
		{"the field that the rule refuses alone", "0 25 * * *", `"0 25 * * *": hour "25": refused; want 0 to 23, or *, with ranges, lists and steps`},
		{"fields that only go wrong together", "0 0 31 2 *", `"0 0 31 2 *": it never runs`},
		{"a field too many", "0 0 * * * *", `"0 0 * * * *": want five fields (minute, hour, day of the month, month, day of the week), found 6`},
		{"a single field", "hourly", `"hourly": want five fields (minute, hour, day of the month, month, day of the week), found 1`},
		{"spaces", "  ", `"  ": want five fields (minute, hour, day of the month, month, day of the week), found 0`},
		{"an unknown word", "@dayly", `"@dayly": want @hourly, @daily, @weekly, @monthly or @yearly, or five fields`},
		{"a reason of the rule's own", "@every 5m", `"@every 5m": use something else`},
		{"a time zone in the expression", "TZ=UTC 0 0 * * *", `"TZ=UTC 0 0 * * *": use something else`},
		{"a step larger than its field", "*/90 * * * *", `"*/90 * * * *": minute "*/90": a step of 90 is more than the 60 that there are, so it would not be kept; list the times, or use a smaller step`},
		{"a step larger than its field, in a list", "0 1,*/36 * * *", `"0 1,*/36 * * *": hour "1,*/36": a step of 36 is more than the 24 that there are, so it would not be kept; list the times, or use a smaller step`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := ""
			if err := fieldByField(noHour25)(test.expression); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("error\n%s\nwant\n%s", got, test.want)
			}
		})
	}
	if fieldByField(nil) != nil {
		t.Error("without a rule there is something to check")
	}
}

func TestTheScheduleOfPruning(t *testing.T) {
	wantErrors(t, "prune: {schedule: '0 25 * * *'}", []string{
		`FILE:1: prune.schedule: "0 25 * * *": hour "25": refused; want 0 to 23, or *, with ranges, lists and steps`,
	})
}
