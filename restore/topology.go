package restore

import (
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// topology maps the zones and keys in a map of labels.
func (r *remapper) topology(object map[string]any, path ...string) {
	labels, found, err := unstructured.NestedStringMap(object, path...)
	if !found || err != nil {
		return
	}
	out := map[string]any{}
	for key, value := range labels {
		out[r.to("key", r.TopologyKeys, key)] = r.zone(key, value)
	}
	setNested(object, out, path...)
}

// zone maps value if key says that it is a zone: topology.kubernetes.io/zone,
// and the keys of the drivers, all end so.
func (r *remapper) zone(key, value string) string {
	if !strings.HasSuffix(key, "/zone") {
		return value
	}
	return r.to("zone", r.Zones, value)
}

// affinity maps zones and keys in a list of node selector terms.
func (r *remapper) affinity(object map[string]any, path ...string) {
	each(object, func(term map[string]any) { r.terms(term) }, path...)
}

// terms maps the expressions of one node selector term.
func (r *remapper) terms(term map[string]any, path ...string) {
	each(term, func(expression map[string]any) {
		key, _ := expression["key"].(string)
		values, _, _ := unstructured.NestedStringSlice(expression, "values")
		var out []any
		for _, value := range values {
			out = append(out, r.zone(key, value))
		}
		if out != nil {
			expression["values"] = out
		}
		expression["key"] = r.to("key", r.TopologyKeys, key)
	}, append(path, "matchExpressions")...)
}

// each calls change for each map in a list within object, which it may change.
func each(object map[string]any, change func(map[string]any), path ...string) {
	list, found, _ := unstructured.NestedFieldNoCopy(object, path...)
	elements, ok := list.([]any)
	if !found || !ok {
		return
	}
	for _, element := range elements {
		if m, ok := element.(map[string]any); ok {
			change(m)
		}
	}
}

// mapString changes a string within object, if it is there.
func mapString(object map[string]any, change func(string) string, path ...string) {
	if value, found, _ := unstructured.NestedString(object, path...); found && value != "" {
		setNested(object, change(value), path...)
	}
}

// setNested sets a field of an object that is as the API server gave it: all
// that leads to the field are maps, or absent.
func setNested(object map[string]any, value any, path ...string) {
	if err := unstructured.SetNestedField(object, value, path...); err != nil {
		panic(err)
	}
}

// setLabel sets a label, or with "" removes it.
func setLabel(o *unstructured.Unstructured, key, value string) {
	labels := o.GetLabels()
	delete(labels, key)
	if value != "" {
		labels[key] = value
	}
	o.SetLabels(labels)
}
