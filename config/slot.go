package config

import (
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/labels"
)

// scalarInto makes the slot of one scalar.
func scalarInto[T any](r *fileReader, s shape, parse func(string) (T, error), into *T) slot {
	read := func(at string, line int, node *yaml.Node) {
		if node.Kind != yaml.ScalarNode || !slices.Contains(s.tags, node.ShortTag()) {
			r.fail(line, at, "want %s, found %s", s.want, describe(node))
			return
		}
		value, err := parse(node.Value)
		if err != nil {
			r.fail(line, at, "%v", err)
			return
		}
		*into = value
	}
	return slot{read: read, value: func() any { return *into }}
}

// boolInto makes the slot of true or false.
func (r *fileReader) boolInto(into *bool) slot {
	return scalarInto(r, boolean, truth, into)
}

// countInto makes the slot of a number of points.
func (r *fileReader) countInto(into *int) slot { return scalarInto(r, number, count, into) }

// stringsInto makes the slot of a list of strings.
func (r *fileReader) stringsInto(want string, check func(string) error, into *[]string) slot {
	read := func(at string, line int, node *yaml.Node) {
		*into = nil
		r.list(want, func(at string, line int, node *yaml.Node) {
			var item string
			scalarInto(r, text, func(s string) (string, error) { return s, check(s) }, &item).read(at, line, node)
			*into = append(*into, item)
		})(at, line, node)
	}
	return slot{read: read, value: func() any { return *into }}
}

// itemsInto makes the slot of a list of mappings. An item begins as fresh, is
// read by the schema that of returns for it, and is then checked as a whole.
func itemsInto[T any](r *fileReader, into *[]T, fresh func() T, of func(*T) schema,
	check func(at string, line int, node *yaml.Node, item *T)) slot {
	read := r.list(wantList, func(at string, line int, node *yaml.Node) {
		item := fresh()
		if node.Kind != yaml.MappingNode {
			r.fail(line, at, "want %s, found %s", wantMapping, describe(node))
		} else {
			r.mapping(at, of(&item), node)
			check(at, line, node, &item)
		}
		*into = append(*into, item)
	})
	items := func() (all []schema, one schema) {
		for i := range *into {
			all = append(all, of(&(*into)[i]))
		}
		item := fresh()
		return all, of(&item)
	}
	return slot{read: read, items: items}
}

// list makes the reader of a list, each item of which is read by item.
func (r *fileReader) list(want string, item reader) reader {
	return func(at string, line int, node *yaml.Node) {
		if node.Kind != yaml.SequenceNode {
			r.fail(line, at, "want %s, found %s", want, describe(node))
			return
		}
		for i, value := range node.Content {
			path := fmt.Sprintf("%s[%d]", at, i)
			r.lines[path] = value.Line
			item(path, value.Line, resolve(value))
		}
	}
}

// selectorInto makes the slot of a label selector: one as kubectl takes it, or
// a mapping of labels that must all be there.
func (r *fileReader) selectorInto(into *string) slot {
	read := func(at string, line int, node *yaml.Node) {
		var selector labels.Selector
		var err error
		switch {
		case node.Kind == yaml.MappingNode:
			selector, err = labels.ValidatedSelectorFromSet(r.strings(at, node))
		case node.Kind == yaml.ScalarNode && node.ShortTag() == "!!str":
			selector, err = labels.Parse(node.Value)
		default:
			r.fail(line, at, "want %s, found %s", wantSelector, describe(node))
			return
		}
		if err != nil {
			r.fail(line, at, "want %s: %v", wantSelector, err)
			return
		}
		*into = selector.String()
	}
	return slot{read: read, value: func() any { return *into }}
}

// classesInto makes the slot of a mapping from CSI driver to class.
func (r *fileReader) classesInto(into *map[string]string) slot {
	read := func(at string, line int, node *yaml.Node) {
		if node.Kind != yaml.MappingNode {
			r.fail(line, at, "want %s, found %s", wantMapping, describe(node))
			return
		}
		m := r.strings(at, node)
		if err := checkClasses(m); err != nil {
			r.fail(line, at, "%v", err)
			return
		}
		*into = m
	}
	return slot{read: read, value: func() any { return *into }}
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
