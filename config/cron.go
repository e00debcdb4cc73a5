package config

import (
	"fmt"
	"strings"
)

// cronFields are the fields of a cron expression.
var cronFields = []struct{ name, want string }{
	{"minute", "0 to 59"},
	{"hour", "0 to 23"},
	{"day of the month", "1 to 31"},
	{"month", "1 to 12, or JAN to DEC"},
	{"day of the week", "0 (Sunday) to 6, or SUN to SAT"},
}

// fieldByField makes a rule for cron expressions say which field it refuses:
// the one that it refuses among others that are all *.
func fieldByField(rule func(string) error) func(string) error {
	if rule == nil {
		return nil
	}
	return func(expression string) error {
		whole := rule(expression)
		fields := strings.Fields(expression)
		switch {
		case whole == nil:
			return nil
		case strings.ContainsAny(expression, "@="): // a word in place of fields, or a zone before them
			return fmt.Errorf("%q: %w", expression, whole)
		case len(fields) != len(cronFields):
			return fmt.Errorf("%q: want five fields: minute, hour, day of the month, month, day of the week; found %d", expression, len(fields))
		}
		for i, f := range cronFields {
			alone := []string{"*", "*", "*", "*", "*"}
			alone[i] = fields[i]
			if err := rule(strings.Join(alone, " ")); err != nil {
				return fmt.Errorf("%q: the %s, %s: %w; want %s, or *, with steps, ranges and lists", expression, f.name, fields[i], err, f.want)
			}
		}
		return fmt.Errorf("%q: %w", expression, whole)
	}
}
