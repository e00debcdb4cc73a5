package restore

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
)

// Until lists and watches until condition holds. The library retries for ever
// what fails; Until ends with the first error that no retry can mend.
func Until(ctx context.Context, source cache.ListWatch, kind runtime.Object, precondition watchtools.PreconditionFunc, condition watchtools.ConditionFunc) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	seen := func(err error) error {
		if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
			cancel(err)
		}
		return err
	}
	guarded := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
			list, err := source.ListWithContextFunc(ctx, opts)
			return list, seen(err)
		},
		WatchFuncWithContext: func(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
			w, err := source.WatchFuncWithContext(ctx, opts)
			return w, seen(err)
		},
	}
	_, err := watchtools.UntilWithSync(ctx, guarded, kind, precondition, condition)
	if cause := context.Cause(ctx); err != nil && (apierrors.IsForbidden(cause) || apierrors.IsUnauthorized(cause)) {
		return cause
	}
	return err
}

// ListWatch is what a clientset offers for one kind, narrowed by a label selector.
func ListWatch[L runtime.Object](list func(context.Context, metav1.ListOptions) (L, error), watchFunc func(context.Context, metav1.ListOptions) (watch.Interface, error), selector string) cache.ListWatch {
	return cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
			opts.LabelSelector = selector
			return list(ctx, opts)
		},
		WatchFuncWithContext: func(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
			opts.LabelSelector = selector
			return watchFunc(ctx, opts)
		},
	}
}
