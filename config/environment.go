package config

import (
	"errors"
	"regexp"
	"slices"
	"strings"
)

const (
	envPrefix = "HAWSER_"
	// FileVariable names the configuration file.
	FileVariable = envPrefix + "CONFIG"
)

// serviceLink matches the variables that the kubelet sets for a Service whose
// name begins with hawser. They are not ours.
var serviceLink = regexp.MustCompile(`^HAWSER(_[A-Z0-9_]+)?_(SERVICE_HOST|SERVICE_PORT|PORT)(_[A-Z0-9_]+)?$`)

// fromEnvironment reads the variables that are ours. An empty one counts as
// not set. A variable that no key has is an error only if it is close to one
// that a key has: others may have reasons to call theirs HAWSER_SOMETHING.
func fromEnvironment(keys []Key, env []string) (layer, error) {
	byVariable := map[string]Key{FileVariable: {}}
	variables := []string{FileVariable}
	for _, k := range keys {
		byVariable[k.Env()] = k
		variables = append(variables, k.Env())
	}
	l := layer{}
	var errs []error
	for _, assignment := range slices.Sorted(slices.Values(env)) {
		name, value, _ := strings.Cut(assignment, "=")
		if !strings.HasPrefix(name, envPrefix) || value == "" || name == FileVariable || serviceLink.MatchString(name) {
			continue
		}
		origin := Origin{Source: Environment, Name: name}
		k, known := byVariable[name]
		if !known {
			if meant := closest(name, variables); meant != "" {
				errs = append(errs, &Error{Origin: origin, Problem: "unknown variable; did you mean " + meant + "?"})
			}
			continue
		}
		parsed, err := k.shape.parse(value)
		if err != nil {
			errs = append(errs, &Error{Origin: origin, Key: k.Name, Problem: err.Error()})
			continue
		}
		l[k.Name] = setting{value: parsed, origin: origin}
	}
	return l, errors.Join(errs...)
}

// fromFlags reads the flags that were given.
func fromFlags(keys []Key, flags map[string]string) (layer, error) {
	l := layer{}
	var errs []error
	for _, k := range keys {
		value, given := flags[k.Name]
		if !given {
			continue
		}
		origin := Origin{Source: Flag, Name: "--" + k.Flag()}
		parsed, err := k.shape.parse(value)
		if err != nil {
			errs = append(errs, &Error{Origin: origin, Key: k.Name, Problem: err.Error()})
			continue
		}
		l[k.Name] = setting{value: parsed, origin: origin}
	}
	return l, errors.Join(errs...)
}

// Lookup returns the value of a variable in an environment, or "".
func Lookup(env []string, name string) string {
	value := ""
	for _, assignment := range env {
		if n, v, ok := strings.Cut(assignment, "="); ok && n == name {
			value = v // the last one counts, as for exec.Cmd
		}
	}
	return value
}
