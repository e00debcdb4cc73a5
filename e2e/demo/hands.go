package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

var (
	claimsResource      = schema.GroupVersionResource{Version: "v1", Resource: "persistentvolumeclaims"}
	volumesResource     = schema.GroupVersionResource{Version: "v1", Resource: "persistentvolumes"}
	podsResource        = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	setsResource        = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "statefulsets"}
	attachmentsResource = schema.GroupVersionResource{Group: "storage.k8s.io", Version: "v1", Resource: "volumeattachments"}
)

// build compiles hawser.
func build(ctx context.Context, into string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", into, "hawser.dev/hawser/cmd/hawser")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build hawser: %w\n%s", err, out)
	}
	return nil
}

// command is hawser with the demo's store and the kubeconfig of l.
func (s *stage) command(ctx context.Context, l *theatre, args []string) *exec.Cmd {
	fmt.Printf("\n%s$ hawser %s\n", l.Name(), strings.Join(args, " "))
	cmd := exec.CommandContext(ctx, s.hawser, args...)
	cmd.Env = append(os.Environ(), s.store.Env()...)
	cmd.Env = append(cmd.Env, "KUBECONFIG="+l.Kubeconfig(), "HAWSER_STORE_URL="+s.store.URL("hawser"), "HAWSER_CLUSTER_NAME="+l.Name())
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stdout
	return cmd
}

func (s *stage) run(ctx context.Context, l *theatre, args ...string) error {
	if err := s.command(ctx, l, args).Run(); err != nil {
		return fmt.Errorf("hawser %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// exitRefused is hawser's exit code for a refusal.
const exitRefused = 4

func (s *stage) expectRefusal(ctx context.Context, l *theatre, args ...string) error {
	err := s.command(ctx, l, args).Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitRefused {
		return fmt.Errorf("hawser %s: want a refusal (exit code %d), got %v", strings.Join(args, " "), exitRefused, err)
	}
	return nil
}

func (s *stage) clientset(l *theatre) kubernetes.Interface {
	return kubernetes.NewForConfigOrDie(l.RESTConfig("hawser-demo"))
}

// awaitReady waits until all Pods of the set are Ready.
func (s *stage) awaitReady(ctx context.Context, l *theatre) error {
	return l.Await(ctx, setsResource, "shop", "redis", func(set *unstructured.Unstructured) bool {
		if set == nil {
			return false
		}
		ready, _, _ := unstructured.NestedInt64(set.Object, "status", "readyReplicas")
		return ready == replicas
	})
}

// handlesIn reads which disk each claim is on.
func (s *stage) handlesIn(ctx context.Context, l *theatre) (map[string]string, error) {
	core := s.clientset(l).CoreV1()
	handles := map[string]string{}
	for i := range replicas {
		claim, err := core.PersistentVolumeClaims("shop").Get(ctx, claimName(i), metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		volume, err := core.PersistentVolumes().Get(ctx, claim.Spec.VolumeName, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		if claim.Status.Phase != corev1.ClaimBound || volume.Spec.ClaimRef == nil || volume.Spec.ClaimRef.UID != claim.UID {
			return nil, fmt.Errorf("claim %s and PersistentVolume %s are not bound to each other", claim.Name, volume.Name)
		}
		handles[claim.Name] = volume.Spec.CSI.VolumeHandle
	}
	return handles, nil
}

// redis runs redis-cli in a Pod of the set, if Pods run, and returns its answer.
func (s *stage) redis(ctx context.Context, l *theatre, pod string, args ...string) (string, error) {
	answer, err := l.node.Exec(ctx, "shop", pod, "redis-container", append([]string{"redis-cli"}, args...)...)
	if err != nil {
		return "", err
	}
	answer = strings.TrimSpace(answer)
	fmt.Printf("%s$ kubectl exec -n shop %s -- redis-cli %s\n%q\n", l.Name(), pod, strings.Join(args, " "), answer)
	return answer, nil
}

// expectRedis asks the primary, and fails if it answers otherwise. Where Pods
// only seem to run there is nobody to ask.
func (s *stage) expectRedis(ctx context.Context, l *theatre, want string, args ...string) error {
	if l.node == nil {
		return nil
	}
	got, err := s.redis(ctx, l, "redis-0", args...)
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("redis-cli %s says %q, want %q", strings.Join(args, " "), got, want)
	}
	return nil
}

// lose deletes the set, its claims and their volumes, as in the book.
func (s *stage) lose(ctx context.Context, l *theatre) error {
	fmt.Printf("\n%s$ kubectl delete statefulset,pvc,pv --all   # and the Service and ConfigMap\n", l.Name())
	client := s.clientset(l)
	everything := metav1.ListOptions{}
	err := errors.Join(
		client.AppsV1().StatefulSets("shop").DeleteCollection(ctx, metav1.DeleteOptions{}, everything),
		client.CoreV1().Services("shop").Delete(ctx, "redis-service", metav1.DeleteOptions{}),
		client.CoreV1().ConfigMaps("shop").Delete(ctx, "redis-role-config", metav1.DeleteOptions{}),
		client.CoreV1().PersistentVolumeClaims("shop").DeleteCollection(ctx, metav1.DeleteOptions{}, everything),
		client.CoreV1().PersistentVolumes().DeleteCollection(ctx, metav1.DeleteOptions{}, everything))
	if err != nil {
		return err
	}
	return errors.Join(
		l.AwaitAll(ctx, podsResource, "shop", "", none),
		l.AwaitAll(ctx, claimsResource, "shop", "", none),
		l.AwaitAll(ctx, volumesResource, "", "", none))
}

// scaleDown stops the set and waits until its disks are detached.
func (s *stage) scaleDown(ctx context.Context, l *theatre) error {
	fmt.Printf("%s$ kubectl scale statefulset/redis -n shop --replicas=0\n", l.Name())
	_, err := s.clientset(l).AppsV1().StatefulSets("shop").Patch(ctx, "redis", types.MergePatchType, []byte(`{"spec":{"replicas":0}}`), metav1.PatchOptions{})
	if err != nil {
		return err
	}
	return errors.Join(
		l.AwaitAll(ctx, podsResource, "shop", "", none),
		l.AwaitAll(ctx, attachmentsResource, "", "", none))
}

func none(objects []*unstructured.Unstructured) bool { return len(objects) == 0 }
