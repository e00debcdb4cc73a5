package backup

import (
	"strings"
	"testing"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	snapshotfake "github.com/kubernetes-csi/external-snapshotter/client/v6/clientset/versioned/fake"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func ours(c *snapshotv1.VolumeSnapshotClass) { c.Labels = map[string]string{managedByLabel: managedBy} }

func byDefault(c *snapshotv1.VolumeSnapshotClass) {
	c.Annotations = map[string]string{defaultClassAnnotation: "true"}
}

func TestChooseClass(t *testing.T) {
	const driver = "disks.example.com"
	type classes = []Listed[snapshotv1.VolumeSnapshotClass]
	for _, c := range []struct {
		name    string
		classes classes
		named   string
		want    string
		err     string
	}{
		{"the only one of the driver", classes{snapshotClass("a", "other", nil), snapshotClass("b", driver, nil)}, "", "b", ""},
		{"the default of several", classes{snapshotClass("a", driver, nil), snapshotClass("b", driver, byDefault), snapshotClass("c", driver, nil)}, "", "b", ""},
		{"the default of another driver is none", classes{snapshotClass("a", "other", byDefault), snapshotClass("b", driver, nil)}, "", "b", ""},
		{"the named one before the default", classes{snapshotClass("a", driver, byDefault), snapshotClass("b", driver, nil)}, "b", "b", ""},
		{"the named one after the default", classes{snapshotClass("b", driver, nil), snapshotClass("c", driver, byDefault)}, "b", "b", ""},
		{"Hawser's own do not count", classes{snapshotClass("a", driver, ours), snapshotClass("b", driver, nil)}, "", "b", ""},
		{"Hawser's own are no class to begin with", classes{snapshotClass("a", driver, ours)}, "", "", "no VolumeSnapshotClass for driver disks.example.com; create one, or back up with --snapshots=false"},
		{"none of the driver", classes{snapshotClass("a", "other", nil)}, "", "", "no VolumeSnapshotClass for driver disks.example.com"},
		{"several and no default", classes{snapshotClass("a", driver, nil), snapshotClass("b", driver, nil)}, "", "", "several VolumeSnapshotClasses and no default: a, b; choose one in snapshot.classes"},
		{"a name that is not there", classes{snapshotClass("a", driver, nil)}, "x", "", "VolumeSnapshotClass x does not exist; correct snapshot.classes"},
		{"a name of another driver", classes{snapshotClass("a", "other", nil)}, "a", "", "VolumeSnapshotClass a is of driver other, not disks.example.com"},
		{"an annotation that says no", classes{snapshotClass("a", driver, nil), snapshotClass("b", driver, func(c *snapshotv1.VolumeSnapshotClass) {
			c.Annotations = map[string]string{defaultClassAnnotation: "false"}
		})}, "", "", "several"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := chooseClass(&Inventory{SnapshotAPI: true, SnapshotClasses: c.classes}, driver, c.named)
			if c.err == "" && (err != nil || got.Name != c.want) {
				t.Errorf("class %q, error %v, want %q", got.Name, err, c.want)
			}
			if c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("class %q, error %v, want an error that says %q", got.Name, err, c.err)
			}
		})
	}
}

func TestChooseClassWithoutTheSnapshotAPI(t *testing.T) {
	if _, err := chooseClass(&Inventory{}, "disks.example.com", ""); err == nil || !strings.Contains(err.Error(), "install the snapshot CRDs") {
		t.Errorf("error %v, want it to say what is missing", err)
	}
}

func TestRetainClassIsAFunctionOfDriverAndParameters(t *testing.T) {
	source := snapshotClass("fast", "disks.example.com", func(c *snapshotv1.VolumeSnapshotClass) {
		byDefault(c)
		c.Labels = map[string]string{"team": "storage"}
		c.Parameters = map[string]string{"a": "1", "csi.storage.k8s.io/snapshotter-secret-name": "s"}
	}).Object
	got := retainClass(source, "catalog-id")
	wantDiff(t, "class", &snapshotv1.VolumeSnapshotClass{
		ObjectMeta: metav1.ObjectMeta{
			Name:        "hawser-f48290f275f1",
			Labels:      map[string]string{managedByLabel: managedBy, CatalogLabel: "catalog-id"},
			Annotations: map[string]string{"hawser.dev/description": "made by Hawser after VolumeSnapshotClass fast, with deletionPolicy Retain"},
		},
		Driver: "disks.example.com", DeletionPolicy: snapshotv1.VolumeSnapshotContentRetain, Parameters: source.Parameters,
	}, got)
	got.Parameters["a"] = "2"
	if source.Parameters["a"] != "1" {
		t.Error("the source's parameters were changed")
	}
	for name, c := range map[string]struct {
		change func(*snapshotv1.VolumeSnapshotClass)
		same   bool
	}{
		"another name":               {func(c *snapshotv1.VolumeSnapshotClass) { c.Name = "other" }, true},
		"another policy":             {func(c *snapshotv1.VolumeSnapshotClass) { c.DeletionPolicy = "Retain" }, true},
		"no default any more":        {func(c *snapshotv1.VolumeSnapshotClass) { c.Annotations = nil }, true},
		"another driver":             {func(c *snapshotv1.VolumeSnapshotClass) { c.Driver = "other" }, false},
		"another parameter":          {func(c *snapshotv1.VolumeSnapshotClass) { c.Parameters = map[string]string{"a": "2"} }, false},
		"no parameters":              {func(c *snapshotv1.VolumeSnapshotClass) { c.Parameters = nil }, false},
		"a driver with a line break": {func(c *snapshotv1.VolumeSnapshotClass) { c.Driver = "disks.example.com\n" }, false},
	} {
		changed := *source.DeepCopy()
		c.change(&changed)
		if same := retainClass(changed, "catalog-id").Name == retainClass(source, "catalog-id").Name; same != c.same {
			t.Errorf("%s: same name %t, want %t", name, same, c.same)
		}
	}
}

func TestEnsureClass(t *testing.T) {
	source := snapshotClass("fast", "disks.example.com", func(c *snapshotv1.VolumeSnapshotClass) { c.Parameters = map[string]string{"a": "1"} }).Object
	bare := snapshotClass("bare", "disks.example.com", nil).Object
	changed := func(change func(*snapshotv1.VolumeSnapshotClass)) *snapshotv1.VolumeSnapshotClass {
		class := retainClass(source, "catalog-id")
		change(class)
		return class
	}
	for _, c := range []struct {
		name   string
		source snapshotv1.VolumeSnapshotClass
		there  *snapshotv1.VolumeSnapshotClass
		ok     bool
	}{
		{"it is made where it is absent", source, nil, true},
		{"one that is right is used", source, retainClass(source, "catalog-id"), true},
		{"one with more labels is used", source, changed(func(c *snapshotv1.VolumeSnapshotClass) { c.Labels["x"] = "y" }), true},
		{"no parameters are the same as none", bare, func() *snapshotv1.VolumeSnapshotClass {
			c := retainClass(bare, "catalog-id")
			c.Parameters = map[string]string{}
			return c
		}(), true},
		{"one of policy Delete is refused", source, changed(func(c *snapshotv1.VolumeSnapshotClass) { c.DeletionPolicy = "Delete" }), false},
		{"one of another driver is refused", source, changed(func(c *snapshotv1.VolumeSnapshotClass) { c.Driver = "other" }), false},
		{"one of other parameters is refused", source, changed(func(c *snapshotv1.VolumeSnapshotClass) { c.Parameters["a"] = "2" }), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := retainClass(c.source, "catalog-id")
			// It is seen in the inventory, or made by another run since.
			for _, seen := range []bool{true, false} {
				client, inv := snapshotfake.NewSimpleClientset(), &Inventory{}
				if c.there != nil {
					if err := client.Tracker().Add(c.there); err != nil {
						t.Fatal(err)
					}
					if seen {
						inv.SnapshotClasses = []Listed[snapshotv1.VolumeSnapshotClass]{{Object: *c.there}}
					}
				}
				if err := ensureClass(t.Context(), client, inv, want); (err == nil) != c.ok {
					t.Errorf("seen before %t: error %v, want it to be accepted: %t", seen, err, c.ok)
				} else if err != nil && !strings.Contains(err.Error(), "delete it") {
					t.Errorf("error %v, want it to say what to do", err)
				}
				got, err := client.SnapshotV1().VolumeSnapshotClasses().Get(t.Context(), want.Name, metav1.GetOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if c.there != nil {
					wantDiff(t, "the class that was there", c.there, got)
				} else {
					wantDiff(t, "the class that was made", want, got)
				}
			}
		})
	}
}
