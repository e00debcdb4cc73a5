package drill

import (
	"log/slog"
	"time"

	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v6/clientset/versioned"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
)

// Driller holds drills in one cluster. Its fields but Report, Log and Lapse are
// required; CleanUp alone needs no Catalog.
type Driller struct {
	Kubernetes kubernetes.Interface
	Dynamic    dynamic.Interface
	Snapshots  snapshotclient.Interface
	Catalog    *catalog.Catalog
	Writer     string              // program and version, for the evidence
	Now        func() time.Time    // the clock
	Report     func(restore.Event) // called from several goroutines; nil for none
	Log        *slog.Logger        // nil for none
	Lapse      time.Duration       // how long CleanUp looks whether a drill is under way; 0 for 20 s
}

func (d *Driller) report(e restore.Event) {
	if d.Report != nil {
		e.At = d.Now()
		d.Report(e)
	}
}

func (d *Driller) lapse() time.Duration {
	if d.Lapse > 0 {
		return d.Lapse
	}
	return lapse
}

func (d *Driller) warn(message string, args ...any) {
	if d.Log != nil {
		d.Log.Warn(message, args...)
	}
}
