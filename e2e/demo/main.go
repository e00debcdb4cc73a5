package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"hawser.dev/hawser/e2e/cluster"
	"hawser.dev/hawser/e2e/cluster/lab"
	"hawser.dev/hawser/e2e/disks"
	"hawser.dev/hawser/e2e/objectstore"
	"hawser.dev/hawser/e2e/tools"
)

//go:embed shop.yaml
var shop []byte

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "\nDEMO FAILED: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	if err := tools.Build(ctx, "kubernetes", "s3"); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "hawser-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	began := time.Now()
	s, err := raise(ctx, dir)
	if err != nil {
		return err
	}
	defer s.stop()
	for _, act := range []func(context.Context) error{s.prologue, s.act1, s.act2, s.act3} {
		if err := act(ctx); err != nil {
			return err
		}
	}
	fmt.Printf("\nAll of it was so. (%.0f s)\n", time.Since(began).Seconds())
	return nil
}

// stage is what the demo plays on: two clusters in one region of disks, and an
// S3 server.
type stage struct {
	dir    string
	hawser string // the program
	region *disks.Region
	store  *objectstore.Server
	first  *lab.Lab
	second *lab.Lab

	handles map[string]string // of each claim's disk, as first made
	secrets map[string]string // what was written on each disk before the backup
	later   string            // what was written on each after it
}

// raise starts everything.
func raise(ctx context.Context, dir string) (*stage, error) {
	s := &stage{dir: dir, hawser: filepath.Join(dir, "hawser")}
	fmt.Println("Starting two Kubernetes clusters that share one region of disks, and an S3 server …")
	var err error
	if s.region, err = disks.OpenRegion(filepath.Join(dir, "region")); err != nil {
		return nil, err
	}
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error { return build(gctx, s.hawser) })
	group.Go(func() (err error) {
		s.store, err = objectstore.Start(gctx, objectstore.VersityGW, filepath.Join(dir, "store"))
		return err
	})
	for name, into := range map[string]**lab.Lab{"first": &s.first, "second": &s.second} {
		group.Go(func() (err error) {
			*into, err = lab.Start(gctx, lab.Options{
				Region:  s.region,
				Cluster: cluster.Options{Name: name, Dir: filepath.Join(dir, name)},
			})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

func (s *stage) stop() {
	for _, l := range []*lab.Lab{s.first, s.second} {
		if l != nil {
			if err := l.Stop(); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}
	}
	if s.store != nil {
		s.store.Stop()
	}
}
