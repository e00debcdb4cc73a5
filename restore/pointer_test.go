package restore

import (
	"slices"
	"strings"
	"testing"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	snapshotfake "github.com/kubernetes-csi/external-snapshotter/client/v6/clientset/versioned/fake"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"
)

// pointers is a cluster with the two objects that point to a snapshot. Somebody
// has made the content Delete.
func pointers() *snapshotfake.Clientset {
	return snapshotfake.NewSimpleClientset(
		&snapshotv1.VolumeSnapshotContent{
			ObjectMeta: metav1.ObjectMeta{Name: "p", UID: "u", Annotations: map[string]string{"a": "b"}},
			Spec:       snapshotv1.VolumeSnapshotContentSpec{DeletionPolicy: snapshotv1.VolumeSnapshotContentDelete},
		},
		&snapshotv1.VolumeSnapshot{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p"}},
	)
}

// did are the writes that a fake was sent, such as "patch volumesnapshots".
func did(client *snapshotfake.Clientset) []string {
	var all []string
	for _, a := range client.Actions() {
		all = append(all, a.GetVerb()+" "+a.GetResource().Resource)
	}
	return all
}

// A content goes only as Retain and with the mark for which csi-snapshotter waits;
// the VolumeSnapshot after it.
func TestPointersGoAndTheSnapshotStays(t *testing.T) {
	client := pointers()
	var left *snapshotv1.VolumeSnapshotContent // as it was when it was deleted
	client.PrependReactor("delete", "volumesnapshotcontents", func(a clienttesting.Action) (bool, runtime.Object, error) {
		if p := a.(clienttesting.DeleteActionImpl).DeleteOptions.Preconditions; p == nil || p.UID == nil || *p.UID != "u" {
			t.Errorf("the content is deleted with the preconditions %v, want its uid", p)
		}
		object, err := client.Tracker().Get(a.GetResource(), "", "p")
		if err != nil {
			t.Fatal(err)
		}
		left = object.(*snapshotv1.VolumeSnapshotContent)
		return false, nil, nil
	})
	r := &Restorer{Snapshots: client}
	if err := r.RemovePointers(t.Context(), "shop", "p"); err != nil {
		t.Fatal(err)
	}
	if want := []string{"patch volumesnapshotcontents", "delete volumesnapshotcontents", "delete volumesnapshots"}; !slices.Equal(did(client), want) {
		t.Errorf("requests are %q, want %q", did(client), want)
	}
	if left.Annotations[beingDeleted] != "yes" || left.Annotations["a"] != "b" || left.Spec.DeletionPolicy != snapshotv1.VolumeSnapshotContentRetain {
		t.Errorf("the content is deleted as %s with the annotations %v", left.Spec.DeletionPolicy, left.Annotations)
	}
	if err := r.RemovePointers(t.Context(), "shop", "p"); err != nil {
		t.Errorf("when both are gone: %v", err)
	}
}

// What cannot be made sure of is left as a pair that a later restore can use.
func TestPointersStayTogetherIfTheContentCannotGo(t *testing.T) {
	contents := schema.GroupResource{Group: snapshotv1.GroupName, Resource: "volumesnapshotcontents"}
	for name, c := range map[string]struct {
		react clienttesting.ReactionFunc
		says  string
	}{
		"the patch is forbidden": {func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewForbidden(contents, "p", nil)
		}, "delete VolumeSnapshotContent p"},
		"its policy is changed back": {func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, &snapshotv1.VolumeSnapshotContent{Spec: snapshotv1.VolumeSnapshotContentSpec{DeletionPolicy: snapshotv1.VolumeSnapshotContentDelete}}, nil
		}, "with which the snapshot would go too"},
	} {
		client := pointers()
		client.PrependReactor("patch", "volumesnapshotcontents", c.react)
		err := (&Restorer{Snapshots: client}).RemovePointers(t.Context(), "shop", "p")
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: the error is %v, want %q", name, err, c.says)
		}
		if got := did(client); !slices.Equal(got, []string{"patch volumesnapshotcontents"}) {
			t.Errorf("%s: requests are %q, want the patch alone", name, got)
		}
	}
}
