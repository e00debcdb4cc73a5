package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/printers"

	"hawser.dev/hawser/catalog"
)

// describePoint writes a restore point for people, in the way of kubectl
// describe.
func describePoint(w io.Writer, point *catalog.RestorePoint, wide bool) error {
	if err := describeCommit(w, point.Commit); err != nil {
		return err
	}
	b := point.Bundle
	sections := []struct {
		title string
		table table
	}{
		{"Volumes", volumesTable(b.Volumes, wide)},
		{"Objects", objectsTable(b.Objects, wide)},
		{"Left out", skippedTable(b.Skipped)},
	}
	for _, s := range sections {
		if len(s.table.rows) == 0 {
			continue
		}
		fmt.Fprintf(w, "\n%s:\n", s.title)
		if err := s.table.write(w); err != nil {
			return err
		}
	}
	return nil
}

func describeCommit(w io.Writer, c catalog.Commit) error {
	tabs := printers.GetNewTabWriter(w)
	line := func(name, value string) { fmt.Fprintf(tabs, "%s:\t%s\n", name, oneLine(value)) }
	line("Point", string(c.Point))
	line("Cluster", strings.TrimSpace(c.Cluster.Name+" "+c.Cluster.UID))
	line("Plan", c.Plan)
	line("Scheduled", timeText(c.Scheduled))
	line("Started", timeText(c.Started))
	line("Committed", timeText(c.Committed))
	line("Outcome", string(c.Outcome))
	for _, reason := range c.Reasons {
		line("  Reason", reason)
	}
	for _, note := range c.Notes {
		line("  Note", note)
	}
	line("Counts", fmt.Sprintf("%d claims, %d with a snapshot, %d protected by this run, %d objects, %d left out",
		c.Counts.Claims, c.Counts.Snapshots, c.Counts.Protected, c.Counts.Objects, c.Counts.Skipped))
	if c.Bundle != nil {
		line("Bundle", fmt.Sprintf("%s, SHA-256 %s", byteSize(c.Bundle.Size), c.Bundle.SHA256))
	}
	if c.Previous != nil {
		line("Previous", string(c.Previous.Point))
	}
	line("Writer", c.Writer)
	return tabs.Flush()
}

func volumesTable(volumes []catalog.Volume, wide bool) table {
	t := table{header: []string{"CLAIM", "WORKLOAD", "SIZE", "DRIVER", "DISK", "RECLAIM POLICY", "SNAPSHOT"}}
	if wide {
		t.header = append(t.header, "VOLUME", "CLASS", "SNAPSHOT HANDLE", "SNAPSHOT CONTENT", "PROBLEM")
	}
	for _, v := range volumes {
		row := []string{v.Claim.String(), workloadText(v), v.Capacity, v.Driver, string(v.VolumeHandle), policyText(v), snapshotText(v)}
		if wide {
			handle, content := "", ""
			if v.Snapshot != nil {
				handle, content = string(v.Snapshot.Handle), v.Snapshot.Content
			}
			row = append(row, v.PersistentVolume, v.StorageClass, handle, content, v.Problem)
		}
		t.add(row...)
	}
	return t
}

func workloadText(v catalog.Volume) string {
	if v.Workload == nil {
		return ""
	}
	text := strings.ToLower(v.Workload.Kind) + "/" + v.Workload.Name
	if v.Ordinal != nil {
		text += " #" + strconv.Itoa(*v.Ordinal)
	}
	return text
}

func policyText(v catalog.Volume) string {
	if v.ReclaimBefore == v.ReclaimAfter {
		return v.ReclaimAfter
	}
	return v.ReclaimBefore + " -> " + v.ReclaimAfter
}

func snapshotText(v catalog.Volume) string {
	switch {
	case v.Snapshot != nil:
		return timeText(v.Snapshot.Taken)
	case v.Problem != "":
		return "failed"
	}
	return "none"
}

// objectsTable has one row per kind, in the order in which the kinds come.
func objectsTable(objects []unstructured.Unstructured, wide bool) table {
	t := table{header: []string{"KIND", "API VERSION", "COUNT", "NAMES"}}
	type kind struct{ apiVersion, kind string }
	var kinds []kind
	names := map[kind][]string{}
	for _, o := range objects {
		k := kind{o.GetAPIVersion(), o.GetKind()}
		if names[k] == nil {
			kinds = append(kinds, k)
		}
		names[k] = append(names[k], strings.TrimPrefix(o.GetNamespace()+"/"+o.GetName(), "/"))
	}
	for _, k := range kinds {
		all := names[k]
		t.add(k.kind, k.apiVersion, strconv.Itoa(len(all)), enumerate(all, wide))
	}
	return t
}

// enumerate joins names, unless wide at most four of them.
func enumerate(names []string, wide bool) string {
	const most = 4
	if wide || len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most-1], ", "), len(names)-most+1)
}

func skippedTable(skipped []catalog.Skip) table {
	t := table{header: []string{"KIND", "NAME", "REASON", "MESSAGE"}}
	skipped = slices.SortedStableFunc(slices.Values(skipped), func(a, b catalog.Skip) int { return cmp.Compare(a.Reason, b.Reason) })
	for _, s := range skipped {
		t.add(s.Kind, strings.TrimPrefix(s.Namespace+"/"+s.Name, "/"), string(s.Reason), s.Message)
	}
	return t
}

// timeText writes a time to the second, in UTC.
func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// byteSize writes a number of bytes as people read it.
func byteSize(n int64) string {
	units := []string{"KiB", "MiB", "GiB", "TiB", "PiB"}
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	size, unit := float64(n)/1024, 0
	for size >= 1024 && unit < len(units)-1 {
		size, unit = size/1024, unit+1
	}
	return fmt.Sprintf("%.1f %s", size, units[unit])
}
