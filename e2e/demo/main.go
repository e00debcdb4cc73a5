package main

import (
	"context"
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
	"hawser.dev/hawser/e2e/node"
	"hawser.dev/hawser/e2e/objectstore"
	"hawser.dev/hawser/e2e/tools"
)

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
	real := realNodes(ctx)
	dir, err := os.MkdirTemp("", "hawser-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	began := time.Now()
	s, err := raise(ctx, dir, real)
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

// realNodes says whether this machine can run Pods in containers, and readies
// it for that. Elsewhere Pods only seem to run, and the demo says so.
func realNodes(ctx context.Context) bool {
	err := node.Requirements()
	if err == nil {
		err = node.Install(ctx, os.Stdout)
	}
	if err != nil {
		fmt.Printf("Pods will only seem to run (kwok), since %v.\nThe disks are real folders, and are read and written beside the Pods.\n\n", err)
		return false
	}
	return true
}

// stage is what the demo plays on: two clusters in one region of disks, and an
// S3 server.
type stage struct {
	dir    string
	hawser string // the program
	region *disks.Region
	store  *objectstore.Server
	first  *theatre
	second *theatre

	handles map[string]string // of each claim's disk, as first made
	secrets map[string]string // what was written on each disk before the backup
	later   string            // what was written on each after it
}

// theatre is one cluster, with a node that runs Pods, or nodes that pretend to.
type theatre struct {
	*lab.Lab
	node *node.Node // nil if they pretend
}

// raise starts everything.
func raise(ctx context.Context, dir string, real bool) (*stage, error) {
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
	s.first, s.second = &theatre{}, &theatre{}
	for name, into := range map[string]*theatre{"first": s.first, "second": s.second} {
		group.Go(func() error { return into.open(gctx, name, dir, s.region, real) })
	}
	if err := group.Wait(); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// open starts a cluster and, if real, its node.
func (t *theatre) open(ctx context.Context, name, dir string, region *disks.Region, real bool) (err error) {
	options := cluster.Options{Name: name, Dir: filepath.Join(dir, name)}
	if real {
		options.Nodes = -1
	}
	if t.Lab, err = lab.Start(ctx, lab.Options{Region: region, Cluster: options}); err != nil || !real {
		return err
	}
	t.node, err = node.Start(ctx, node.Options{Cluster: t.Cluster, Region: region})
	return err
}

func (t *theatre) close() {
	if t.node != nil {
		complain(t.node.Stop())
	}
	if t.Lab != nil {
		complain(t.Lab.Stop())
	}
}

func (s *stage) stop() {
	s.first.close()
	s.second.close()
	if s.store != nil {
		s.store.Stop()
	}
}

func complain(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}
