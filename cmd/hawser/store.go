package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"

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
