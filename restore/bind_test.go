package restore

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func TestVerifyPair(t *testing.T) {
	made := metav1.NewTime(shopTime)
	tests := []struct {
		name   string
		way    Way
		change func(*corev1.PersistentVolumeClaim, *corev1.PersistentVolume)
		gone   bool
		want   string // "" if they are a pair
	}{
		{name: "a reattached claim on its disk", way: Reattach},
		{name: "an adopted claim on its disk", way: Adopt},
		{name: "a rehydrated claim on a volume of its uid", way: FromSnapshot, change: func(c *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) {
			v.Name, v.Spec.CSI.VolumeHandle = "pvc-"+string(c.UID), "new"
			v.CreationTimestamp = metav1.NewTime(shopTime.Add(-time.Hour)) // the clocks of two API servers
		}},
		{name: "a rehydrated claim on a younger volume of another name", way: FromSnapshot, change: func(_ *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) {
			v.Name, v.Spec.CSI.VolumeHandle = "prefix-1", "new"
			v.CreationTimestamp = metav1.NewTime(shopTime.Add(time.Second))
		}},
		{name: "the volume is gone", way: Reattach, gone: true, want: "is Bound to PersistentVolume pv-redis-0, which does not exist"},
		{name: "the volume names no claim", way: Reattach, change: func(_ *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) { unreserved(v) }, want: "do not name each other"},
		{name: "the volume names a former claim of the name", way: Reattach, change: func(_ *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) { foreignUID(v) }, want: "do not name each other"},
		{name: "the volume is of another driver", way: Reattach, change: func(_ *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) {
			v.Spec.CSI.Driver = "other.example.com"
		}, want: "is not of driver " + shopDriver},
		{name: "the volume has no CSI source", way: FromSnapshot, change: func(_ *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) { v.Spec.CSI = nil }, want: "is not of driver " + shopDriver},
		{name: "a reattached claim on another disk", way: Reattach, change: func(_ *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) {
			overDisk("empty")(v)
		}, want: "was bound to disk empty instead of disk-0"},
		{name: "an adopted claim on another disk", way: Adopt, change: func(_ *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) {
			overDisk("empty")(v)
		}, want: "was bound to disk empty instead of disk-0"},
		{name: "a rehydrated claim on a volume that was there before it", way: FromSnapshot, change: func(_ *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) {
			v.CreationTimestamp = metav1.NewTime(shopTime.Add(-time.Second))
		}, want: "which is older than the claim"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			claim, volume := redisClaim(0), redisVolume(0)
			claim.CreationTimestamp, volume.CreationTimestamp = made, made
			if test.change != nil {
				test.change(&claim, &volume)
			}
			found := &volume
			if test.gone {
				found = nil
			}
			err := verifyPair(VolumePlan{Claim: redisKey(0), Way: test.way, driver: shopDriver, handle: diskOf(0)}, &claim, found)
			switch {
			case test.want == "" && err != nil:
				t.Errorf("they are a pair, but: %v", err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), redisKey(0).String())):
				t.Errorf("error %v, want one that names the claim and says %q", err, test.want)
			}
		})
	}
}

func TestSnapshotGone(t *testing.T) {
	tests := map[string]bool{
		"Failed to check and update snapshot content: failed to list snapshot for content hawser-restore-1: \"rpc error: code = NotFound desc = snapshot snap-1\"": true,
		"Failed to check and update snapshot content: failed to list snapshot for content hawser-restore-1: \"can not find snapshot for snapshotID snap-1\"":       true,
		"Failed to check and update snapshot content: rpc error: code = Unavailable desc = connection refused":                                                     false,
		"": false,
	}
	for message, want := range tests {
		if got := snapshotGone(message); got != want {
			t.Errorf("snapshotGone(%q) = %v, want %v", message, got, want)
		}
	}
}

func TestExamplesAreFewAndInOrder(t *testing.T) {
	waiting := map[string]bool{"shop/d": true, "shop/b": true, "shop/a": true, "shop/c": true}
	last := map[string]string{"shop/b": "Pending"}
	if got, want := examples(waiting, last), "shop/a; shop/b: Pending; shop/c; …"; got != want {
		t.Errorf("examples %q, want %q", got, want)
	}
}

// Claims are to be created for volumes of which the binder has taken note.
func TestAwaitAvailable(t *testing.T) {
	volumes := corev1.SchemeGroupVersion.WithResource("persistentvolumes")
	reattached := func(name string, claim Step) VolumePlan {
		return VolumePlan{Claim: redisKey(0), Way: Reattach, VolumeName: name, Steps: []Step{{Action: RearmPV, Kind: "PersistentVolume", Name: name}, claim}}
	}
	created := Step{Action: Create, Kind: "PersistentVolumeClaim", Namespace: "shop", Name: "c"}
	there := func(name string, phase corev1.PersistentVolumePhase) *corev1.PersistentVolume {
		return &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.PersistentVolumeStatus{Phase: phase}}
	}
	await := func(t *testing.T, patience time.Duration, meanwhile func(*fake.Clientset), plans ...VolumePlan) error {
		client := fake.NewClientset(there("good", corev1.VolumeAvailable), there("late", corev1.VolumeReleased), there("other", corev1.VolumeReleased))
		client.PrependWatchReactor("persistentvolumes", func(a clienttesting.Action) (bool, watch.Interface, error) {
			if a.(clienttesting.WatchActionImpl).ListOptions.SendInitialEvents != nil {
				return true, nil, apierrors.NewMethodNotSupported(volumes.GroupResource(), "watch") // a fake does not stream lists
			}
			w, err := client.Tracker().Watch(a.GetResource(), "")
			if meanwhile != nil {
				meanwhile(client)
			}
			return true, w, err
		})
		a := &applier{Restorer: &Restorer{Kubernetes: client, Patience: patience}, plan: &Plan{Volumes: plans}, result: &Result{}}
		err := a.awaitAvailable(t.Context())
		if len(plans) == 0 && len(client.Actions()) > 0 {
			t.Errorf("with nothing to wait for, it asked for %v", client.Actions())
		}
		return err
	}

	t.Run("a volume becomes Available", func(t *testing.T) {
		err := await(t, 5*time.Second, func(c *fake.Clientset) {
			if err := c.Tracker().Update(volumes, there("late", corev1.VolumeAvailable), ""); err != nil {
				t.Error(err)
			}
		}, reattached("good", created), reattached("late", created))
		if err != nil {
			t.Error(err)
		}
	})
	t.Run("a volume stays as it was", func(t *testing.T) {
		err := await(t, 50*time.Millisecond, nil, reattached("good", created), reattached("late", created))
		if err == nil || !strings.Contains(err.Error(), "1 PersistentVolumes are not Available") || !strings.Contains(err.Error(), "late: Released") || !strings.Contains(err.Error(), "no claim was created") {
			t.Errorf("the error is %v", err)
		}
	})
	t.Run("a volume is deleted", func(t *testing.T) {
		err := await(t, 5*time.Second, func(c *fake.Clientset) {
			if err := c.Tracker().Delete(volumes, "", "late"); err != nil {
				t.Error(err)
			}
		}, reattached("late", created))
		if err == nil || !strings.Contains(err.Error(), "PersistentVolume late was deleted") {
			t.Errorf("the error is %v", err)
		}
	})
	t.Run("no claim is to be created", func(t *testing.T) {
		// That of a Lost claim names its uid, and is never Available.
		if err := await(t, 50*time.Millisecond, nil, reattached("late", Step{Action: KeepAsIs, Kind: "PersistentVolumeClaim", Name: "c"})); err != nil {
			t.Error(err)
		}
		if err := await(t, 50*time.Millisecond, nil); err != nil {
			t.Error(err)
		}
	})
}
