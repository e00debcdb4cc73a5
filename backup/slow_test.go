package backup

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// The recordings in testdata/slow are of real sidecars in a real cluster: what
// the objects of a run showed every 15 s. In each look there is a line for each
// snapshot; numbers are seconds, by the API server's clock.
func TestDiagnoseOfWhatWasRecorded(t *testing.T) {
	controller := []string{"throttles snapshot-controller"}
	sidecar := []string{"throttles csi-snapshotter"}
	driver := []string{"working driver"}
	for recording, want := range map[string][][]string{
		"controller-1": {controller, controller, controller, controller},
		"controller-5": {controller, controller, controller, controller},
		"sidecar-1":    {sidecar, sidecar, sidecar, sidecar},
		"sidecar-5":    {sidecar, sidecar, nil, nil},
		"sidecar-10":   {sidecar, nil, nil, nil},
		"driver-20s":   {driver, driver, nil, driver}, // the third look is at those that it has just begun
		"driver-4s":    {nil, nil, nil, nil},          // done in 30 s: nothing to speak of
	} {
		t.Run(recording, func(t *testing.T) {
			var got [][]string
			before := Look{At: noon}
			for _, now := range replay(t, recording) {
				found := Diagnose(before, now, noon.Add(10*time.Minute))
				got = append(got, kinds(found))
				now.hold(before, found)
				before = now
			}
			wantDiff(t, "findings of each look", want, got)
		})
	}
}

// The clocks of Hawser and of the API server need not agree.
func TestDiagnoseComparesNoClocks(t *testing.T) {
	for _, ahead := range []time.Duration{-time.Hour, time.Hour} {
		looks := replay(t, "sidecar-1")
		for i := range looks { // as if all that we noted ourselves were of another time
			looks[i].At = looks[i].At.Add(ahead)
			for n := range looks[i].Sights {
				looks[i].Sights[n].Since = looks[i].Sights[n].Since.Add(ahead)
			}
		}
		got := Diagnose(Look{At: noon.Add(ahead)}, looks[0], noon.Add(ahead).Add(10*time.Minute))
		wantDiff(t, "findings", []string{"throttles csi-snapshotter"}, kinds(got))
	}
}

func kinds(findings []Finding) []string {
	var all []string
	for _, f := range findings {
		all = append(all, string(f.Kind)+" "+f.Component)
	}
	return all
}

// replay reads the looks of a recording. The first snapshot was created at noon.
func replay(t *testing.T, name string) []Look {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "slow", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	var looks []Look
	for line := range strings.Lines(string(data)) {
		switch words := strings.Fields(line); words[0] {
		case "#":
		case "look":
			looks = append(looks, Look{At: noon.Add(seconds(t, words[1]))})
		default:
			now := &looks[len(looks)-1]
			snapshot, content := recorded(t, words)
			sight := locate("disks.example.com", snapshot.CreationTimestamp.Time, snapshot, content)
			if slices.Contains(words, "ready") {
				sight.Place = AtEnd
			}
			now.Sights = append(now.Sights, sight)
			now.Written = latest(now.Written, lastWrite(content))
		}
	}
	return looks
}

func seconds(t *testing.T, text string) time.Duration {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(n) * time.Second
}

// recorded makes the two objects of a line. The content is nil if there is none.
func recorded(t *testing.T, words []string) (*snapshotv1.VolumeSnapshot, *snapshotv1.VolumeSnapshotContent) {
	t.Helper()
	snapshot, content := &snapshotv1.VolumeSnapshot{Status: &snapshotv1.VolumeSnapshotStatus{}}, &snapshotv1.VolumeSnapshotContent{}
	status := func() *snapshotv1.VolumeSnapshotContentStatus {
		if content.Status == nil {
			content.Status = &snapshotv1.VolumeSnapshotContentStatus{ReadyToUse: ptr.To(false)}
		}
		return content.Status
	}
	for _, word := range words {
		key, value, _ := strings.Cut(word, "=")
		at := func() metav1.Time { return metav1.NewTime(noon.Add(seconds(t, value))) }
		switch key {
		case "snapshot":
			snapshot.CreationTimestamp = at()
		case "finalizer":
			snapshot.Finalizers = []string{"snapshot.storage.kubernetes.io/volumesnapshot-as-source-protection"}
		case "bound":
			snapshot.Status.BoundVolumeSnapshotContentName = ptr.To("content")
		case "ready":
			snapshot.Status.ReadyToUse = ptr.To(true)
		case "content":
			content.CreationTimestamp = at()
			content.ManagedFields = append(content.ManagedFields, written("", `{"f:spec":{}}`, at()))
		case "asked":
			content.ManagedFields = append(content.ManagedFields, written("", `{"f:metadata":{"f:annotations":{".":{},"f:`+beingCreated+`":{}}}}`, at()))
		case "told":
			content.ManagedFields = append(content.ManagedFields, written("status", `{"f:status":{}}`, at()))
			status()
		case "marked":
			content.Annotations = map[string]string{beingCreated: "yes"}
		case "cut":
			status().SnapshotHandle = ptr.To("handle")
		case "usable":
			status().ReadyToUse = ptr.To(true)
		default:
			t.Fatalf("what is %q?", word)
		}
	}
	if content.CreationTimestamp.IsZero() {
		return snapshot, nil
	}
	return snapshot, content
}

func written(subresource, fields string, at metav1.Time) metav1.ManagedFieldsEntry {
	return metav1.ManagedFieldsEntry{
		Manager: "a sidecar", Operation: metav1.ManagedFieldsOperationUpdate, Subresource: subresource, Time: &at, FieldsV1: metav1.NewFieldsV1(fields),
	}
}

func TestWhereASnapshotIs(t *testing.T) {
	for _, c := range []struct {
		line  string
		place Place
		since int // seconds after noon
		begun bool
	}{
		{"snapshot=1", AtController, 1, false},
		{"snapshot=1 finalizer", AtController, 1, true},
		{"snapshot=1 finalizer bound", AtUpload, 1, true}, // that could not be seen
		{"snapshot=1 finalizer content=3", AtSidecar, 3, false},
		{"snapshot=1 finalizer bound content=3", AtSidecar, 3, false},
		{"snapshot=1 finalizer bound content=3 told=4", AtSidecar, 3, true}, // an error, for instance
		{"snapshot=1 finalizer bound content=3 asked=7 marked", AtDriver, 7, true},
		{"snapshot=1 finalizer bound content=3 marked", AtDriver, 3, true}, // by an API server that notes no writers
		{"snapshot=1 finalizer bound content=3 asked=7 marked told=9 cut", AtUpload, 9, true},
		{"snapshot=1 finalizer bound content=3 told=9 cut", AtUpload, 9, true},
		{"snapshot=1 finalizer bound content=3 told=9 cut usable", AtBinding, 9, true},
		{"snapshot=1 finalizer content=3 asked=7 marked told=9 cut usable", AtBinding, 9, true},
	} {
		snapshot, content := recorded(t, strings.Fields(c.line))
		got := locate("driver", snapshot.CreationTimestamp.Time, snapshot, content)
		if got.Place != c.place || got.Begun != c.begun || got.Since.Sub(noon) != time.Duration(c.since)*time.Second {
			t.Errorf("%s\n  is at %d since %s, begun %t; want %d since %d s, begun %t", c.line, got.Place, got.Since.Sub(noon), got.Begun, c.place, c.since, c.begun)
		}
	}
	if got := locate("driver", time.Time{}, nil, nil); got.Place != AtHawser {
		t.Errorf("a snapshot that is not there is at %d", got.Place)
	}
	// What happened before we looked at all is of the moment at which we did.
	snapshot, content := recorded(t, strings.Fields("snapshot=1 finalizer bound content=1 asked=4 marked"))
	if got := locate("driver", noon.Add(time.Hour), snapshot, content); got.Since.Sub(noon) != time.Hour+3*time.Second {
		t.Errorf("since %s, want an hour and 3 s after noon", got.Since.Sub(noon))
	}
}

// at is n snapshots at a place for so long.
func at(n int, place Place, since time.Duration) []Sight {
	return slices.Repeat([]Sight{{Place: place, Driver: "disks.example.com", Since: ago(since), Begun: true}}, n)
}

func untouched(sights []Sight) []Sight {
	for i := range sights {
		sights[i].Begun = false
	}
	return sights
}

func ofDriver(driver string, sights []Sight) []Sight {
	for i := range sights {
		sights[i].Driver = driver
	}
	return sights
}

func TestDiagnose(t *testing.T) {
	const long, moment = 14 * time.Second, time.Second
	for _, c := range []struct {
		name   string
		before []Sight // 15 s ago; nil if this is the first look
		now    []Sight
		own    Requests
		left   time.Duration // until the deadline; 0 is 10 m
		want   []string
	}{
		{"all is ready", nil, at(100, AtEnd, 0), Requests{}, 0, nil},
		{"nothing was looked for", nil, nil, Requests{}, 0, nil},
		{"a thousand at a good rate", nil, slices.Concat(at(300, AtEnd, 0), at(700, AtController, long)), Requests{}, 0, nil},
		{"a thousand at a good rate that is not good enough", nil, slices.Concat(at(300, AtEnd, 0), at(700, AtController, long)), Requests{}, 30 * time.Second, []string{"throttles snapshot-controller"}},
		{"few, and they are on their way", nil, slices.Concat(at(20, AtEnd, 0), at(3, AtController, long)), Requests{}, 0, nil},
		{"what has just come does not wait", nil, at(100, AtController, moment), Requests{}, 0, nil},
		{"one that is stuck", nil, at(1, AtController, long), Requests{}, 0, []string{"throttles snapshot-controller"}},
		{"no snapshot was touched", nil, untouched(at(5, AtController, long)), Requests{}, 0, []string{"idle snapshot-controller"}},
		{"ready, but not told of", at(5, AtUpload, long), at(5, AtBinding, long), Requests{}, 0, []string{"throttles snapshot-controller"}},
		{"no content was touched", nil, untouched(at(5, AtSidecar, long)), Requests{}, 0, []string{"idle csi-snapshotter"}},
		{"of two drivers, one has no sidecar", nil, slices.Concat(ofDriver("a", at(5, AtEnd, 0)), ofDriver("b", untouched(at(5, AtSidecar, long)))), Requests{}, 0, []string{"idle csi-snapshotter"}},
		{"a driver that takes long for all of them", nil, at(8, AtDriver, long), Requests{}, 0, []string{"working driver"}},
		{"a driver that makes them ready slowly is as it should be", nil, at(8, AtUpload, long), Requests{}, 0, nil},
		{"both the controller and a driver", nil, slices.Concat(at(8, AtController, long), at(8, AtDriver, long)), Requests{}, 0, []string{"throttles snapshot-controller", "working driver"}},
		{"the queue of a sidecar of which nothing can be told yet", nil, slices.Concat(at(5, AtSidecar, long), at(5, AtDriver, moment)), Requests{}, 0, nil},
		{"the same half a minute later", slices.Concat(at(5, AtSidecar, 16*time.Second), at(5, AtDriver, moment)), slices.Concat(at(5, AtSidecar, 31*time.Second), at(5, AtDriver, 6*time.Second)), Requests{}, 0, []string{"working driver"}},
		{"we have created none, and nothing holds us back", nil, at(50, AtHawser, 0), Requests{Sent: 10}, 0, nil}, // hooks, for instance
		{"our own limit", nil, at(50, AtHawser, 0), Requests{Sent: 10, Held: 20 * time.Second}, 0, []string{"throttles hawser"}},
		{"our own limit holds back something else", nil, at(50, AtEnd, 0), Requests{Sent: 10, Held: 20 * time.Second}, 0, nil},
		{"requests are refused", nil, at(50, AtController, long), Requests{Sent: 40, Refused: 12}, 0, []string{"throttles kube-apiserver"}},
		{"a few of many requests are refused", nil, at(50, AtController, long), Requests{Sent: 400, Refused: 12}, 0, []string{"throttles snapshot-controller"}},
		{"requests were refused, and all is well", nil, at(50, AtEnd, 0), Requests{Sent: 40, Refused: 12}, 0, nil},
		{"writes take long", nil, at(50, AtController, long), Requests{Sent: 40, Writes: 20, WriteTime: 30 * time.Second, Writing: 4 * time.Second}, 0, []string{"throttles kube-apiserver"}},
		{"a burst of writes took long", nil, at(50, AtController, long), Requests{Sent: 40, Writes: 20, WriteTime: 30 * time.Second, Writing: 3 * time.Second}, 0, []string{"throttles snapshot-controller"}},
		{"a write takes long", nil, at(50, AtController, long), Requests{Sent: 1, Writes: 1, WriteTime: 4 * time.Second, Writing: 4 * time.Second}, 0, []string{"throttles snapshot-controller"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.left == 0 {
				c.left = 10 * time.Minute
			}
			got := Diagnose(Look{At: ago(15 * time.Second), Sights: c.before}, Look{At: noon, Sights: c.now, Own: c.own}, noon.Add(c.left))
			wantDiff(t, "findings", c.want, kinds(got))
			for _, f := range got {
				if f.Message == "" || f.Waiting == 0 || (f.Kind == Throttles) == (f.Flags == "") && f.Kind != Working {
					t.Errorf("finding %+v", f)
				}
			}
		})
	}
}

// A mark comes off by one request. If that takes long, so does all that
// csi-snapshotter asks of the API server, whatever the driver does.
func TestAMarkThatStaysOnTellsOfTheSidecar(t *testing.T) {
	for after, want := range map[time.Duration]string{slowMark: "throttles csi-snapshotter", slowMark - time.Second: "working driver"} {
		told := at(1, AtEnd, time.Minute)
		told[0].Closing = noon.Add(-after)
		now := Look{At: noon, Written: noon, Sights: slices.Concat(told, at(8, AtDriver, 14*time.Second), at(8, AtSidecar, 14*time.Second))}
		wantDiff(t, "findings", []string{want}, kinds(Diagnose(Look{At: ago(15 * time.Second)}, now, noon.Add(time.Hour))))
	}
}

func TestDiagnoseCountsWhatWasSentSinceTheLastLook(t *testing.T) {
	refused := Requests{Sent: 100, Refused: 50, Writes: 50, WriteTime: time.Hour, Writing: time.Hour, Held: time.Hour}
	waiting := slices.Concat(at(5, AtHawser, 0), at(5, AtController, 14*time.Second))
	got := Diagnose(Look{At: ago(15 * time.Second), Own: refused, Sights: waiting}, Look{At: noon, Own: refused, Sights: waiting}, noon.Add(time.Hour))
	wantDiff(t, "findings", []string{"throttles snapshot-controller"}, kinds(got))
}

func TestAFindingSaysWhatToRaise(t *testing.T) {
	for component, c := range map[string]struct {
		now  []Sight
		own  Requests
		want []string
	}{
		ComponentController: {at(9, AtController, time.Minute), Requests{}, []string{"snapshot-controller", "--kube-api-qps", "--kube-api-burst", "--worker-threads"}},
		ComponentHawser:     {at(9, AtHawser, 0), Requests{Held: time.Minute}, []string{"kubernetes.qps", "kubernetes.burst"}},
		ComponentAPIServer:  {at(9, AtHawser, 0), Requests{Sent: 9, Refused: 9}, []string{"429", "priority and fairness", "--max-requests-inflight", "--max-mutating-requests-inflight"}},
		ComponentDriver:     {slices.Concat(at(9, AtDriver, time.Minute), at(9, AtSidecar, time.Minute)), Requests{}, []string{"driver disks.example.com", "nothing throttles", "--worker-threads"}},
	} {
		got := Diagnose(Look{At: ago(15 * time.Second)}, Look{At: noon, Sights: c.now, Own: c.own}, noon.Add(time.Hour))
		if len(got) != 1 || got[0].Component != component {
			t.Errorf("%s: found %v", component, kinds(got))
			continue
		}
		for _, part := range c.want {
			if !strings.Contains(got[0].Message, part) {
				t.Errorf("%s: the message lacks %q: %s", component, part, got[0].Message)
			}
		}
	}
	throttled := Diagnose(Look{At: noon}, replay(t, "sidecar-5")[0], noon.Add(time.Hour))[0]
	for _, part := range []string{"csi-snapshotter of driver disks.example.com", "--kube-api-qps", "--kube-api-burst", "--worker-threads"} {
		if !strings.Contains(throttled.Message, part) {
			t.Errorf("the message lacks %q: %s", part, throttled.Message)
		}
	}
	if fmt.Sprint(throttled.Waiting) == "0" || throttled.Driver != "disks.example.com" {
		t.Errorf("finding %+v", throttled)
	}
}
