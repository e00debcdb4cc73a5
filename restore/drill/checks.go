package drill

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
)

const (
	// atOnce is how many Pods check at once.
	atOnce = 16
	// tailLines and tailBytes bound what is kept of the output of a check.
	tailLines = 50
	tailBytes = 4096
	logTime   = 10 * time.Second
)

// origins says which claim of the point each scratch claim is, by namespace.
func (r *run) origins() map[catalog.ClaimKey]catalog.ClaimKey {
	origins := map[catalog.ClaimKey]catalog.ClaimKey{}
	for _, v := range r.point.Bundle.Volumes {
		origins[r.scratch.scratchOf(v.Claim)] = v.Claim
	}
	return origins
}

func (r *run) selector() string { return catalog.DrillLabel + "=" + string(r.scratch.ID) }

// watchClaims notes when each claim becomes bound, until ctx ends.
func (r *run) watchClaims(ctx context.Context, t *tally) <-chan struct{} {
	origins := r.origins()
	claims := r.Kubernetes.CoreV1().PersistentVolumeClaims(metav1.NamespaceAll)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		err := restore.Until(ctx, restore.ListWatch(claims.List, claims.Watch, r.selector()), &corev1.PersistentVolumeClaim{}, nil, func(event watch.Event) (bool, error) {
			if claim, ok := event.Object.(*corev1.PersistentVolumeClaim); ok && claim.Status.Phase == corev1.ClaimBound {
				if origin, ours := origins[catalog.ClaimKey{Namespace: claim.Namespace, Name: claim.Name}]; ours {
					t.noteBound(origin, r.Now())
				}
			}
			return false, nil
		})
		if err != nil && ctx.Err() == nil {
			r.warn("when claims are bound cannot be seen", "error", err)
		}
	}()
	return ended
}

// checkAll runs a Pod for each volume, some at a time, and notes what came of each.
func (r *run) checkAll(ctx context.Context, t *tally) error {
	t.stage(stageStart)
	checks := &checks{run: r, tally: t, waiting: r.point.Bundle.Volumes, under: map[string]catalog.ClaimKey{}}
	if err := checks.fill(ctx); err != nil {
		return timely(ctx, err)
	}
	pods := r.Kubernetes.CoreV1().Pods(metav1.NamespaceAll)
	err := restore.Until(ctx, restore.ListWatch(pods.List, pods.Watch, r.selector()), &corev1.Pod{}, nil, func(event watch.Event) (bool, error) {
		pod, ok := event.Object.(*corev1.Pod)
		if !ok {
			return false, apierrors.FromObject(event.Object)
		}
		if !checks.see(ctx, pod, event.Type == watch.Deleted) {
			return false, nil
		}
		err := checks.fill(ctx)
		return len(checks.under) == 0, err
	})
	return timely(ctx, err)
}

// checks are the Pods of a drill. Only the goroutine of the watch uses it.
type checks struct {
	*run
	tally   *tally
	waiting []catalog.Volume
	under   map[string]catalog.ClaimKey // of Pods that have not ended, by namespace/name: the claims of the point
}

// fill makes Pods until as many as may be are under way.
func (c *checks) fill(ctx context.Context) error {
	for len(c.waiting) > 0 && len(c.under) < atOnce {
		v := c.waiting[0]
		pod := NewPod(c.scratch.ID, c.check, c.point, v, c.scratch.scratchOf(v.Claim))
		if _, err := c.Kubernetes.CoreV1().Pods(pod.Namespace).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("make the Pod that checks claim %s: %w", v.Claim, err)
		}
		c.waiting = c.waiting[1:]
		c.under[pod.Namespace+"/"+pod.Name] = v.Claim
	}
	return nil
}

// see notes how a Pod stands, and says whether it has just ended.
func (c *checks) see(ctx context.Context, pod *corev1.Pod, deleted bool) bool {
	key := pod.Namespace + "/" + pod.Name
	claim, ours := c.under[key]
	if !ours {
		return false
	}
	ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	if !ended && !deleted {
		c.progress(claim, pod)
		return false
	}
	delete(c.under, key)
	now := c.Now()
	passed, message := judge(pod, deleted && !ended)
	output := c.output(ctx, pod)
	c.tally.change(claim, func(d *catalog.DrillClaim) {
		d.Message, d.CheckedAfter, d.Output, d.Stage = message, c.tally.after(now), output, stageCheck
		if passed {
			d.Outcome, d.Stage = catalog.DrillPassed, stageDone
		}
	})
	stage := map[bool]string{true: "passed", false: "failed"}[passed]
	c.report(restore.Event{Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name, Stage: stage, Message: message, Done: true})
	return true
}

// progress notes how far a Pod is that has not ended.
func (c *checks) progress(claim catalog.ClaimKey, pod *corev1.Pod) {
	stage, message := stageStart, waitingFor(pod)
	if pod.Status.Phase == corev1.PodRunning {
		stage, message = stageCheck, ""
	}
	changed := false
	c.tally.change(claim, func(d *catalog.DrillClaim) {
		changed = d.Stage != stage
		d.Stage = stage
		if d.BoundAfter == 0 && stage == stageStart {
			d.Stage = stageBind
		}
		d.Message = message
	})
	if changed {
		c.report(restore.Event{Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name, Stage: "checking", Message: message})
	}
}

// judge says whether a Pod that has ended has found its volume good.
func judge(pod *corev1.Pod, deleted bool) (bool, string) {
	switch {
	case deleted:
		return false, "its Pod was deleted while it checked"
	case pod.Status.Phase == corev1.PodSucceeded:
		return true, ""
	}
	for _, s := range pod.Status.ContainerStatuses {
		if t := s.State.Terminated; t != nil {
			return false, fmt.Sprintf("the check ended with exit code %d (%s)", t.ExitCode, cmp.Or(t.Reason, "no reason given"))
		}
	}
	return false, "its Pod failed: " + cmp.Or(strings.TrimSpace(pod.Status.Reason+" "+pod.Status.Message), "no reason given")
}

// waitingFor says why a Pod does not run yet; "" if nothing is the matter.
func waitingFor(pod *corev1.Pod) string {
	for _, s := range pod.Status.ContainerStatuses {
		if w := s.State.Waiting; w != nil && w.Reason != "ContainerCreating" && w.Reason != "PodInitializing" {
			return strings.TrimSuffix(w.Reason+": "+w.Message, ": ")
		}
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
			return condition.Message
		}
	}
	return ""
}

// output is the end of what a Pod that has ended printed, as far as it can be
// read: that it cannot is no failure of the check.
func (c *checks) output(ctx context.Context, pod *corev1.Pod) string {
	ctx, cancel := context.WithTimeout(ctx, logTime)
	defer cancel()
	options := &corev1.PodLogOptions{TailLines: ptr.To[int64](tailLines)}
	data, err := c.Kubernetes.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, options).DoRaw(ctx)
	if err == nil {
		return strings.TrimSpace(string(data[max(0, len(data)-tailBytes):]))
	}
	for _, s := range pod.Status.ContainerStatuses {
		if t := s.State.Terminated; t != nil && t.Message != "" {
			return t.Message
		}
	}
	return "(what it printed cannot be read: " + err.Error() + ")"
}
