package restore

import (
	"fmt"
	"testing"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"hawser.dev/hawser/catalog"
)

// rehydrated is what happens to a claim of which only the snapshot is there.
const rehydrated = "rehydrate: create content/static, create snapshot/static, create pvc/redis-pvc-redis-%d"

// filledClaim makes a claim one that an earlier run fills from the snapshot of
// ordinal n.
func filledClaim(t rapid.TB, n int) func(*corev1.PersistentVolumeClaim) {
	return func(c *corev1.PersistentVolumeClaim) {
		c.UID += "-filled"
		c.Spec.VolumeName = ""
		c.Spec.DataSource = staticOf(t, n).Claim.Spec.DataSource
	}
}

func TestPlanRehydrate(t *testing.T) {
	snapshots := Request{From: FromSnapshots}
	each := func(object, problem, remedy string) []refusal {
		var refusals []refusal
		for n := range 3 {
			r := refusal{object, problem, remedy}
			if object == "" {
				r.object = fmt.Sprintf("PersistentVolumeClaim shop/redis-pvc-redis-%d", n)
			}
			refusals = append(refusals, r)
		}
		return refusals
	}
	available := func(o *Observed, change ...func(*corev1.PersistentVolume)) {
		o.haveVolume(9, corev1.VolumeAvailable, append([]func(*corev1.PersistentVolume){unreserved}, change...)...)
	}
	runPlanCases(t, []planCase{
		{name: "nothing is there: content, snapshot and claim are made", request: snapshots, want: rehydrated, others: rehydrated},
		{name: "a Released volume over the old disk is left alone", request: snapshots,
			given: func(o *Observed) { o.haveVolume(0, corev1.VolumeReleased, foreignUID) }, want: rehydrated, others: rehydrated},

		{name: "the point has no snapshot, and says why", request: snapshots,
			point: func(p *catalog.RestorePoint) {
				p.Bundle.Volumes[0].Snapshot, p.Bundle.Volumes[0].Problem = nil, "the driver has no snapshots"
			},
			refused: []refusal{{claim0, "the point has no snapshot of it: the driver has no snapshots", "--from disks if its disk disk-0 still exists"}}},
		{name: "the cluster has no snapshot API", request: snapshots, given: func(o *Observed) { o.SnapshotAPI = false },
			refused: each("CustomResourceDefinition volumesnapshots.snapshot.storage.k8s.io", "no VolumeSnapshot API", "install the snapshot CRDs")},
		{name: "the class is missing", request: snapshots, given: func(o *Observed) { o.StorageClasses = nil },
			refused: each("StorageClass "+shopClass, "it does not exist", "--storage-class OLD=NEW")},
		{name: "the class is of another driver", request: snapshots,
			given:   func(o *Observed) { o.StorageClasses[0].Provisioner = "other.example.com" },
			refused: each("StorageClass "+shopClass, "its provisioner is other.example.com", "--storage-class OLD=NEW")},
		{name: "the class is mapped to one of another driver", request: Request{From: FromSnapshots, Mapping: Mapping{StorageClasses: map[string]string{shopClass: "foreign"}}},
			refused: each("StorageClass foreign", "its provisioner is other.example.com", "--storage-class OLD=NEW")},
		{name: "the class is mapped to one that does not exist", request: Request{From: FromSnapshots, Mapping: Mapping{StorageClasses: map[string]string{shopClass: "typo"}}},
			refused: each("StorageClass typo", "it does not exist", "--storage-class OLD=NEW")},
		{name: "the class is mapped to none", request: Request{From: FromSnapshots, Mapping: Mapping{StorageClasses: map[string]string{shopClass: ""}}},
			refused: each("", "it has no storage class, so no disk can be made", "--storage-class OLD=NEW")},
		{name: "the class is missing and mapped to one of the driver", request: Request{From: FromSnapshots, Mapping: Mapping{StorageClasses: map[string]string{shopClass: "fast"}}},
			given: func(o *Observed) { o.StorageClasses = o.StorageClasses[1:] }, want: rehydrated, others: rehydrated},

		{name: "an Available volume would be bound in place of the snapshot", request: snapshots, given: func(o *Observed) { available(o) },
			refused: each("PersistentVolume pv-redis-9", "it is Available and would be bound to claim shop/redis-pvc-redis-", "reserve it for another claim")},
		{name: "an Available volume is too small to be bound", request: snapshots,
			given: func(o *Observed) {
				available(o, func(v *corev1.PersistentVolume) {
					v.Spec.Capacity[corev1.ResourceStorage] = resource.MustParse("512Mi")
				})
			}, want: rehydrated, others: rehydrated},
		{name: "an Available volume is of another class", request: snapshots,
			given: func(o *Observed) {
				available(o, func(v *corev1.PersistentVolume) { v.Spec.StorageClassName = "fast" })
			}, want: rehydrated, others: rehydrated},
		{name: "a volume is reserved for the claim over another disk", request: snapshots,
			given: func(o *Observed) {
				o.haveVolume(0, corev1.VolumeAvailable, reserved, renamed("pv-usurper"), overDisk("disk-empty"))
			},
			refused: []refusal{{"PersistentVolume pv-usurper", "would be bound to claim shop/redis-pvc-redis-0 in place of a disk from the snapshot", "delete that PersistentVolume object"}}},
		{name: "the volume over the old disk is reserved for the claim", request: snapshots,
			given:   func(o *Observed) { o.haveVolume(0, corev1.VolumeAvailable, reserved) },
			refused: []refusal{{"PersistentVolume pv-redis-0", "would be bound to claim shop/redis-pvc-redis-0", "make it Retain first"}}},
		{name: "a volume is reserved for a claim of another namespace", request: snapshots,
			given: func(o *Observed) {
				o.haveVolume(0, corev1.VolumeAvailable, reserved, func(v *corev1.PersistentVolume) { v.Spec.ClaimRef.Namespace = "copy" })
			}, want: rehydrated, others: rehydrated},

		{name: "the content exists: it is kept", request: snapshots,
			given: func(o *Observed) { o.Contents = append(o.Contents, *staticOf(t, 0).Content) },
			want:  "rehydrate: keep content/static, create snapshot/static, create pvc/redis-pvc-redis-0", others: rehydrated},
		{name: "content and snapshot exist: both are kept", request: snapshots,
			given: func(o *Observed) {
				o.Contents, o.Snapshots = append(o.Contents, *staticOf(t, 0).Content), append(o.Snapshots, *staticOf(t, 0).Snapshot)
			},
			want: "rehydrate: keep content/static, keep snapshot/static, create pvc/redis-pvc-redis-0", others: rehydrated},
		{name: "the content exists over another snapshot", request: snapshots,
			given: func(o *Observed) {
				content := staticOf(t, 0).Content
				content.Spec.Source.SnapshotHandle = ptr.To("snapshot-new")
				o.Contents = append(o.Contents, *content)
			},
			refused: []refusal{{"VolumeSnapshotContent " + staticOf(t, 0).Content.Name, "it exists and is not over snapshot snapshot-0", "delete it"}}},
		{name: "the content exists for another driver", request: snapshots,
			given: func(o *Observed) {
				content := staticOf(t, 0).Content
				content.Spec.Driver = "other.example.com"
				o.Contents = append(o.Contents, *content)
			},
			refused: []refusal{{"VolumeSnapshotContent " + staticOf(t, 0).Content.Name, "it exists and is not over snapshot snapshot-0", "delete it"}}},
		{name: "the content is being deleted", request: snapshots,
			given: func(o *Observed) {
				content := staticOf(t, 0).Content
				content.DeletionTimestamp = ptr.To(metav1.NewTime(shopTime))
				o.Contents = append(o.Contents, *content)
			},
			refused: []refusal{{"VolumeSnapshotContent " + staticOf(t, 0).Content.Name, "is being deleted", "delete it"}}},
		{name: "the snapshot exists and names another content", request: snapshots,
			given: func(o *Observed) {
				snapshot := staticOf(t, 0).Snapshot
				snapshot.Spec.Source.VolumeSnapshotContentName = ptr.To("snapcontent-9")
				o.Snapshots = append(o.Snapshots, *snapshot)
			},
			refused: []refusal{{"VolumeSnapshot shop/" + staticOf(t, 0).Snapshot.Name, "it exists and does not name VolumeSnapshotContent", "delete it"}}},
		{name: "the snapshot is being deleted", request: snapshots,
			given: func(o *Observed) {
				snapshot := staticOf(t, 0).Snapshot
				snapshot.DeletionTimestamp = ptr.To(metav1.NewTime(shopTime))
				o.Snapshots = append(o.Snapshots, *snapshot)
			},
			refused: []refusal{{"VolumeSnapshot shop/" + staticOf(t, 0).Snapshot.Name, "is being deleted", "delete it"}}},

		{name: "the claim is Pending and filled from the snapshot: it is kept", request: snapshots,
			given: func(o *Observed) { o.haveClaim(0, corev1.ClaimPending, filledClaim(t, 0)) },
			want:  "rehydrate: keep pvc/redis-pvc-redis-0", others: rehydrated},
		{name: "the claim is Pending and filled from the snapshot, but a volume is reserved for it", request: snapshots,
			given: func(o *Observed) {
				o.haveVolume(0, corev1.VolumeAvailable, reserved)
				o.haveClaim(0, corev1.ClaimPending, filledClaim(t, 0))
			},
			refused: []refusal{{"PersistentVolume pv-redis-0", "would be bound to claim shop/redis-pvc-redis-0 in place of a disk from the snapshot", "delete that PersistentVolume object"}}},
		{name: "the claim is bound and filled from the snapshot: it is kept, whatever else is Available", request: snapshots,
			given: func(o *Observed) {
				o.haveVolume(9, corev1.VolumeAvailable, unreserved)
				for n := range 3 {
					o.haveClaim(n, corev1.ClaimBound, filledClaim(t, n))
				}
			},
			want: "rehydrate: keep pvc/redis-pvc-redis-%d", others: "rehydrate: keep pvc/redis-pvc-redis-%d"},
		{name: "the claim is bound to its disk, and a copy was asked for", request: snapshots,
			given: func(o *Observed) {
				o.haveVolume(0, corev1.VolumeBound)
				o.haveClaim(0, corev1.ClaimBound)
			},
			refused: []refusal{{claim0, `it exists and is not made from this snapshot (Bound, volume "pv-redis-0")`, "make its PersistentVolume Retain first"}}},
		{name: "the claim is Pending and filled from another snapshot", request: snapshots,
			given:   func(o *Observed) { o.haveClaim(0, corev1.ClaimPending, filledClaim(t, 1)) },
			refused: []refusal{{claim0, "it exists and is not made from this snapshot", "scale its workload to 0"}}},
		{name: "the claim is a clone of a claim of the snapshot's name", request: snapshots,
			given: func(o *Observed) {
				o.haveClaim(0, corev1.ClaimPending, filledClaim(t, 0), func(c *corev1.PersistentVolumeClaim) { c.Spec.DataSource.Kind = "PersistentVolumeClaim" })
			},
			refused: []refusal{{claim0, "it exists and is not made from this snapshot", "scale its workload to 0"}}},
		{name: "auto keeps a claim that an earlier run filled, before the disk is checked", request: Request{From: FromAuto},
			given: func(o *Observed) { o.haveClaim(0, corev1.ClaimPending, filledClaim(t, 0)) },
			want:  "rehydrate: keep pvc/redis-pvc-redis-0"},
		{name: "the disk was asked for, and an earlier run filled the claim from the snapshot", request: Request{From: FromDisks},
			given:   func(o *Observed) { o.haveClaim(0, corev1.ClaimPending, filledClaim(t, 0)) },
			refused: []refusal{{claim0, "it exists, is Pending and may be given an empty disk", "delete the claim"}}},
	})
}

func TestPlanRehydrateUsesWhatTheTargetHas(t *testing.T) {
	tests := []struct {
		name          string
		request       map[string]string
		given         func(*Observed)
		class         string
		snapshotClass string
		waits         bool
	}{
		{name: "the recorded classes", class: shopClass, snapshotClass: shopSnapshotClass},
		{name: "no VolumeSnapshotClass, since a content that names an absent one fails", given: func(o *Observed) { o.SnapshotClasses = nil }, class: shopClass},
		{name: "no VolumeSnapshotClass of another driver", given: func(o *Observed) {
			o.SnapshotClasses = []snapshotv1.VolumeSnapshotClass{{ObjectMeta: metav1.ObjectMeta{Name: shopSnapshotClass}, Driver: "other.example.com"}}
		}, class: shopClass},
		{name: "the mapped class, which waits for a Pod", request: map[string]string{shopClass: "fast"}, class: "fast", snapshotClass: shopSnapshotClass, waits: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			observed := emptyCluster()
			if test.given != nil {
				test.given(observed)
			}
			plan, err := checkedPlan(t, shop(), Request{From: FromSnapshots, Mapping: Mapping{StorageClasses: test.request}}, observed)
			if err != nil {
				t.Fatal(err)
			}
			var content snapshotv1.VolumeSnapshotContent
			var claim corev1.PersistentVolumeClaim
			recode(t, plan.Volumes[0].Steps[0].Object, &content)
			recode(t, plan.Volumes[0].Steps[2].Object, &claim)
			if got := ptr.Deref(claim.Spec.StorageClassName, "absent"); got != test.class {
				t.Errorf("class %q, want %q", got, test.class)
			}
			if got := ptr.Deref(content.Spec.VolumeSnapshotClassName, ""); got != test.snapshotClass {
				t.Errorf("VolumeSnapshotClass %q, want %q", got, test.snapshotClass)
			}
			if plan.Volumes[0].WaitsForPod != test.waits || plan.Volumes[0].VolumeName != "" {
				t.Errorf("waits for a Pod: %v, want %v; volume %q, want none", plan.Volumes[0].WaitsForPod, test.waits, plan.Volumes[0].VolumeName)
			}
		})
	}
}

func TestTheBinderMayTakeAVolumeInPlaceOfASnapshot(t *testing.T) {
	tests := []struct {
		name   string
		volume func(*corev1.PersistentVolume)
		claim  func(*corev1.PersistentVolumeClaim)
		want   bool
	}{
		{name: "an Available volume that fits", volume: unreserved, want: true},
		{name: "one that is larger", volume: func(v *corev1.PersistentVolume) {
			unreserved(v)
			v.Spec.Capacity[corev1.ResourceStorage] = resource.MustParse("9Gi")
		}, want: true},
		{name: "one that is smaller", volume: func(v *corev1.PersistentVolume) {
			unreserved(v)
			v.Spec.Capacity[corev1.ResourceStorage] = resource.MustParse("1Mi")
		}},
		{name: "one of another class", volume: func(v *corev1.PersistentVolume) {
			unreserved(v)
			v.Spec.StorageClassName = "fast"
		}},
		{name: "one without a class, for a claim without one", volume: func(v *corev1.PersistentVolume) {
			unreserved(v)
			v.Spec.StorageClassName = ""
		}, claim: func(c *corev1.PersistentVolumeClaim) { c.Spec.StorageClassName = ptr.To("") }, want: true},
		{name: "one of another mode", volume: func(v *corev1.PersistentVolume) {
			unreserved(v)
			v.Spec.VolumeMode = ptr.To(corev1.PersistentVolumeBlock)
		}},
		{name: "one whose mode is the default", volume: func(v *corev1.PersistentVolume) {
			unreserved(v)
			v.Spec.VolumeMode = nil
		}, want: true},
		{name: "one that lacks an access mode", volume: func(v *corev1.PersistentVolume) {
			unreserved(v)
			v.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadOnlyMany}
		}},
		{name: "one of another VolumeAttributesClass", volume: func(v *corev1.PersistentVolume) {
			unreserved(v)
			v.Spec.VolumeAttributesClassName = ptr.To("gold")
		}},
		{name: "one that is reserved for the claim", volume: reserved, want: true},
		{name: "one that is reserved for the claim, whatever its class: the binder does not compare it", volume: func(v *corev1.PersistentVolume) {
			reserved(v)
			v.Spec.StorageClassName = ""
		}, want: true},
		{name: "one that is reserved for another claim", volume: func(v *corev1.PersistentVolume) {
			reserved(v)
			v.Spec.ClaimRef.Name = "other"
		}},
		{name: "one that was bound to a former claim of the name", volume: foreignUID},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			volume, claim := redisVolume(0), *staticOf(t, 0).Claim
			test.volume(&volume)
			if test.claim != nil {
				test.claim(&claim)
			}
			b := newBinder(&Observed{Volumes: []corev1.PersistentVolume{volume}})
			b.settle()
			if got := b.match(&claim, false) != nil; got != test.want {
				t.Errorf("taken: %v, want %v", got, test.want)
			}
		})
	}
}
