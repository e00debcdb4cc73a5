package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// cronFields are the fields of a cron expression.
var cronFields = []struct {
	name, want string
	size       int
}{
	{"minute", "0 to 59", 60},
	{"hour", "0 to 23", 24},
	{"day of the month", "1 to 31", 31},
	{"month", "1 to 12, or JAN to DEC", 12},
	{"day of the week", "0 (Sunday) to 6, or SUN to SAT", 7},
}

// fieldByField makes a rule for cron expressions say which field it refuses:
// the one that it refuses among others that are all *. A nil rule stays nil.
func fieldByField(rule func(string) error) func(string) error {
	if rule == nil {
		return nil
	}
	return func(expression string) error {
		err := rule(expression)
		if err == nil {
			err = checkSteps(strings.Fields(expression))
		} else {
			err = explain(rule, expression, err)
		}
		if err != nil {
			return fmt.Errorf("%q: %w", expression, err)
		}
		return nil
	}
}

// explain says why rule refuses an expression, as a whole for the reason given.
func explain(rule func(string) error, expression string, whole error) error {
	fields := strings.Fields(expression)
	switch first, _, _ := strings.Cut(expression, " "); {
	case strings.HasPrefix(first, "@") && first != "@every":
		return errors.New("want @hourly, @daily, @weekly, @monthly or @yearly, or five fields")
	case strings.ContainsAny(first, "@="): // or a time zone before the fields
		return whole
	case len(fields) != len(cronFields):
		return fmt.Errorf("want five fields (minute, hour, day of the month, month, day of the week), found %d", len(fields))
	}
	for i, f := range cronFields {
		alone := []string{"*", "*", "*", "*", "*"}
		alone[i] = fields[i]
		if err := rule(strings.Join(alone, " ")); err != nil {
			return fmt.Errorf("%s %q: %w; want %s, or *, with ranges, lists and steps", f.name, fields[i], err, f.want)
		}
	}
	return whole
}

// checkSteps refuses a step that is larger than its field: */90 minutes would
// run every hour.
func checkSteps(fields []string) error {
	if len(fields) != len(cronFields) {
		return nil
	}
	for i, f := range cronFields {
		for part := range strings.SplitSeq(fields[i], ",") {
			_, step, _ := strings.Cut(part, "/")
			if n, err := strconv.Atoi(step); err == nil && n > f.size {
				return fmt.Errorf("%s %q: a step of %d is more than the %d that there are, so it would not be kept; list the times, or use a smaller step", f.name, fields[i], n, f.size)
			}
		}
	}
	return nil
}
