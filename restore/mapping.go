package restore

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"hawser.dev/hawser/catalog"
)

// Mapping says under which names, and with what changes, a point comes back.
// Each map goes from what the point has to what is wanted. The zero value
// changes nothing but what would make a GitOps tool prune what is restored.
type Mapping struct {
	Namespaces map[string]string
	// StorageClasses maps the recorded class to the one to use; "" as a value
	// means no class. StorageClass is for the classes that are not in it.
	StorageClasses map[string]string
	StorageClass   *string
	// Drivers maps CSI drivers. Whether one driver knows the disks of another by
	// the same handles only the user can say, so it needs FromDisks or FromSnapshots.
	Drivers map[string]string
	// Zones maps the values of labels and affinities whose key ends in /zone, of
	// volumes and of Pods; TopologyKeys maps such keys.
	Zones        map[string]string
	TopologyKeys map[string]string
	// VolumeNames maps the names of PersistentVolumes that are created. The others
	// are named by VolumeTemplate, if it is set: {namespace}, {claim} and {pv}
	// stand for what the volume had, after mapping, and its former name.
	VolumeNames    map[string]string
	VolumeTemplate string
	// Sets maps the names of StatefulSets: their claims get the names that the
	// controller looks for.
	Sets map[string]string
	// Replicas sets spec.replicas of a StatefulSet or Deployment, by its name in
	// the point; the zero Workload stands for all others.
	Replicas map[catalog.Workload]int32 `json:"-"` // JSON has no such keys
	// KeepTracking keeps the labels and annotations by which GitOps tools know
	// what is theirs.
	KeepTracking bool
	// Patches change what is created, after all else.
	Patches []Patch
}

// class is the storage class that the mapping asks for in place of recorded.
func (m Mapping) class(recorded string) (class string, asked bool) {
	if mapped, asked := m.StorageClasses[recorded]; asked {
		return mapped, true
	}
	if m.StorageClass != nil {
		return *m.StorageClass, true
	}
	return recorded, false
}

// Mapped is what a map of a Mapping makes of a name: the name, if it says nothing.
func Mapped(m map[string]string, name string) string {
	if to, ok := m[name]; ok {
		return to
	}
	return name
}

// volumeName is the name under which a PersistentVolume is created; v is
// mapped but for it.
func (m Mapping) volumeName(v catalog.Volume) string {
	if to, ok := m.VolumeNames[v.PersistentVolume]; ok {
		return to
	}
	if m.VolumeTemplate == "" {
		return v.PersistentVolume
	}
	return strings.NewReplacer("{namespace}", v.Claim.Namespace, "{claim}", v.Claim.Name, "{pv}", v.PersistentVolume).Replace(m.VolumeTemplate)
}

// check refuses new names that the API server would not take.
func (m Mapping) check() []Refusal {
	var refusals []Refusal
	rules := []struct {
		kind  string
		names map[string]string
		valid func(string) []string
	}{
		{"Namespace", m.Namespaces, validation.IsDNS1123Label},
		{"StatefulSet", m.Sets, validation.IsDNS1123Label},
		{"PersistentVolume", m.VolumeNames, validation.IsDNS1123Subdomain},
		{"CSIDriver", m.Drivers, validation.IsDNS1123Subdomain},
		{"Topology key", m.TopologyKeys, func(key string) []string { return validation.IsQualifiedName(key) }},
		{"Zone", m.Zones, func(zone string) []string { return validation.IsValidLabelValue(zone) }},
	}
	for _, rule := range rules {
		for _, from := range slices.Sorted(maps.Keys(rule.names)) {
			if problems := rule.valid(rule.names[from]); len(problems) > 0 {
				refusals = append(refusals, Refusal{Kind: rule.kind, Name: from, Problem: fmt.Sprintf("it cannot be mapped to %q: %s", rule.names[from], strings.Join(problems, "; ")), Remedy: "choose another name"})
			}
		}
	}
	return refusals
}
