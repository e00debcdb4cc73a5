package migrate

import (
	"encoding/json"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/labels"

	"hawser.dev/hawser/backup"
	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
	"hawser.dev/hawser/restore/users"
)

// Options say what is to be migrated, and how.
type Options struct {
	Way       catalog.MigrationWay
	Namespace string             // of the source
	Workloads []catalog.Workload // with Claims, what is taken; both empty: what Labels match
	Claims    []string
	Labels    labels.Selector // with no names: nil takes all of the namespace
	Mapping   restore.Mapping // of what is created in the target
	Secrets   bool            // create the Secrets that the Pods use, too
	NoPoint   bool            // make no restore point before
	Ignore    []string        // of Checks
	// SourceGone confirms, for WayAdopt, that nobody in the source can write to the
	// disks any more: nothing can be fenced there.
	SourceGone bool
}

// Checks are all that Options can ignore.
func Checks() []string {
	var all []string
	for _, c := range users.Checks {
		all = append(all, string(c))
	}
	for _, c := range restore.Checks {
		if !slices.Contains(all, string(c)) {
			all = append(all, string(c))
		}
	}
	return all
}

func (o Options) selection() backup.Selection {
	return backup.Selection{Namespaces: []string{o.Namespace}, Labels: o.Labels, Workloads: o.Workloads, Claims: o.Claims}
}

// include: a point in the catalog gets no Secrets; what is captured for the target
// does, if asked.
func (o Options) include() backup.Include { return backup.Include{Secrets: o.Secrets} }

// ignored are those of the checks that the options ignore.
func ignored[C ~string](o Options, checks []C) []C {
	var some []C
	for _, c := range checks {
		if slices.Contains(o.Ignore, string(c)) {
			some = append(some, c)
		}
	}
	return some
}

// settings are the options that the journal keeps, so that every run of a
// migration creates the same.
type settings struct {
	Mapping  restore.Mapping `json:"mapping"`
	Replicas []replicas      `json:"replicas,omitempty"` // of Mapping
	Secrets  bool            `json:"secrets,omitempty"`
	Ignore   []string        `json:"ignore,omitempty"`
}

type replicas struct {
	catalog.Workload
	Count int32 `json:"count"`
}

func (o Options) settings() json.RawMessage {
	s := settings{Mapping: o.Mapping, Secrets: o.Secrets, Ignore: o.Ignore}
	for w, count := range o.Mapping.Replicas {
		s.Replicas = append(s.Replicas, replicas{w, count})
	}
	slices.SortFunc(s.Replicas, func(a, b replicas) int { return compareWorkloads(a.Workload, b.Workload) })
	return json.RawMessage(users.Encode(s))
}

// finishedAlone says whether a migration that was begun one way is finished as an
// adoption, since its source is gone meanwhile.
func finishedAlone(begun, asked catalog.MigrationWay) bool {
	return begun == catalog.WayMove && asked == catalog.WayAdopt
}

// resumed are the options of a migration that was begun: what it takes, and how.
func resumed(m catalog.Migration, asked Options) (Options, error) {
	var s settings
	if err := json.Unmarshal(m.Mapping, &s); err != nil {
		return Options{}, fmt.Errorf("the journal of migration %s: what was asked for cannot be read: %w", m.ID, err)
	}
	o := Options{Way: m.Way, Mapping: s.Mapping, Secrets: s.Secrets, Ignore: s.Ignore, NoPoint: asked.NoPoint, SourceGone: asked.SourceGone, Namespace: asked.Namespace}
	if finishedAlone(m.Way, asked.Way) {
		o.Way = catalog.WayAdopt
	}
	if len(s.Replicas) > 0 {
		o.Mapping.Replicas = map[catalog.Workload]int32{}
	}
	for _, r := range s.Replicas {
		o.Mapping.Replicas[r.Workload] = r.Count
	}
	for _, w := range m.Workloads {
		o.Namespace = w.Namespace
		o.Workloads = append(o.Workloads, workloadOf(w))
	}
	for _, v := range m.Volumes {
		o.Namespace = v.Claim.Namespace
		o.Claims = append(o.Claims, v.Claim.Name)
	}
	return o, nil
}

func workloadOf(w catalog.MigratedWorkload) catalog.Workload {
	return catalog.Workload{Kind: w.Kind, Name: w.Name}
}

func compareWorkloads(a, b catalog.Workload) int {
	return slices.Compare([]string{a.Kind, a.Name}, []string{b.Kind, b.Name})
}
