package migrate

import (
	"errors"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
	"hawser.dev/hawser/restore/users"
)

const otherID catalog.MigrationID = "20260903-110000-1a2b3c4d"

func TestNewPlan(t *testing.T) {
	owned := func(by catalog.Cluster, underway bool) func(*Seen) {
		return func(s *Seen) {
			s.Owners[disk(0)] = catalog.Ownership{Disk: disk(0), Number: 3, Cluster: by, Migration: otherID, Underway: underway}
		}
	}
	inTarget := func(change func(*appsv1.StatefulSet)) func(*Seen) {
		return func(s *Seen) {
			set := redisSet()
			set.Spec.Replicas = ptr.To[int32](0)
			change(set)
			s.InTarget.Namespaces = []corev1.Namespace{{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}}
			s.InTarget.StatefulSets = []appsv1.StatefulSet{*set}
		}
	}
	annotated := func(key, value string) func(*appsv1.StatefulSet) {
		return func(set *appsv1.StatefulSet) { set.Annotations = map[string]string{key: value} }
	}
	moved := annotated(MovedAnnotation, `{"id":"`+string(otherID)+`"}`)
	unfinished := func(state catalog.MigrationState) func(*Seen) {
		return func(s *Seen) {
			plan, err := NewPlan(seen(), moving())
			if err != nil {
				panic(err)
			}
			m := plan.migration
			m.ID = otherID
			state.Migration = m
			s.Unfinished = &state
			s.Owners[disk(0)] = catalog.Ownership{Disk: disk(0), Number: 1, Cluster: oldOne, Migration: otherID, Underway: true}
		}
	}
	for _, test := range []struct {
		name    string
		given   func(*Seen)
		options func(*Options)
		refused []string // parts of the reasons, all of them; none: it is planned
		resumes bool
	}{
		{name: "a set goes with its disks"},
		{name: "within one cluster", given: func(s *Seen) { s.Target = oldOne }, refused: []string{"it is the source and the target"}},
		{name: "a disk that another cluster owns", given: owned(newOne, false), refused: []string{"owned by cluster new (uid-new)"}},
		{name: "a disk that came back", given: owned(oldOne, false)},
		{name: "a disk that another migration has", given: owned(oldOne, true), refused: []string{string(otherID) + ": it is under way"}},
		{name: "a disk whose owner cannot be read", given: func(s *Seen) { s.Owners[disk(0)] = catalog.Ownership{Disk: disk(0), Err: errors.New("damaged")} }, refused: []string{"damaged"}},
		{name: "a Deployment that shares a claim", given: func(s *Seen) {
			s.InSource.Deployments = []appsv1.Deployment{{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "report"}, Spec: appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{Spec: podUsing("data-redis-0")}}}}
		}, refused: []string{"Deployment shop/report: it uses claim data-redis-0"}},
		{name: "labels that one of two bears which share a claim", given: func(s *Seen) {
			sharing := appsv1.Deployment{TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}, ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "report"}, Spec: appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{Spec: podUsing("data-redis-0")}}}
			s.InSource.Deployments = []appsv1.Deployment{sharing}
			s.InSource.StatefulSets[0].Labels = map[string]string{"tier": "database"}
			s.Point.Bundle.Objects = append(s.Point.Bundle.Objects, raw(&sharing)) // a backup takes it along
		}, options: func(o *Options) { o.Workloads, o.Labels = nil, labels.SelectorFromSet(labels.Set{"tier": "database"}) },
			refused: []string{"Deployment shop/report: it uses claim data-redis-0"}},
		{name: "labels of the claims", given: func(s *Seen) {
			for i := range s.InSource.Claims {
				s.InSource.Claims[i].Labels = map[string]string{"tier": "database"}
			}
		}, options: func(o *Options) { o.Workloads, o.Labels = nil, labels.SelectorFromSet(labels.Set{"tier": "database"}) }},
		{name: "a Pod that nothing would make again", given: func(s *Seen) {
			s.InSource.Pods = append(s.InSource.Pods, corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shell"}, Spec: podUsing("data-redis-1")})
		}, refused: []string{"Pod shop/shell"}},
		{name: "a claim that cannot go along", given: func(s *Seen) {
			s.Point.Bundle.Skipped = []catalog.Skip{{Kind: "PersistentVolumeClaim", Namespace: "shop", Name: "data-redis-2", Reason: catalog.SkipNotCSI, Message: "it is not a CSI volume"}}
		}, refused: []string{"data-redis-2"}},
		{name: "a set that Argo CD keeps", given: func(s *Seen) {
			s.InSource.StatefulSets[0].Annotations = map[string]string{"argocd.argoproj.io/tracking-id": "shop"}
		}, refused: []string{"in the source: Argo CD keeps it"}},
		{name: "the same, where that is left out", options: func(o *Options) { o.Ignore = []string{"owners"} }, given: func(s *Seen) {
			s.InSource.StatefulSets[0].Annotations = map[string]string{"argocd.argoproj.io/tracking-id": "shop"}
		}},
		{name: "a rollback under way", given: func(s *Seen) {
			s.InSource.StatefulSets[0].Annotations = map[string]string{"hawser.dev/rollback": "{}"}
		}, refused: []string{"a rollback or undo of it is under way"}},
		{name: "rights that are missing on both sides", given: func(s *Seen) {
			s.InSource.Denied = users.Rights("apps", "statefulsets", "shop", "patch")
			s.Denied = users.Rights("", "persistentvolumes", "", "create")
		}, refused: []string{"patch statefulsets: in the source", "create persistentvolumes: in the target"}},
		{name: "a Secret that the target lacks", given: func(s *Seen) { s.Missing = []Missing{{"Secret", "shop", "password"}} }, refused: []string{"Secret shop/password"}},
		{name: "no driver in the target", given: func(s *Seen) { s.InTarget.Drivers = nil }, refused: []string{"in the target: the cluster does not have it, and claim shop/data-redis-0", "claim shop/data-redis-1 needs it"}},
		{name: "another driver", options: func(o *Options) { o.Mapping.Drivers = map[string]string{driver: "other"} }, refused: []string{"CSIDriver"}},
		{name: "a set of that name in the target", given: inTarget(func(*appsv1.StatefulSet) {}), refused: []string{"in the target: it exists"}},
		{name: "the set that was left there", given: inTarget(moved)},
		{name: "the set that was left there, and runs", given: inTarget(func(s *appsv1.StatefulSet) { moved(s); s.Spec.Replicas = ptr.To[int32](1) }), refused: []string{"in the target: it is running"}},
		{name: "the set that was left there has changed", given: inTarget(func(s *appsv1.StatefulSet) { moved(s); s.Spec.ServiceName = "other" }), refused: []string{"--cleanup " + string(otherID)}},
		{name: "a set that another migration has in the target", given: inTarget(annotated(RecordAnnotation, `{"id":"`+string(otherID)+`"}`)), refused: []string{"--rollback " + string(otherID)}},
		{name: "what was interrupted is gone on with", given: unfinished(catalog.MigrationState{}), resumes: true},
		{name: "to another cluster than was begun", given: func(s *Seen) { unfinished(catalog.MigrationState{})(s); s.Target.UID = "uid-third" }, refused: []string{"it is under way, to cluster new (uid-new)"}},
		{name: "another way than was begun", given: unfinished(catalog.MigrationState{}), options: func(o *Options) { o.Way = catalog.WayCopy }, refused: []string{"it is under way, the way move"}},
		{name: "a move whose source is gone", given: unfinished(catalog.MigrationState{}), options: func(o *Options) { o.Way, o.SourceGone = catalog.WayAdopt, true }, resumes: true},
		{name: "the same, by a point that knows other disks", given: func(s *Seen) {
			unfinished(catalog.MigrationState{})(s)
			s.Point.Bundle.Volumes[1].VolumeHandle = "disk-9"
		}, options: func(o *Options) { o.Way, o.SourceGone = catalog.WayAdopt, true }, refused: []string{"has it on disk disk-9, and migration " + string(otherID) + " on disk disk-1"}},
		{name: "a move whose source is gone, which is led back", given: unfinished(catalog.MigrationState{Runs: []catalog.Run{{Number: 1, Direction: catalog.Back}}}),
			options: func(o *Options) { o.Way, o.SourceGone = catalog.WayAdopt, true }, refused: []string{"it is being rolled back"}},
		{name: "what is rolled back is not gone on with", given: unfinished(catalog.MigrationState{Verdict: &catalog.Verdict{Outcome: catalog.RolledBack}}), refused: []string{"it is being rolled back"}},
		{name: "nor what a rollback was begun of", given: unfinished(catalog.MigrationState{Runs: []catalog.Run{{Number: 1, Direction: catalog.Forward}, {Number: 2, Direction: catalog.Back}}}), refused: []string{"it is being rolled back"}},
		{name: "what is committed has to be marked only", given: func(s *Seen) {
			unfinished(catalog.MigrationState{Verdict: &catalog.Verdict{Outcome: catalog.Committed}})(s)
			owned(newOne, false)(s)
		}, resumes: true},
		{name: "adopting without saying so", options: func(o *Options) { o.Way = catalog.WayAdopt }, refused: []string{"--confirm-source-gone"}},
		{name: "adopting", options: func(o *Options) { o.Way, o.SourceGone = catalog.WayAdopt, true }},
		{name: "adopting what went elsewhere before", options: func(o *Options) { o.Way, o.SourceGone = catalog.WayAdopt, true }, given: owned(catalog.Cluster{UID: "uid-third"}, false), refused: []string{"was not the lost cluster's any more"}},
		{name: "a copy without a point", options: func(o *Options) { o.Way, o.NoPoint = catalog.WayCopy, true }, refused: []string{"a copy is made from fresh snapshots"}},
		{name: "replicas of what does not go", options: func(o *Options) {
			o.Mapping.Replicas = map[catalog.Workload]int32{{Kind: "Deployment", Name: "web"}: 1}
		}, refused: []string{"Deployment web: it is not among"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, options := seen(), moving()
			if test.given != nil {
				test.given(s)
			}
			if test.options != nil {
				test.options(&options)
			}
			plan, err := NewPlan(s, options)
			if len(test.refused) == 0 {
				if err != nil {
					t.Fatal(err)
				}
				if plan.Resumes != test.resumes {
					t.Errorf("Resumes is %v", plan.Resumes)
				}
				return
			}
			refused := (*restore.RefusedError)(nil)
			if !errors.As(err, &refused) {
				t.Fatalf("it is not refused: %v", err)
			}
			for _, want := range test.refused {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no reason says %q:\n%v", want, err)
				}
			}
			if len(refused.Refusals) != len(test.refused) {
				t.Errorf("%d reasons, want %d:\n%v", len(refused.Refusals), len(test.refused), err)
			}
		})
	}
}

// The journal holds under which names all arrives, and brings the options back.
func TestTheJournalBringsTheOptionsBack(t *testing.T) {
	options := moving()
	options.Secrets, options.Ignore = true, []string{"quota"}
	options.Mapping = restore.Mapping{
		Namespaces: map[string]string{"shop": "store"}, Sets: map[string]string{"redis": "cache"}, VolumeTemplate: "{namespace}-{claim}",
		Replicas: map[catalog.Workload]int32{redis: 1},
	}
	plan, err := NewPlan(seen(), options)
	if err != nil {
		t.Fatal(err)
	}
	if w := plan.Workloads[0]; w.TargetNamespace != "store" || w.TargetName != "cache" || w.Replicas != 2 {
		t.Errorf("the workload becomes %+v", w)
	}
	if v := plan.Volumes[1]; v.TargetClaim != (catalog.ClaimKey{Namespace: "store", Name: "data-cache-1"}) || v.TargetVolume != "store-data-cache-1" {
		t.Errorf("the volume becomes %+v", v)
	}
	back, err := resumed(plan.migration, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if string(back.settings()) != string(options.settings()) || back.Namespace != "shop" || len(back.Claims) != 2 || back.Workloads[0] != redis {
		t.Errorf("it brings %+v back", back)
	}
}
