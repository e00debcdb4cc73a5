package users

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
)

// Read gets a workload as it is; nil if there is none.
func Read(ctx context.Context, client kubernetes.Interface, namespace string, w catalog.Workload) (*User, error) {
	o := &Observed{Observed: &restore.Observed{}}
	apps := client.AppsV1()
	var err error
	switch w.Kind {
	case "StatefulSet":
		var set *appsv1.StatefulSet
		if set, err = apps.StatefulSets(namespace).Get(ctx, w.Name, metav1.GetOptions{}); err == nil {
			o.StatefulSets = []appsv1.StatefulSet{*set}
		}
	case "Deployment":
		var d *appsv1.Deployment
		if d, err = apps.Deployments(namespace).Get(ctx, w.Name, metav1.GetOptions{}); err == nil {
			o.Deployments = []appsv1.Deployment{*d}
		}
	default:
		return nil, fmt.Errorf("a %s cannot be scaled", w.Kind)
	}
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return &o.Users()[0], nil
}

// Change patches a workload as it is at the moment: patch makes a merge patch, with
// the resourceVersion, of the workload as it was read, or nil if nothing is to be
// done, and is asked anew when another writer was faster. found says whether the
// workload is there.
func Change(ctx context.Context, client kubernetes.Interface, namespace string, w catalog.Workload, patch func(User) ([]byte, error)) (found bool, err error) {
	for {
		u, err := Read(ctx, client, namespace, w)
		if err != nil || u == nil {
			return false, err
		}
		content, err := patch(*u)
		if err != nil || content == nil {
			return true, err
		}
		if err = write(ctx, client, namespace, w, content); !apierrors.IsConflict(err) {
			return true, err
		}
	}
}

func write(ctx context.Context, client kubernetes.Interface, namespace string, w catalog.Workload, patch []byte) error {
	var err error
	if w.Kind == "StatefulSet" {
		_, err = client.AppsV1().StatefulSets(namespace).Patch(ctx, w.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	} else {
		_, err = client.AppsV1().Deployments(namespace).Patch(ctx, w.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	}
	return err
}
