package main

import (
	"encoding/json"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
)

// mappingFlags are the flags that say under which names a point comes back.
type mappingFlags struct {
	namespaces, classes, drivers, zones, keys, volumes, sets, replicas, patches []string
	keepTracking                                                                bool
}

func (m *mappingFlags) add(flags *pflag.FlagSet) {
	flags.StringArrayVar(&m.namespaces, "map-namespace", nil, "`OLD=NEW`: restore what was in namespace OLD in namespace NEW")
	flags.StringArrayVar(&m.classes, "storage-class", nil, "`OLD=NEW`: use class NEW where OLD was recorded; NEW may be empty. Without =, the class of all others")
	flags.StringArrayVar(&m.drivers, "driver", nil, "`OLD=NEW`: CSI driver NEW knows the disks of OLD by the same handles; needs --from disks or --from snapshots")
	flags.StringArrayVar(&m.zones, "zone", nil, "`OLD=NEW`: what was zone OLD is called NEW here, in node affinities and selectors")
	flags.StringArrayVar(&m.keys, "topology-key", nil, "`OLD=NEW`: the same for the key of such a label")
	flags.StringArrayVar(&m.volumes, "pv-name", nil, "`OLD=NEW`, or a template of {namespace}, {claim} and {pv}: the names of PersistentVolumes that are created")
	flags.StringArrayVar(&m.sets, "set-name", nil, "`OLD=NEW`: restore StatefulSet OLD as NEW, with claims of the names that NEW looks for")
	flags.StringArrayVar(&m.replicas, "replicas", nil, "`[KIND/NAME=]N`: how many replicas the workload starts with; 0 starts none")
	flags.StringArrayVar(&m.patches, "patch-file", nil, "`KIND[/NAME]=FILE`: a JSON patch (RFC 6902, as JSON or YAML) for each object of the kind that is created")
	flags.BoolVar(&m.keepTracking, "keep-gitops-labels", false, "keep the labels and annotations by which Argo CD, Flux, Helm and others know, and prune, what is theirs")
}

func (m *mappingFlags) mapping() (restore.Mapping, error) {
	out := restore.Mapping{KeepTracking: m.keepTracking}
	for _, f := range []struct {
		flag   string
		values []string
		into   *map[string]string
	}{
		{"map-namespace", m.namespaces, &out.Namespaces},
		{"driver", m.drivers, &out.Drivers},
		{"zone", m.zones, &out.Zones},
		{"topology-key", m.keys, &out.TopologyKeys},
		{"set-name", m.sets, &out.Sets},
	} {
		for _, value := range f.values {
			from, to, found := strings.Cut(value, "=")
			if !found || from == "" || to == "" {
				return out, usagef("--%s %q: want OLD=NEW", f.flag, value)
			}
			put(f.into, from, to)
		}
	}
	for _, value := range m.classes {
		if from, to, found := strings.Cut(value, "="); found {
			put(&out.StorageClasses, from, to)
			continue
		}
		out.StorageClass = &value
	}
	for _, value := range m.volumes {
		if from, to, found := strings.Cut(value, "="); found {
			put(&out.VolumeNames, from, to)
			continue
		}
		out.VolumeTemplate = value
	}
	if err := m.scale(&out); err != nil {
		return out, err
	}
	return out, m.patch(&out)
}

func put(m *map[string]string, from, to string) {
	if *m == nil {
		*m = map[string]string{}
	}
	(*m)[from] = to
}

func (m *mappingFlags) scale(out *restore.Mapping) error {
	for _, value := range m.replicas {
		workload, count := catalog.Workload{}, value
		if target, n, found := strings.Cut(value, "="); found {
			named, err := parseTargets([]string{target})
			if err != nil {
				return err
			}
			if len(named.workloads) == 0 || named.workloads[0].Kind == "Pod" {
				return usagef("--replicas %q: want statefulset/NAME=N or deployment/NAME=N", value)
			}
			workload, count = named.workloads[0], n
		}
		n, err := strconv.ParseInt(count, 10, 32)
		if err != nil || n < 0 {
			return usagef("--replicas %q: want a number, or KIND/NAME=N", value)
		}
		if out.Replicas == nil {
			out.Replicas = map[catalog.Workload]int32{}
		}
		out.Replicas[workload] = int32(n)
	}
	return nil
}

// patchKinds are the kinds that a restore creates.
var patchKinds = []string{
	"Namespace", "ConfigMap", "Secret", "Service", "PersistentVolume", "PersistentVolumeClaim",
	"VolumeSnapshot", "VolumeSnapshotContent", "StatefulSet", "Deployment", "Pod",
}

func (m *mappingFlags) patch(out *restore.Mapping) error {
	for _, value := range m.patches {
		target, file, found := strings.Cut(value, "=")
		word, name, _ := strings.Cut(target, "/")
		kind := kindOf(word)
		if strings.EqualFold(word, "pv") {
			kind = "PersistentVolume"
		}
		if i := slices.IndexFunc(patchKinds, func(k string) bool { return strings.EqualFold(k, word) }); i >= 0 {
			kind = patchKinds[i]
		}
		if !found || kind == "" {
			return usagef("--patch-file %q: want KIND[/NAME]=FILE, with a KIND of %s", value, strings.Join(patchKinds, ", "))
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		operations, err := yaml.YAMLToJSON(data)
		if err != nil {
			return usagef("--patch-file %s: %v", file, err)
		}
		if !json.Valid(operations) || len(operations) == 0 || operations[0] != '[' {
			return usagef("--patch-file %s: want a list of operations (RFC 6902)", file)
		}
		out.Patches = append(out.Patches, restore.Patch{Kind: kind, Name: name, Operations: operations})
	}
	return nil
}
