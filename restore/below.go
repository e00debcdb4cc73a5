package restore

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
)

// What follows is for the packages below this one.

// Until lists and watches until condition holds. It ends with the first error
// that no retry can mend.
func Until(ctx context.Context, source cache.ListWatch, kind runtime.Object, precondition watchtools.PreconditionFunc, condition watchtools.ConditionFunc) error {
	return until(ctx, source, kind, precondition, condition)
}

// ListWatch is what a clientset offers for one kind, narrowed by a label selector.
func ListWatch[L runtime.Object](list func(context.Context, metav1.ListOptions) (L, error), watch func(context.Context, metav1.ListOptions) (watch.Interface, error), selector string) cache.ListWatch {
	return listWatch(list, watch, selector)
}

// Collect lists one kind, page by page, into items. what names it in an error.
func Collect[L runtime.Object, T any](ctx context.Context, what string, list func(context.Context, metav1.ListOptions) (L, error), items *[]T) error {
	return collect(ctx, what, list, items)
}
