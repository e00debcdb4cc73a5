package prune

import (
	"context"
	"log/slog"
	"time"

	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v6/clientset/versioned"
	"k8s.io/client-go/kubernetes"

	"hawser.dev/hawser/catalog"
)

// DefaultGrace is how long a dropped point can still be restored, and how long
// a snapshot that nothing names is left alone.
const DefaultGrace = 24 * time.Hour

// Policy is what is kept of one plan's points. The zero Retention keeps all.
type Policy struct {
	Plan   string
	Retain catalog.Retention
	Zone   *time.Location // in which days, weeks … begin; nil is UTC
}

// Pruner prunes the points of one cluster in one catalog. Its fields but Grace,
// Cache and Log are required.
type Pruner struct {
	Kubernetes kubernetes.Interface // says which cluster it is
	Snapshots  snapshotclient.Interface
	Catalog    *catalog.Catalog
	Grace      time.Duration    // 0 means DefaultGrace
	Cache      *Cache           // keeps between runs what cannot change; nil: each run reads everything
	Writer     string           // program and version, for the record
	Now        func() time.Time // the clock
	Log        *slog.Logger     // nil for none
}

// Options say what one run does.
type Options struct {
	// Policies are of the plans to prune. The points of other plans stay.
	Policies []Policy
	Sweep    bool // also look for snapshots that nothing names
	DryRun   bool // decide and write nothing, neither to the store nor to the cluster
	Confirm  bool // much may be dropped at once
}

// Run prunes once. It fails if something could not be read, and has then
// deleted nothing; or if something could not be written, which the next run
// takes up. What a guard stopped is no error: see Result.Stops. Run may be
// called again at any time. Whom the error is about, Result.Decided tells.
func (p *Pruner) Run(ctx context.Context, options Options) (Result, error) {
	state, err := p.gather(ctx, options)
	if err != nil {
		return Result{}, err
	}
	plan := Decide(state)
	result := Result{Cluster: state.Cluster, DryRun: options.DryRun, Plan: plan}
	if options.DryRun || !plan.Writes() {
		return result, nil
	}
	// The probe writes, so it is made only if something else is to be written.
	skew, err := p.Catalog.Skew(ctx, p.Now)
	if err != nil {
		result.leaveUndone(err)
		if options.Sweep {
			result.SweepErr = err
		}
		return result, err
	}
	state.Skew = &skew
	result.Plan = Decide(state)
	a := &actor{Pruner: p, state: state, result: &result}
	return result, a.act(ctx)
}

func (p *Pruner) grace() time.Duration {
	if p.Grace <= 0 {
		return DefaultGrace
	}
	return p.Grace
}

func (p *Pruner) log() *slog.Logger {
	if p.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return p.Log
}
