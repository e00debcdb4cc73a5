package users

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

// Observed is what the cluster has, as far as claims of one namespace and the
// workloads that use them are concerned.
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

// Rights are the verbs on a kind in a namespace or, with "", in the cluster.
func Rights(group, resource, namespace string, verbs ...string) []Right {
	var rights []Right
	for _, verb := range verbs {
		rights = append(rights, Right{Group: group, Resource: resource, Verb: verb, Namespace: namespace})
	}
	return rights
}

var scaledObjects = schema.GroupVersionResource{Group: "keda.sh", Version: "v1alpha1", Resource: "scaledobjects"}

// Look looks at the cluster of a Restorer, and asks which of the rights are
// missing. It writes nothing.
func Look(ctx context.Context, r *restore.Restorer, namespace string, rights []Right) (*Observed, error) {
	core, err := r.Look(ctx, namespace)
	if err != nil {
		return nil, fmt.Errorf("look at the cluster: %w", err)
	}
	o := &Observed{Observed: core}
	sets, err := r.Kubernetes.AppsV1().ReplicaSets(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("look at the cluster: list replicasets: %w", err)
	}
	o.ReplicaSets = sets.Items
	if err := o.lookAtWatchers(ctx, r, namespace); err != nil {
		return nil, fmt.Errorf("look at the cluster: %w", err)
	}
	o.Denied, err = Denied(ctx, r, rights)
	return o, err
}

// Denied asks which of the rights the user does not have; the question changes
// nothing.
func Denied(ctx context.Context, r *restore.Restorer, rights []Right) ([]Right, error) {
	may, err := restore.Map(ctx, rights, func(ctx context.Context, right Right) (bool, error) { return allowed(ctx, r, right) })
	if err != nil {
		return nil, fmt.Errorf("ask what is allowed: %w", err)
	}
	var denied []Right
	for i, right := range rights {
		if !may[i] {
			denied = append(denied, right)
		}
	}
	return denied, nil
}

// lookAtWatchers looks for what minds the number of Pods.
func (o *Observed) lookAtWatchers(ctx context.Context, r *restore.Restorer, namespace string) error {
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

func allowed(ctx context.Context, r *restore.Restorer, right Right) (bool, error) {
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{Group: right.Group, Resource: right.Resource, Verb: right.Verb, Namespace: right.Namespace},
	}}
	answer, err := r.Kubernetes.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return false, err
	}
	return answer.Status.Allowed, nil
}

// Claim is the claim of that name, or nil.
func (o *Observed) Claim(namespace, name string) *corev1.PersistentVolumeClaim {
	for i := range o.Claims {
		if o.Claims[i].Namespace == namespace && o.Claims[i].Name == name {
			return &o.Claims[i]
		}
	}
	return nil
}

// Volume is the PersistentVolume of that name, or nil.
func (o *Observed) Volume(name string) *corev1.PersistentVolume {
	for i := range o.Volumes {
		if o.Volumes[i].Name == name {
			return &o.Volumes[i]
		}
	}
	return nil
}
