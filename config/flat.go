package config

import (
	"cmp"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// FileKey describes a key of a list, which only the file has.
type FileKey struct {
	Name    string // such as plans[].name; each item of the list has it
	Default string // as people write it; "" if there is none
	Usage   string // one phrase
	List    bool   // it is a list itself; the keys of its items follow
}

// FileKeys returns the keys of all lists, in the order in which they are listed.
func FileKeys() []FileKey { return (&fileReader{}).lists().fileKeys("") }

func (s schema) fileKeys(at string) []FileKey {
	var keys []FileKey
	for _, f := range s {
		name := join(at, f.name)
		if f.items == nil {
			keys = append(keys, FileKey{Name: name, Default: defaultText(f.value()), Usage: f.usage})
			continue
		}
		_, one := f.items()
		keys = append(keys, FileKey{Name: name, Usage: f.usage, List: true})
		keys = append(keys, one.fileKeys(name+"[]")...)
	}
	return keys
}

func defaultText(value any) string {
	if d, ok := value.(time.Duration); ok {
		return durationText(d)
	}
	switch v := plain(value).(type) {
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case []string:
		return strings.Join(v, ", ")
	}
	return ""
}

// Flat lists the effective values as Values does, but takes lists apart: one
// value for each key of each item that is in the file or has a default.
func (c Config) Flat() []Value { return c.flat }

// flatten lists the values of a mapping at a path. The plans are those in
// force: what one leaves open is in settings under the same name.
func (r *fileReader) flatten(at string, s schema, settings layer) []Value {
	var values []Value
	for _, f := range s {
		key := join(at, f.name)
		if f.items != nil {
			all, _ := f.items()
			for i, item := range all {
				values = append(values, r.flatten(fmt.Sprintf("%s[%d]", key, i), item, settings)...)
			}
			continue
		}
		value, line, inherited := f.value(), r.lines[key], settings[f.name]
		switch {
		case inherited.overrides() || inherited.value != nil && line == 0:
			values = append(values, Value{key, plain(value), inherited.origin})
		case line > 0:
			values = append(values, Value{key, plain(value), r.origin(line)})
		case !reflect.ValueOf(value).IsZero():
			values = append(values, Value{key, plain(value), Origin{Source: Default}})
		}
	}
	return values
}

// item is one item of a list as a value.
func (r *fileReader) item(list string, i int, value any) Value {
	key := fmt.Sprintf("%s[%d]", list, i)
	return Value{key, value, r.origin(r.lines[key])}
}

// plain makes a value one that Value can hold.
func plain(value any) any {
	switch v := value.(type) {
	case time.Duration:
		return cmp.Or(durationText(v), "0s")
	case WebhookURL:
		return v.String()
	}
	return value
}
