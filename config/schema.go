package config

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// schema lists the keys that a mapping of the file may have. A key that lies
// in another has a dot: select.labels.
type schema []field

// field is one key.
type field struct {
	name  string
	usage string // one phrase
	slot
}

// slot is where the value of a key goes.
type slot struct {
	read  reader
	value func() any                        // what is there now
	items func() (all []schema, one schema) // of a list of mappings; else nil
}

// reader reads the value of the key at a path, such as plans[0].name. The line
// is that of the key. The value is never null: that is the same as leaving the
// key out.
type reader func(at string, line int, value *yaml.Node)

// names returns the names of the keys and of the sections that they lie in.
func (s schema) names() []string {
	var all []string
	for _, f := range s {
		for i, r := range f.name {
			if r == '.' {
				all = append(all, f.name[:i])
			}
		}
		all = append(all, f.name)
	}
	return all
}

func (s schema) find(name string) (field, bool) {
	i := slices.IndexFunc(s, func(f field) bool { return f.name == name })
	if i < 0 {
		return field{}, false
	}
	return s[i], true
}

// spelling returns a key as it was written. YAML 1.1, by which Helm reads its
// values, takes a bare on for true.
func (s schema) spelling(key string) string {
	if _, known := s.find("on"); known && key == "true" {
		return "on"
	}
	return key
}

func (s schema) isSection(name string) bool {
	return slices.ContainsFunc(s, func(f field) bool { return strings.HasPrefix(f.name, name+".") })
}

// mapping reads a mapping that lies at a path, "" being the top.
func (r *fileReader) mapping(at string, s schema, node *yaml.Node) {
	r.section(at, s, "", node)
}

// section reads the entries of one section of a mapping.
func (r *fileReader) section(at string, s schema, section string, node *yaml.Node) {
	lines := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], resolve(node.Content[i+1])
		name := join(section, s.spelling(key.Value))
		if first, twice := lines[name]; twice {
			r.fail(key.Line, join(at, name), "duplicate key; line %d has it too", first)
			continue
		}
		lines[name] = key.Line
		if strings.Contains(key.Value, ".") {
			r.unknown(at, s, name, key.Line)
			continue
		}
		r.entry(at, s, name, key.Line, value)
	}
}

// entry reads one value: that of a key, or a section with keys in it.
func (r *fileReader) entry(at string, s schema, name string, line int, value *yaml.Node) {
	f, known := s.find(name)
	switch {
	case !known && !s.isSection(name):
		r.unknown(at, s, name, line)
	case isNull(value):
	case known:
		r.lines[join(at, name)] = line
		f.read(join(at, name), line, value)
	case value.Kind != yaml.MappingNode:
		r.fail(line, join(at, name), "want a mapping, found %s", describe(value))
	default:
		r.lines[join(at, name)] = line
		r.section(at, s, name, value)
	}
}

func (r *fileReader) unknown(at string, s schema, name string, line int) {
	if _, known := s.find(name); known {
		r.fail(line, join(at, name), "write the parts of a key on lines of their own, each below the one before")
		return
	}
	if meant := closest(name, s.names()); meant != "" {
		r.fail(line, join(at, name), "unknown key; did you mean %s?", join(at, meant))
		return
	}
	r.fail(line, join(at, name), "unknown key")
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
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

// has reports whether a mapping has a value at the path: not null, and not
// empty.
func has(node *yaml.Node, path ...string) bool {
	if len(path) == 0 {
		return !isNull(node) && (node.Value != "" || len(node.Content) > 0)
	}
	for i := 0; node.Kind == yaml.MappingNode && i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == path[0] {
			return has(resolve(node.Content[i+1]), path[1:]...)
		}
	}
	return false
}
