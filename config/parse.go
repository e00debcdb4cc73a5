package config

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
)

// scalar makes the setter of a field that parse reads from one string.
func scalar[T any](parse func(string) (T, error), field func(*Config) *T) func(*Config, Rules, any) error {
	return func(c *Config, _ Rules, value any) error {
		v, err := parse(value.(string))
		if err != nil {
			return err
		}
		*field(c) = v
		return nil
	}
}

// classes makes the setter of a mapping from CSI driver to class.
func classes(field func(*Config) *map[string]string) func(*Config, Rules, any) error {
	return func(c *Config, _ Rules, value any) error {
		m := value.(map[string]string)
		if len(m) > 0 {
			*field(c) = m
		}
		return checkClasses(m)
	}
}

// scheduled makes the setter of a cron expression, "" being none.
func scheduled(field func(*Config) *string) func(*Config, Rules, any) error {
	return func(c *Config, rules Rules, value any) error {
		*field(c) = value.(string)
		_, err := keeping(fieldByField(rules.Schedule))(value.(string))
		return err
	}
}

func checkClasses(m map[string]string) error {
	var errs []string
	for _, driver := range slices.Sorted(maps.Keys(m)) {
		if driver == "" {
			errs = append(errs, "a driver's name is empty")
		}
		if problems := validation.IsDNS1123Subdomain(m[driver]); len(problems) > 0 {
			errs = append(errs, fmt.Sprintf("class %q of driver %s is not the name of an object", m[driver], driver))
		}
	}
	if errs != nil {
		return errors.New(strings.Join(errs, "; "))
	}
	return nil
}

func clusterName(s string) (string, error) {
	if len(s) > 253 || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return "", errors.New("want at most 253 printable characters")
	}
	return s, nil
}

func listen(s string) (string, error) {
	_, port, err := net.SplitHostPort(s)
	if n, portErr := strconv.ParseUint(port, 10, 16); err != nil || portErr != nil || strconv.FormatUint(n, 10) != port {
		return "", fmt.Errorf("%q: want [HOST]:PORT, such as :8080 or 127.0.0.1:8080", s)
	}
	return s, nil
}

func agentNamespace(s string) (string, error) { return s, namespace(s) }

func size(s string) (int64, error) {
	q, err := resource.ParseQuantity(s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a quantity; write it as 64Mi or 67108864", s)
	}
	if q.Sign() <= 0 || q.Cmp(*resource.NewQuantity(1<<40, resource.BinarySI)) > 0 {
		return 0, fmt.Errorf("%q: want more than 0 and at most 1Ti", s)
	}
	return q.Value(), nil
}

func ratio(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%q: want a whole number of at least 1", s)
	}
	return n, nil
}

func qps(s string) (float32, error) {
	n, err := strconv.ParseFloat(s, 32)
	if err != nil || !(n > 0 && n <= 1e6 || n == -1) {
		return 0, fmt.Errorf("%q: want a number above 0, or -1 for no limit", s)
	}
	return float32(n), nil
}

func burst(s string) (int, error) {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 1 && n != -1 {
		return 0, fmt.Errorf("%q: want a whole number of at least 1, or -1 for no limit", s)
	}
	return int(n), nil
}

func logLevel(s string) (slog.Level, error) {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	level, ok := levels[s]
	if !ok {
		return 0, fmt.Errorf("%q: want debug, info, warn or error", s)
	}
	return level, nil
}

func logFormat(s string) (LogFormat, error) {
	if f := LogFormat(s); f == LogText || f == LogJSON {
		return f, nil
	}
	return "", fmt.Errorf("%q: want text or json", s)
}

// keeping makes a parser of a check. An empty text is that of a key left out.
func keeping(check func(string) error) func(string) (string, error) {
	return func(s string) (string, error) {
		if s == "" || check == nil {
			return s, nil
		}
		return s, check(s)
	}
}

// oneOf makes a parser that takes nothing but these words.
func oneOf(words ...string) func(string) (string, error) {
	return func(s string) (string, error) {
		if !slices.Contains(words, s) {
			return "", fmt.Errorf("%q: want %s", s, alternatives(words))
		}
		return s, nil
	}
}

// alternatives joins words as a sentence does: json, text or xml.
func alternatives(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

func timezone(s string) (string, error) {
	if _, err := time.LoadLocation(s); err != nil || s == "" || s == "Local" {
		return "", fmt.Errorf("%q is not a time zone; want a name of the IANA database, such as Europe/Berlin or UTC", s)
	}
	return s, nil
}

func truth(s string) (bool, error) {
	b, err := strconv.ParseBool(s)
	if err != nil {
		return false, fmt.Errorf("%q: want true or false", s)
	}
	return b, nil
}

func count(s string) (int, error) {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q: want a whole number, 0 or more", s)
	}
	return int(n), nil
}

func (r Rules) workload(reference string) error {
	if r.Workload == nil {
		return nil
	}
	return r.Workload(reference)
}

func namespace(s string) error {
	if len(validation.IsDNS1123Label(s)) > 0 {
		return fmt.Errorf("%q is not the name of a namespace", s)
	}
	return nil
}

func container(s string) error {
	if len(validation.IsDNS1123Label(s)) > 0 {
		return fmt.Errorf("%q is not the name of a container", s)
	}
	return nil
}

func image(s string) error {
	if s == "" || strings.ContainsFunc(s, unicode.IsSpace) {
		return fmt.Errorf("%q is not the name of an image, such as redis:7.0", s)
	}
	return nil
}

func anything(string) error { return nil }
