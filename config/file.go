package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// DefaultFiles returns the files that are looked for, in this order, when none
// is named: $XDG_CONFIG_HOME/hawser/config.yaml (~/.config if that variable is
// not set) and /etc/hawser/config.yaml. The first that exists is the only one
// that is read.
func DefaultFiles(env []string) []string {
	var files []string
	if home := Lookup(env, "XDG_CONFIG_HOME"); filepath.IsAbs(home) {
		files = append(files, filepath.Join(home, "hawser", "config.yaml"))
	} else if home := Lookup(env, "HOME"); home != "" {
		files = append(files, filepath.Join(home, ".config", "hawser", "config.yaml"))
	}
	return append(files, "/etc/hawser/config.yaml")
}

// fromFile reads the configuration file, if there is one.
func fromFile(keys []Key, source Source) (*fileReader, error) {
	r := &fileReader{rules: source.Rules, layer: layer{}, lines: map[string]int{}}
	path, data, err := findFile(source)
	if err != nil {
		var cause *fs.PathError
		if errors.As(err, &cause) {
			err = cause.Err
		}
		return r, &Error{Origin: Origin{Source: File, Name: path}, Problem: fmt.Sprintf("cannot read the configuration file: %v", err)}
	}
	r.path = path
	r.read(keys, data)
	slices.SortStableFunc(r.errs, func(a, b *Error) int { return cmp.Compare(a.Origin.Line, b.Origin.Line) })
	var errs []error
	for _, err := range r.errs {
		errs = append(errs, err)
	}
	return r, errors.Join(errs...)
}

// findFile reads the file that source names or implies. Without one it returns
// no data.
func findFile(source Source) (path string, data []byte, err error) {
	if path = source.File; path == "" {
		path = Lookup(source.Env, FileVariable)
	}
	if path != "" {
		data, err = os.ReadFile(path)
		return path, data, err
	}
	for _, path := range DefaultFiles(source.Env) {
		data, err := os.ReadFile(path)
		if !errors.Is(err, fs.ErrNotExist) {
			return path, data, err
		}
	}
	return "", nil, nil
}

// fileReader gathers what a file says and everything that is wrong with it.
type fileReader struct {
	path   string
	rules  Rules
	layer  layer
	lines  map[string]int // where each key is, by its path
	plans  []Plan
	notify []Notify
	errs   []*Error
}

func (r *fileReader) origin(line int) Origin { return Origin{Source: File, Name: r.path, Line: line} }

func (r *fileReader) fail(line int, key, format string, args ...any) {
	r.errs = append(r.errs, &Error{Origin: r.origin(line), Key: key, Problem: fmt.Sprintf(format, args...)})
}

func (r *fileReader) read(keys []Key, data []byte) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document yaml.Node
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return
	} else if err != nil {
		r.fail(0, "", "not YAML: %s%s", strings.TrimPrefix(err.Error(), "yaml: "), quotesHint(data))
		return
	}
	var second yaml.Node
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		r.fail(second.Line, "", "want one YAML document; a second one begins")
		return
	}
	root := document.Content[0]
	switch {
	case isNull(root):
	case root.Kind != yaml.MappingNode:
		r.fail(root.Line, "", "want a mapping of keys such as store and snapshot")
	default:
		r.mapping("", r.schema(keys), root)
	}
}

// bareSchedule is a cron expression that YAML does not take for a string: a
// leading * is an alias, and a leading @ is reserved.
var bareSchedule = regexp.MustCompile(`^[^#]*\bschedule:\s*[*@]`)

// quotesHint says what is probably wrong with data that is not YAML, or "".
func quotesHint(data []byte) string {
	for i, line := range strings.Split(string(data), "\n") {
		if bareSchedule.MatchString(line) {
			return fmt.Sprintf("; the schedule in line %d needs quotes, since it begins with * or @", i+1)
		}
	}
	return ""
}

// schema is that of the whole file.
func (r *fileReader) schema(keys []Key) schema {
	var s schema
	for _, k := range keys {
		read := func(_ string, line int, node *yaml.Node) { r.setting(k, line, node) }
		s = append(s, field{k.Name, k.Usage, slot{read: read}})
	}
	return append(s, r.lists()...)
}

// setting reads the value of a key that variables and flags have too.
func (r *fileReader) setting(k Key, line int, node *yaml.Node) {
	origin := r.origin(line)
	switch {
	case k.shape.isMapping() && node.Kind == yaml.MappingNode:
		r.layer[k.Name] = setting{value: r.strings(k.Name, node), origin: origin}
	case node.Kind == yaml.ScalarNode && slices.Contains(k.shape.tags, node.ShortTag()):
		r.layer[k.Name] = setting{value: node.Value, origin: origin}
	default:
		r.fail(line, k.Name, "want %s, found %s", k.shape.want, describe(node))
	}
}

// strings reads a mapping of strings. Its keys are the user's own, so they may
// hold dots and capitals.
func (r *fileReader) strings(name string, node *yaml.Node) map[string]string {
	m := map[string]string{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], resolve(node.Content[i+1])
		at := fmt.Sprintf("%s[%s]", name, key.Value)
		if _, twice := m[key.Value]; twice {
			r.fail(key.Line, at, "duplicate key")
			continue
		}
		if value.Kind != yaml.ScalarNode || value.ShortTag() != "!!str" {
			r.fail(key.Line, at, "want a string, found %s", describe(value))
			continue
		}
		m[key.Value] = value.Value
	}
	return m
}
