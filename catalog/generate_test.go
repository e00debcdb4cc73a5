package catalog_test

import (
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"pgregory.net/rapid"

	"hawser.dev/hawser/catalog"
)

// plans generates the valid names of plans.
var plans = rapid.StringMatching(`[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?`)

// uids generates cluster uids.
var uids = rapid.StringMatching(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}`)

// times generates instants between 2000 and 2100, to the nanosecond.
var times = rapid.Custom(func(t *rapid.T) time.Time {
	seconds := rapid.Int64Range(946684800, 4102444800).Draw(t, "seconds")
	return time.Unix(seconds, rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds")).UTC()
})

var texts = rapid.String()

// some generates nil or one of what g generates.
func some[T any](g *rapid.Generator[T]) *rapid.Generator[*T] { return rapid.Ptr(g, true) }

var refs = rapid.Custom(func(t *rapid.T) catalog.BundleRef {
	return catalog.BundleRef{
		Size: rapid.Int64().Draw(t, "size"), SHA256: texts.Draw(t, "sha256"), RawSize: rapid.Int64().Draw(t, "rawSize"),
		Encoding: rapid.SliceOf(texts).Draw(t, "encoding"),
	}
})

var commits = rapid.Custom(func(t *rapid.T) catalog.Commit {
	plan, uid, scheduled := plans.Draw(t, "plan"), uids.Draw(t, "uid"), times.Draw(t, "scheduled")
	count := func(label string) int { return rapid.IntRange(0, 10_000).Draw(t, label) }
	return catalog.Commit{
		Point: catalog.NewPointID(uid, plan, scheduled, 0), Cluster: catalog.Cluster{UID: uid, Name: texts.Draw(t, "name")},
		Plan: plan, Scheduled: scheduled, Started: times.Draw(t, "started"), Committed: times.Draw(t, "committed"),
		Outcome: rapid.SampledFrom([]catalog.Outcome{catalog.Complete, catalog.Partial, catalog.Abandoned}).Draw(t, "outcome"),
		Reasons: rapid.SliceOf(texts).Draw(t, "reasons"),
		Notes:   rapid.SliceOf(texts).Draw(t, "notes"),
		Counts: catalog.Counts{
			Claims: count("claims"), Snapshots: count("snapshots"), Protected: count("protected"),
			Objects: count("objects"), Skipped: count("skipped"),
		},
		Bundle: some(refs).Draw(t, "bundle"),
		Previous: some(rapid.Custom(func(t *rapid.T) catalog.CommitRef {
			return catalog.CommitRef{Point: catalog.PointID(texts.Draw(t, "point")), SHA256: texts.Draw(t, "sha256")}
		})).Draw(t, "previous"),
		Writer: texts.Draw(t, "writer"),
	}
})

// values generates what JSON can hold, as Kubernetes decodes it: whole numbers
// are int64, others float64.
func values(depth int) *rapid.Generator[any] {
	leaves := []*rapid.Generator[any]{
		texts.AsAny(), rapid.Bool().AsAny(), rapid.Int64().AsAny(), rapid.Just[any](nil),
		rapid.Map(rapid.IntRange(-1000, 1000), func(n int) any { return float64(n) + 0.5 }),
	}
	if depth == 0 {
		return rapid.OneOf(leaves...)
	}
	inner := values(depth - 1)
	return rapid.OneOf(append(leaves,
		rapid.SliceOfN(inner, 0, 4).AsAny(),
		rapid.MapOfN(texts, inner, 0, 4).AsAny(),
	)...)
}

var objects = rapid.Custom(func(t *rapid.T) unstructured.Unstructured {
	object := rapid.MapOfN(texts, values(2), 0, 4).Draw(t, "object")
	object["apiVersion"] = rapid.StringMatching(`([a-z]{1,8}\.example\.com/)?v[0-9]`).Draw(t, "apiVersion")
	object["kind"] = rapid.StringN(1, 10, -1).Draw(t, "kind")
	object["metadata"] = map[string]any{"name": texts.Draw(t, "name")}
	return unstructured.Unstructured{Object: object}
})

var claimKeys = rapid.Custom(func(t *rapid.T) catalog.ClaimKey {
	return catalog.ClaimKey{Namespace: texts.Draw(t, "namespace"), Name: texts.Draw(t, "name")}
})

var snapshots = rapid.Custom(func(t *rapid.T) catalog.Snapshot {
	return catalog.Snapshot{
		Handle: catalog.SnapshotHandle(texts.Draw(t, "handle")), Name: texts.Draw(t, "name"), Content: texts.Draw(t, "content"),
		Class: texts.Draw(t, "class"), Taken: times.Draw(t, "taken"), RestoreSize: rapid.Int64().Draw(t, "restoreSize"),
		SourceVolumeMode:   texts.Draw(t, "mode"),
		ContentAnnotations: rapid.MapOfN(texts, texts, 0, 3).Draw(t, "annotations"),
	}
})

var volumes = rapid.Custom(func(t *rapid.T) catalog.Volume {
	return catalog.Volume{
		Claim: claimKeys.Draw(t, "claim"), PersistentVolume: texts.Draw(t, "persistentVolume"), Driver: texts.Draw(t, "driver"),
		VolumeHandle: catalog.VolumeHandle(texts.Draw(t, "volumeHandle")), Capacity: texts.Draw(t, "capacity"),
		Request: texts.Draw(t, "request"), StorageClass: texts.Draw(t, "class"),
		ReclaimBefore: texts.Draw(t, "before"), ReclaimAfter: texts.Draw(t, "after"),
		Workload: some(rapid.Custom(func(t *rapid.T) catalog.Workload {
			return catalog.Workload{Kind: texts.Draw(t, "kind"), Name: texts.Draw(t, "name")}
		})).Draw(t, "workload"),
		Template: texts.Draw(t, "template"), Ordinal: some(rapid.IntRange(0, 1<<31)).Draw(t, "ordinal"),
		Snapshot: some(snapshots).Draw(t, "snapshot"), Problem: texts.Draw(t, "problem"),
	}
})

var bundles = rapid.Custom(func(t *rapid.T) catalog.Bundle {
	return catalog.Bundle{
		Point:   catalog.PointID(texts.Draw(t, "point")),
		Objects: rapid.SliceOfN(objects, 0, 4).Draw(t, "objects"),
		Volumes: rapid.SliceOfN(volumes, 0, 4).Draw(t, "volumes"),
		Skipped: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) catalog.Skip {
			return catalog.Skip{
				Kind: texts.Draw(t, "kind"), Namespace: texts.Draw(t, "namespace"), Name: texts.Draw(t, "name"),
				Reason: catalog.SkipReason(texts.Draw(t, "reason")), Message: texts.Draw(t, "message"),
			}
		}), 0, 4).Draw(t, "skipped"),
	}
})
