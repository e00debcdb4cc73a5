package drill

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/pod-security-admission/api"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
)

// Scratch is what a drill makes, and the restore that fills it.
type Scratch struct {
	ID         catalog.DrillID
	Namespaces []corev1.Namespace
	Classes    []storagev1.StorageClass
	// Point is the claims of the point, with their volumes and nothing else.
	Point   *catalog.RestorePoint
	Request restore.Request
}

// NewScratch decides what a drill of point makes: a scratch namespace, under the
// restricted pod-security standard, for each namespace that the point has claims
// in, and a copy of each storage class that they are of, whose volumes are
// deleted with their claims. classes are those of the cluster; for one that is
// not among them nothing is made, and the restore will be refused. The claims
// come without the labels and annotations that others may act upon. The input is
// not changed.
func NewScratch(point *catalog.RestorePoint, id catalog.DrillID, prefix string, classes []storagev1.StorageClass) (*Scratch, error) {
	if err := checkPrefix(prefix); err != nil {
		return nil, err
	}
	if len(point.Bundle.Volumes) == 0 {
		return nil, errors.New("the point has no claims; there is nothing to practise on")
	}
	s := &Scratch{
		ID: id, Point: &catalog.RestorePoint{Commit: point.Commit, Bundle: catalog.Bundle{Format: point.Bundle.Format, Point: point.Bundle.Point}},
		Request: restore.Request{From: restore.FromSnapshots, Mapping: restore.Mapping{Namespaces: map[string]string{}, StorageClasses: map[string]string{}}},
	}
	for _, v := range point.Bundle.Volumes {
		v.Workload, v.Template, v.Ordinal = nil, "", nil
		s.Point.Bundle.Volumes = append(s.Point.Bundle.Volumes, v)
		s.addNamespace(v.Claim.Namespace, prefix, point.Commit)
		s.addClass(v.StorageClass, classes)
	}
	for _, object := range point.Bundle.Objects {
		switch object.GetKind() {
		case "PersistentVolumeClaim":
			s.Point.Bundle.Objects = append(s.Point.Bundle.Objects, *bareClaim(object, id))
		case "PersistentVolume":
			s.Point.Bundle.Objects = append(s.Point.Bundle.Objects, object)
		}
	}
	for _, kind := range []string{"VolumeSnapshotContent", "VolumeSnapshot"} {
		s.Request.Mapping.Patches = append(s.Request.Mapping.Patches, restore.Patch{Kind: kind, Operations: markPatch(id)})
	}
	return s, nil
}

func (s *Scratch) addNamespace(from, prefix string, commit catalog.Commit) {
	if s.Request.Mapping.Namespaces[from] != "" {
		return
	}
	labels := marks(s.ID)
	labels[api.EnforceLevelLabel] = string(api.LevelRestricted)
	name := namespaceName(prefix, s.ID, len(s.Namespaces))
	s.Request.Mapping.Namespaces[from] = name
	s.Namespaces = append(s.Namespaces, corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: labels,
		Annotations: map[string]string{planAnnotation: commit.Plan, pointAnnotation: string(commit.Point), aliveAnnotation: "0"},
	}})
}

func (s *Scratch) addClass(from string, classes []storagev1.StorageClass) {
	i := slices.IndexFunc(classes, func(c storagev1.StorageClass) bool { return c.Name == from })
	if i < 0 || s.Request.Mapping.StorageClasses[from] != "" {
		return
	}
	class := classes[i].DeepCopy()
	class.ObjectMeta = metav1.ObjectMeta{Name: className(s.ID, len(s.Classes)), Labels: marks(s.ID)} // not the default one, whatever that was
	class.ReclaimPolicy = ptr.To(corev1.PersistentVolumeReclaimDelete)
	s.Request.Mapping.StorageClasses[from] = class.Name
	s.Classes = append(s.Classes, *class)
}

// bareClaim is a captured claim with the marks of the drill alone.
func bareClaim(captured unstructured.Unstructured, id catalog.DrillID) *unstructured.Unstructured {
	claim := captured.DeepCopy()
	claim.SetLabels(marks(id))
	claim.SetAnnotations(nil)
	return claim
}

// markPatch adds the mark of a drill to what a restore creates.
func markPatch(id catalog.DrillID) []byte {
	value, err := json.Marshal(id)
	if err != nil {
		panic(err) // it is a string
	}
	return fmt.Appendf(nil, `[{"op":"add","path":"/metadata/labels/hawser.dev~1drill","value":%s}]`, value)
}

// scratchOf is where a claim of the point is restored.
func (s *Scratch) scratchOf(claim catalog.ClaimKey) catalog.ClaimKey {
	return catalog.ClaimKey{Namespace: s.Request.Mapping.Namespaces[claim.Namespace], Name: claim.Name}
}
