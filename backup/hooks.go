package backup

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"hawser.dev/hawser/catalog"
)

// Hook is what runs in a container before and after the snapshots of a Pod's
// volumes are cut, so that the files on them are consistent.
type Hook struct {
	Select    labels.Selector // the Pods it is for, among those that use selected claims
	Container string          // "" is the Pod's default container, or its first
	Pre       []string        // a command; none if empty
	Post      []string
	// Hold keeps Pre running, with its standard input open, until the snapshots
	// are cut. Its first output says that it has done what it is for; the end of
	// its input tells it to let go. A lock that lives in a session of a database
	// can be held so, and is gone with the connection whatever happens.
	Hold      bool
	Timeout   time.Duration // of each command, and of a held one to begin and to end; 0 means DefaultHookTimeout
	OnFailure OnFailure     // of Pre; "" means Abort
}

// OnFailure says what becomes of a Pod's volumes if its pre hook fails.
type OnFailure string

const (
	Abort    OnFailure = "abort"    // no snapshot is taken
	Continue OnFailure = "continue" // it is taken all the same
)

// DefaultHookTimeout is how long one hook command may take.
const DefaultHookTimeout = 30 * time.Second

// Pod annotations that ask for hooks; a hook of the plan that selects the Pod
// takes their place. A command is a JSON array of strings, or a line for
// /bin/sh -c.
const (
	PreHookAnnotation       = "hawser.dev/pre-hook"
	PostHookAnnotation      = "hawser.dev/post-hook"
	HookHoldAnnotation      = "hawser.dev/hook-hold" // "true"
	HookContainerAnnotation = "hawser.dev/hook-container"
	HookTimeoutAnnotation   = "hawser.dev/hook-timeout"    // a duration, such as 30s
	HookOnFailureAnnotation = "hawser.dev/hook-on-failure" // abort or continue
)

// podHook is a hook of one running Pod.
type podHook struct {
	Hook
	namespace, pod string
	container      string
	claims         []catalog.ClaimKey // that the Pod uses and the run takes
	err            error              // why the hook cannot be run as it is written
}

func (h podHook) String() string { return "Pod " + h.namespace + "/" + h.pod }

// findHooks finds the hooks of the running Pods that use any of the volumes.
func findHooks(pods []Listed[corev1.Pod], volumes []catalog.Volume, hooks []Hook) []podHook {
	taken := map[catalog.ClaimKey]bool{}
	for _, v := range volumes {
		taken[v.Claim] = true
	}
	var found []podHook
	for i := range pods {
		pod := &pods[i].Object
		claims := claimsUsedBy(pod, taken)
		if len(claims) == 0 || pod.Status.Phase != corev1.PodRunning {
			continue
		}
		hook, asked, err := hookOf(pod, hooks)
		if !asked {
			continue
		}
		found = append(found, podHook{
			Hook: hook, namespace: pod.Namespace, pod: pod.Name, container: containerOf(pod, hook), claims: claims, err: err,
		})
	}
	return found
}

func claimsUsedBy(pod *corev1.Pod, taken map[catalog.ClaimKey]bool) []catalog.ClaimKey {
	var claims []catalog.ClaimKey
	for _, v := range pod.Spec.Volumes {
		if v.PersistentVolumeClaim == nil {
			continue
		}
		if key := (catalog.ClaimKey{Namespace: pod.Namespace, Name: v.PersistentVolumeClaim.ClaimName}); taken[key] {
			claims = append(claims, key)
		}
	}
	return claims
}

// hookOf returns the hook of the plan that selects the Pod, else the one that
// its annotations ask for.
func hookOf(pod *corev1.Pod, hooks []Hook) (hook Hook, asked bool, err error) {
	for _, h := range hooks {
		if h.Select != nil && h.Select.Matches(labels.Set(pod.Labels)) {
			return h.withDefaults(), true, nil
		}
	}
	if pod.Annotations[PreHookAnnotation] == "" && pod.Annotations[PostHookAnnotation] == "" {
		return Hook{}, false, nil
	}
	hook, err = annotatedHook(pod.Annotations)
	return hook.withDefaults(), true, err
}

func (h Hook) withDefaults() Hook {
	if h.Timeout <= 0 {
		h.Timeout = DefaultHookTimeout
	}
	if h.OnFailure == "" {
		h.OnFailure = Abort
	}
	return h
}

// annotatedHook reads a hook from a Pod's annotations.
func annotatedHook(annotations map[string]string) (hook Hook, err error) {
	if hook.Pre, err = parseCommand(annotations[PreHookAnnotation]); err != nil {
		return hook, fmt.Errorf("annotation %s: %w", PreHookAnnotation, err)
	}
	if hook.Post, err = parseCommand(annotations[PostHookAnnotation]); err != nil {
		return hook, fmt.Errorf("annotation %s: %w", PostHookAnnotation, err)
	}
	hook.Container = annotations[HookContainerAnnotation]
	if text := annotations[HookHoldAnnotation]; text != "" {
		if hook.Hold, err = strconv.ParseBool(text); err != nil {
			return hook, fmt.Errorf("annotation %s: %q: want true or false", HookHoldAnnotation, text)
		}
	}
	if text := annotations[HookTimeoutAnnotation]; text != "" {
		if hook.Timeout, err = time.ParseDuration(text); err != nil || hook.Timeout <= 0 {
			return hook, fmt.Errorf("annotation %s: %q: want a duration such as 30s", HookTimeoutAnnotation, text)
		}
	}
	hook.OnFailure = OnFailure(annotations[HookOnFailureAnnotation])
	if !slices.Contains([]OnFailure{"", Abort, Continue}, hook.OnFailure) {
		return hook, fmt.Errorf("annotation %s: %q: want abort or continue", HookOnFailureAnnotation, hook.OnFailure)
	}
	return hook, nil
}

func parseCommand(text string) ([]string, error) {
	if text == "" {
		return nil, nil
	}
	if !strings.HasPrefix(strings.TrimSpace(text), "[") {
		return []string{"/bin/sh", "-c", text}, nil
	}
	var command []string
	if err := json.Unmarshal([]byte(text), &command); err != nil || len(command) == 0 {
		return nil, fmt.Errorf("%q: want a JSON array of strings, or a line for /bin/sh -c", text)
	}
	return command, nil
}

func containerOf(pod *corev1.Pod, hook Hook) string {
	if hook.Container != "" {
		return hook.Container
	}
	if name := pod.Annotations["kubectl.kubernetes.io/default-container"]; name != "" {
		return name
	}
	if len(pod.Spec.Containers) == 0 {
		return ""
	}
	return pod.Spec.Containers[0].Name
}
