package rollback

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"hawser.dev/hawser/restore"
)

// Observed is what the cluster has, as far as a rollback in one namespace rests
// on it.
type Observed struct {
	*restore.Observed
	ReplicaSets   []appsv1.ReplicaSet
	Budgets       []policyv1.PodDisruptionBudget
	ScaledObjects []unstructured.Unstructured // KEDA's
	Denied        []Right                     // what would be needed, and is not allowed
	Unseen        []string                    // what could not be looked at, and so was not checked
}

// Right is a verb on a kind, in a namespace or, with "", in the cluster.
type Right struct{ Group, Resource, Verb, Namespace string }

var scaledObjects = schema.GroupVersionResource{Group: "keda.sh", Version: "v1alpha1", Resource: "scaledobjects"}

// rightsFor are what an act writes.
func rightsFor(act Act, namespace string) []Right {
	rights := []Right{
		{"apps", "statefulsets", "patch", namespace},
		{"apps", "deployments", "patch", namespace},
		{"", "persistentvolumeclaims", "create", namespace},
		{"", "persistentvolumeclaims", "delete", namespace},
		{"", "persistentvolumes", "patch", ""},
	}
	if act == Rollback {
		const group = "snapshot.storage.k8s.io"
		return append(rights,
			Right{group, "volumesnapshots", "create", namespace}, Right{group, "volumesnapshots", "delete", namespace},
			Right{group, "volumesnapshotcontents", "create", ""}, Right{group, "volumesnapshotcontents", "delete", ""})
	}
	const group = "storage.k8s.io" // the check whether the disk is there
	return append(rights, Right{group, "volumeattachments", "create", ""}, Right{group, "volumeattachments", "deletecollection", ""})
}

// observe looks at the cluster. It writes nothing.
func (r *Roller) observe(ctx context.Context, act Act, namespace string) (*Observed, error) {
	core, err := r.Restorer.Look(ctx, namespace)
	if err != nil {
		return nil, fmt.Errorf("look at the cluster: %w", err)
	}
	o := &Observed{Observed: core}
	sets, err := r.Kubernetes.AppsV1().ReplicaSets(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("look at the cluster: list replicasets: %w", err)
	}
	o.ReplicaSets = sets.Items
	if err := r.observeWatchers(ctx, namespace, o); err != nil {
		return nil, fmt.Errorf("look at the cluster: %w", err)
	}
	for _, right := range rightsFor(act, namespace) {
		allowed, err := r.allowed(ctx, right)
		if err != nil {
			return nil, fmt.Errorf("ask what is allowed: %w", err)
		}
		if !allowed {
			o.Denied = append(o.Denied, right)
		}
	}
	return o, nil
}

// observeWatchers looks for what minds the number of Pods.
func (r *Roller) observeWatchers(ctx context.Context, namespace string, o *Observed) error {
	budgets, err := r.Kubernetes.PolicyV1().PodDisruptionBudgets(namespace).List(ctx, metav1.ListOptions{})
	switch {
	case err == nil:
		o.Budgets = budgets.Items
	case apierrors.IsForbidden(err):
		o.Unseen = append(o.Unseen, "not checked: "+err.Error())
	default:
		return err
	}
	scaled, err := r.Dynamic.Resource(scaledObjects).Namespace(namespace).List(ctx, metav1.ListOptions{})
	switch {
	case err == nil:
		o.ScaledObjects = scaled.Items
	case apierrors.IsNotFound(err), meta.IsNoMatchError(err): // no KEDA
	case apierrors.IsForbidden(err):
		o.Unseen = append(o.Unseen, "not checked: "+err.Error())
	default:
		return err
	}
	return nil
}

// allowed asks whether the user may do something; the question changes nothing.
func (r *Roller) allowed(ctx context.Context, right Right) (bool, error) {
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{Group: right.Group, Resource: right.Resource, Verb: right.Verb, Namespace: right.Namespace},
	}}
	answer, err := r.Kubernetes.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return false, err
	}
	return answer.Status.Allowed, nil
}

func (o *Observed) claim(namespace, name string) *corev1.PersistentVolumeClaim {
	for i := range o.Claims {
		if o.Claims[i].Namespace == namespace && o.Claims[i].Name == name {
			return &o.Claims[i]
		}
	}
	return nil
}

func (o *Observed) volume(name string) *corev1.PersistentVolume {
	for i := range o.Volumes {
		if o.Volumes[i].Name == name {
			return &o.Volumes[i]
		}
	}
	return nil
}
