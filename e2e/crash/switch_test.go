package crash

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/catalog/catalogtest"
)

const commitKey = "clusters/uid/points/20260903-120000-databases-10792870/commit"

func TestAProcessDiesBeforeOrAfterARequest(t *testing.T) {
	for _, after := range []bool{false, true} {
		b := Boundary{Request: "create points/commit", N: 2, After: after, Writes: true}
		t.Run(b.String(), func(t *testing.T) {
			var memory catalogtest.Memory
			s := NewSwitch(At(b))
			bucket := s.Bucket(&memory)
			ended := make(chan error, 2)
			go func() {
				for range 2 {
					if err := bucket.Create(t.Context(), commitKey, nil); err != nil && !errors.Is(err, catalog.ErrExist) {
						ended <- err
						return
					}
					if err := memory.Delete(t.Context(), commitKey); err != nil {
						ended <- err
						return
					}
				}
				ended <- nil
			}()
			<-s.Dead()
			select {
			case err := <-ended:
				t.Fatalf("the dead process has ended with %v", err)
			case <-time.After(20 * time.Millisecond):
			}
			if _, err := memory.Get(t.Context(), commitKey, 100); errors.Is(err, catalog.ErrNotExist) == after {
				t.Errorf("the second request, after its death %t: %v", after, err)
			}
			s.Bury()
			if err := <-ended; !errors.Is(err, ErrDead) {
				t.Errorf("it ended with %v, want %v", err, ErrDead)
			}
			if death := s.Death(); death == nil || *death != b {
				t.Errorf("it died %v, want %v", death, b)
			}
			if err := bucket.Delete(t.Context(), commitKey); !errors.Is(err, ErrDead) {
				t.Errorf("a later request: %v, want %v", err, ErrDead)
			}
		})
	}
}

func TestTheSwitchKnowsRequests(t *testing.T) {
	for _, c := range []struct{ method, url, want string }{
		{"GET", "/api/v1/namespaces/kube-system", "get namespaces"},
		{"GET", "/api/v1/namespaces?limit=500", "list namespaces"},
		{"GET", "/api/v1/namespaces/shop/persistentvolumeclaims", "list persistentvolumeclaims"},
		{"GET", "/apis/snapshot.storage.k8s.io/v1/namespaces/shop/volumesnapshots?watch=true", "watch volumesnapshots"},
		{"POST", "/apis/snapshot.storage.k8s.io/v1/namespaces/shop/volumesnapshots", "create volumesnapshots"},
		{"PATCH", "/apis/snapshot.storage.k8s.io/v1/volumesnapshotcontents/c", "patch volumesnapshotcontents"},
		{"DELETE", "/apis/snapshot.storage.k8s.io/v1/namespaces/shop/volumesnapshots/s", "delete volumesnapshots"},
		{"POST", "/api/v1/namespaces/shop/pods/redis-0/exec", "create pods/exec"},
		{"GET", "/api", "get /api"},
	} {
		request, err := http.NewRequestWithContext(context.Background(), c.method, "https://host"+c.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if verb, resource := describe(request); verb+" "+resource != c.want {
			t.Errorf("%s %s is %q, want %q", c.method, c.url, verb+" "+resource, c.want)
		}
	}
	keys := []string{"hawser.json", "clusters/uid/journal/p", "clusters/uid/journal/p.settled", commitKey}
	var kinds []string
	for _, key := range keys {
		kinds = append(kinds, kind(key))
	}
	if want := []string{"hawser.json", "journal", "journal settled", "points/commit"}; !slices.Equal(kinds, want) {
		t.Errorf("keys %q are of kinds %q, want %q", keys, kinds, want)
	}
}
