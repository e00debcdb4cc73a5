package backup

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	snapshotfake "github.com/kubernetes-csi/external-snapshotter/client/v6/clientset/versioned/fake"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/catalog/catalogtest"
)

const clusterUID = "6f1c2d3e-0000-4000-8000-00000000000a"

// lab is a cluster without controllers, and an empty catalog.
type lab struct {
	*Runner
	kubernetes *fake.Clientset
	dynamic    *dynamicfake.FakeDynamicClient
	snapshots  *snapshotfake.Clientset
	bucket     *catalogtest.Faulty
	log        *bytes.Buffer

	mu     sync.Mutex
	events []string
}

func newLab(t *testing.T, documents ...string) *lab {
	t.Helper()
	return newLabIn(t, new(catalogtest.Memory), documents...)
}

// newLabIn is a lab whose catalog is in bucket.
func newLabIn(t *testing.T, bucket catalog.Bucket, documents ...string) *lab {
	t.Helper()
	inv := inventory(t, documents...)
	l := &lab{bucket: &catalogtest.Faulty{Bucket: bucket}, log: new(bytes.Buffer)}
	system := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: metav1.NamespaceSystem, UID: clusterUID}}
	l.kubernetes, l.snapshots = fake.NewClientset(system), snapshotfake.NewSimpleClientset()
	for i := range inv.Volumes {
		if err := l.kubernetes.Tracker().Add(&inv.Volumes[i].Object); err != nil {
			t.Fatal(err)
		}
	}
	kinds := map[schema.GroupVersionResource]string{}
	for resource, kind := range map[schema.GroupVersionResource]string{
		namespacesResource: "Namespace", claimsResource: "PersistentVolumeClaim", volumesResource: "PersistentVolume", podsResource: "Pod",
		statefulSetsResource: "StatefulSet", deploymentsResource: "Deployment", servicesResource: "Service", configMapsResource: "ConfigMap",
		secretsResource: "Secret", storageClassesResource: "StorageClass", snapshotClassesResource: "VolumeSnapshotClass",
	} {
		kinds[resource] = kind + "List"
	}
	var objects []runtime.Object
	for _, o := range append(allRaw(inv), raws(inv.SnapshotClasses)...) {
		objects = append(objects, &o)
	}
	l.dynamic = dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), kinds, objects...)
	cat, err := catalog.OpenOrCreate(t.Context(), l.bucket, catalog.Limits{}, noon)
	if err != nil {
		t.Fatal(err)
	}
	l.Runner = &Runner{
		Kubernetes: l.kubernetes, Dynamic: l.dynamic, Snapshots: l.snapshots, Catalog: cat, ClusterName: "prod-eu", Writer: "hawser test",
		Now: func() time.Time { return noon }, Log: slog.New(slog.NewTextHandler(l.log, nil)),
		Report: func(e Event) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.events = append(l.events, fmt.Sprintf("%s %s: %s", e.Claim, e.Stage, e.Message))
		},
	}
	return l
}

// reattachable asks for a point without snapshots, which no controller is needed for.
func reattachable(sel Selection) Request {
	return Request{Plan: catalog.ManualPlan, Select: sel, Snapshot: SnapshotPolicy{Skip: true}}
}

func (l *lab) survey(t *testing.T) []catalog.Presence {
	t.Helper()
	survey, err := l.Catalog.Survey(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	return survey
}

// forbid makes the API server refuse a verb on a resource.
func forbid(f *clienttesting.Fake, verb, resource string) {
	f.PrependReactor(verb, resource, func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "", errors.New("no right to "+verb))
	})
}
