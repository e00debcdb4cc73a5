package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
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
	if home := lookup(env, "XDG_CONFIG_HOME"); filepath.IsAbs(home) {
		files = append(files, filepath.Join(home, "hawser", "config.yaml"))
	} else if home := lookup(env, "HOME"); home != "" {
		files = append(files, filepath.Join(home, ".config", "hawser", "config.yaml"))
	}
	return append(files, "/etc/hawser/config.yaml")
}

// fromFile reads the configuration file, if there is one.
func fromFile(keys []Key, source Source) (layer, error) {
	path, data, err := findFile(source)
	if err != nil {
		var cause *fs.PathError
		if errors.As(err, &cause) {
			err = cause.Err
		}
		return nil, &Error{Origin: Origin{Source: File, Name: path}, Problem: fmt.Sprintf("cannot read the configuration file: %v", err)}
	}
	r := &fileReader{path: path, keys: keys, known: byName(keys), layer: layer{}}
	r.read(data)
	return r.layer, errors.Join(r.errs...)
}

// findFile reads the file that source names or implies. Without one it returns
// no data.
func findFile(source Source) (path string, data []byte, err error) {
	if path = source.File; path == "" {
		path = lookup(source.Env, FileVariable)
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
	path  string
	keys  []Key
	known map[string]Key
	layer layer
	errs  []error
}

func (r *fileReader) fail(line int, key, format string, args ...any) {
	origin := Origin{Source: File, Name: r.path, Line: line}
	r.errs = append(r.errs, &Error{Origin: origin, Key: key, Problem: fmt.Sprintf(format, args...)})
}

func (r *fileReader) read(data []byte) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document yaml.Node
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return
	} else if err != nil {
		r.fail(0, "", "not YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
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
		r.section("", root)
	}
}

// section reads the entries of a mapping that lies at the given path.
func (r *fileReader) section(path string, node *yaml.Node) {
	lines := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], resolve(node.Content[i+1])
		name := key.Value
		if path != "" {
			name = path + "." + key.Value
		}
		if first, twice := lines[name]; twice {
			r.fail(key.Line, name, "duplicate key; line %d has it too", first)
			continue
		}
		lines[name] = key.Line
		r.entry(name, strings.Contains(key.Value, "."), key.Line, value)
	}
}

// entry reads one value: a setting, or a section with settings below it.
func (r *fileReader) entry(name string, dotted bool, line int, value *yaml.Node) {
	k, known := r.known[name]
	switch {
	case dotted:
		r.unknown(name, line)
	case known:
		r.setting(k, line, value)
	case !r.isSection(name):
		r.unknown(name, line)
	case isNull(value):
	case value.Kind != yaml.MappingNode:
		r.fail(line, name, "want a mapping, found %s", describe(value))
	default:
		r.section(name, value)
	}
}

func (r *fileReader) isSection(name string) bool {
	return slices.ContainsFunc(r.keys, func(k Key) bool { return strings.HasPrefix(k.Name, name+".") })
}

func (r *fileReader) unknown(name string, line int) {
	if _, known := r.known[name]; known {
		r.fail(line, name, "write the parts of a key on lines of their own, each below the one before")
		return
	}
	if meant := closest(name, names(r.keys)); meant != "" {
		r.fail(line, name, "unknown key; did you mean %s?", meant)
		return
	}
	r.fail(line, name, "unknown key")
}

// setting reads the value of a known key. Null is the same as leaving it out.
func (r *fileReader) setting(k Key, line int, node *yaml.Node) {
	origin := Origin{Source: File, Name: r.path, Line: line}
	switch {
	case isNull(node):
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

func resolve(node *yaml.Node) *yaml.Node {
	if node.Kind == yaml.AliasNode {
		return node.Alias
	}
	return node
}

func isNull(node *yaml.Node) bool {
	return node.Kind == yaml.ScalarNode && node.ShortTag() == "!!null"
}

// describe names what a value is, and never the value: it may be a secret in
// the wrong place.
func describe(node *yaml.Node) string {
	switch node.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch node.ShortTag() {
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "a boolean"
	case "!!null":
		return "nothing"
	case "!!str":
		return "a string"
	}
	return "another type"
}
