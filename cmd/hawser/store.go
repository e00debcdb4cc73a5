package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/catalog/dir"
	"hawser.dev/hawser/catalog/s3"
	"hawser.dev/hawser/config"
)

// openCatalog opens the catalog that is there, for reading.
func (a *app) openCatalog(ctx context.Context, cfg config.Config) (*catalog.Catalog, error) {
	bucket, err := a.bucket(ctx, cfg)
	if err != nil {
		return nil, err
	}
	cat, err := catalog.Open(ctx, bucket, limits(cfg))
	if errors.Is(err, catalog.ErrNoCatalog) {
		return nil, fmt.Errorf("store %s: %w", cfg.Store.URL, err)
	}
	return cat, err
}

// owners asks the catalog who owns disks, for what is about to act on some in the
// cluster of c, and which cluster that is. Without a store, or a catalog in it,
// the answer is nil: no disk can have been taken.
func (a *app) owners(ctx context.Context, cfg config.Config, c clients) (catalog.Owners, string, error) {
	if cfg.Store.URL == "" {
		return nil, "", nil
	}
	cat, err := a.openCatalog(ctx, cfg)
	if errors.Is(err, catalog.ErrNoCatalog) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("ask who owns the disks: %w", err)
	}
	owners, err := cat.Owners(ctx)
	if err != nil {
		return nil, "", fmt.Errorf("ask who owns the disks: %w", err)
	}
	if len(owners) == 0 {
		return owners, "", nil // whoever this is
	}
	uid, err := catalog.ClusterUID(ctx, listed{c.kubernetes.CoreV1().Namespaces()})
	return owners, uid, err
}

// listed gets a namespace from a list: one who restores may list them, and has
// no right to get one.
type listed struct{ typedcorev1.NamespaceInterface }

func (l listed) Get(ctx context.Context, name string, _ metav1.GetOptions) (*corev1.Namespace, error) {
	found, err := l.List(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()})
	if err != nil {
		return nil, err
	}
	for i := range found.Items {
		if found.Items[i].Name == name {
			return &found.Items[i], nil
		}
	}
	return nil, apierrors.NewNotFound(corev1.Resource("namespaces"), name)
}

// createCatalog opens the catalog and creates it if there is none.
func (a *app) createCatalog(ctx context.Context, cfg config.Config) (*catalog.Catalog, error) {
	bucket, err := a.bucket(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return catalog.OpenOrCreate(ctx, bucket, limits(cfg), a.now())
}

func (a *app) bucket(ctx context.Context, cfg config.Config) (catalog.Bucket, error) {
	if cfg.Store.URL == "" {
		return nil, usage(errors.New("no store is configured: use --store-url, HAWSER_STORE_URL or store.url in the configuration file"))
	}
	bucket, err := a.openBucket(ctx, cfg.Store.URL)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", cfg.Store.URL, err)
	}
	return bucket, nil
}

// openStore opens the store that a URL names.
func (a *app) openStore(ctx context.Context, url config.StoreURL) (catalog.Bucket, error) {
	switch url.Scheme() {
	case "file":
		return dir.Open(url.Path())
	case "s3":
		options, err := s3.ParseURL(string(url))
		if err != nil {
			return nil, usage(err)
		}
		if a.transport != nil {
			options.WrapTransport = func(next http.RoundTripper) http.RoundTripper { return a.transport("store", next) }
		}
		return s3.Open(ctx, options)
	}
	return nil, usagef("unknown scheme %s", url.Scheme())
}

func limits(cfg config.Config) catalog.Limits {
	return catalog.Limits{Compressed: cfg.Catalog.Limits.Compressed, Ratio: cfg.Catalog.Limits.Ratio}
}
