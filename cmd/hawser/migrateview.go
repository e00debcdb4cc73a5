package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore/migrate"
	"hawser.dev/hawser/restore/users"
)

func clusterName(c catalog.Cluster) string { return cmp.Or(c.Name, c.UID) }

// migrationPlanView shows what would be done.
func migrationPlanView(plan *migrate.Plan) view {
	return view{value: plan, human: func(w io.Writer, _ bool) error {
		fmt.Fprintf(w, "From cluster %s to cluster %s, the way %s.\n", clusterName(plan.From), clusterName(plan.To), plan.Way)
		if plan.Resumes {
			fmt.Fprintf(w, "This goes on with migration %s, which was interrupted.\n", plan.ID)
		}
		fmt.Fprintln(w)
		if err := migratedTables(w, plan.Workloads, plan.Volumes); err != nil {
			return err
		}
		if plan.Landing != nil {
			fmt.Fprintln(w)
			steps := table{header: []string{"IN THE TARGET", "KIND", "NAMESPACE", "NAME", "REASON"}}
			for _, step := range plan.Landing.Steps() {
				steps.add(string(step.Action), step.Kind, step.Namespace, step.Name, step.Reason)
			}
			if err := steps.write(w); err != nil {
				return err
			}
		}
		return endDryRun(w, plan.Notes)
	}}
}

// migratedTables show what goes where.
func migratedTables(w io.Writer, workloads []catalog.MigratedWorkload, volumes []catalog.MigratedVolume) error {
	if len(workloads) > 0 {
		t := table{header: []string{"WORKLOAD", "REPLICAS", "BECOMES"}}
		for _, wl := range workloads {
			t.add(wl.Namespace+"/"+wl.Name, fmt.Sprintf("%d -> 0", wl.Replicas), wl.TargetNamespace+"/"+wl.TargetName)
		}
		if err := t.write(w); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	t := table{header: []string{"CLAIM", "VOLUME", "DISK", "BECOMES", "VOLUME THERE"}}
	for _, v := range volumes {
		t.add(v.Claim.String(), v.Volume, string(v.Disk.Handle), v.TargetClaim.String(), v.TargetVolume)
	}
	return t.write(w)
}

// migrationResultView shows what was done.
func migrationResultView(result *migrate.Result) view {
	return view{value: result, names: []string{string(result.ID)}, human: func(w io.Writer, _ bool) error {
		if len(result.Bound) > 0 {
			t := table{header: []string{"CLAIM", "STATUS", "VOLUME", "DISK"}}
			for _, b := range result.Bound {
				t.add(b.Claim.String(), "Bound", b.PersistentVolume, string(b.VolumeHandle))
			}
			for _, claim := range result.Waiting {
				t.add(claim.String(), "Pending", "at the first Pod that uses it", "")
			}
			if err := t.write(w); err != nil {
				return err
			}
			fmt.Fprintln(w)
		}
		if len(result.Workloads) > 0 {
			t := table{header: []string{"WORKLOAD", "NAMESPACE", "REPLICAS", "DOWNTIME"}}
			for _, wl := range result.Workloads {
				down := "-"
				if wl.Downtime > 0 {
					down = fmt.Sprintf("%.1fs", wl.Downtime)
				}
				t.add(users.Named(wl.Workload), wl.Namespace, fmt.Sprint(wl.Replicas), down)
			}
			if err := t.write(w); err != nil {
				return err
			}
		}
		if result.Outcome == catalog.RolledBack {
			_, err := fmt.Fprintf(w, "Migration %s is rolled back: the workloads are in the source.\n", result.ID)
			return err
		}
		fmt.Fprintf(w, "Migration %s is done.", result.ID)
		if result.Handover > 0 {
			fmt.Fprintf(w, " Without the stop and the start of Pods it took %.1fs.", result.Handover)
		}
		if result.Point != "" {
			fmt.Fprintf(w, " What was there before is in point %s.", result.Point)
		}
		_, err := fmt.Fprintln(w)
		return err
	}}
}

// migrationsView lists migrations.
func migrationsView(all []migrate.Status) view {
	value := struct {
		Migrations []migrate.Status `json:"migrations"`
	}{all}
	return view{value: value, human: func(w io.Writer, _ bool) error {
		t := table{header: []string{"ID", "WAY", "FROM", "TO", "WORKLOADS", "CLAIMS", "STAGE", "LAST STEP", "STARTED"}}
		for _, s := range all {
			if s.Error != "" {
				t.add(string(s.ID), "", "", "", "", "", string(s.Stage)+": "+s.Error, "", "")
				continue
			}
			var names []string
			for _, wl := range s.Workloads {
				names = append(names, strings.ToLower(wl.Kind)+"/"+wl.Name)
			}
			t.add(string(s.ID), string(s.Way), clusterName(s.Source), clusterName(s.Target), strings.Join(names, ","), fmt.Sprint(len(s.Volumes)), string(s.Stage), lastStep(s), timeText(s.Started))
		}
		return t.write(w)
	}}
}

func lastStep(s migrate.Status) string {
	if len(s.Steps) == 0 {
		return ""
	}
	return s.Steps[len(s.Steps)-1].Name
}

// migrationStatusView tells of one migration.
func migrationStatusView(s migrate.Status) view {
	return view{value: s, human: func(w io.Writer, _ bool) error {
		fmt.Fprintf(w, "Migration %s (%s) from cluster %s to cluster %s: %s.\n\n", s.ID, s.Way, clusterName(s.Source), clusterName(s.Target), s.Stage)
		if len(s.Workloads) > 0 {
			t := table{header: []string{"WORKLOAD", "REPLICAS", "BECOMES"}}
			for _, wl := range s.Workloads {
				t.add(wl.Namespace+" "+strings.ToLower(wl.Kind)+"/"+wl.Name, fmt.Sprint(wl.Replicas), wl.TargetNamespace+" "+strings.ToLower(wl.Kind)+"/"+wl.TargetName)
			}
			if err := t.write(w); err != nil {
				return err
			}
			fmt.Fprintln(w)
		}
		t := table{header: []string{"CLAIM", "DISK", "BECOMES", "DISK IS OWNED BY"}}
		for _, v := range s.Volumes {
			t.add(v.Claim.String(), string(v.Disk.Handle), v.TargetClaim.String(), s.Owner[v.Claim.String()])
		}
		if err := t.write(w); err != nil {
			return err
		}
		fmt.Fprintln(w)
		steps := table{header: []string{"STEP", "NAME", "RUN", "BEGAN", "NOTE"}}
		for i, step := range s.Steps {
			steps.add(fmt.Sprint(i+1), step.Name, fmt.Sprint(step.Run), timeText(step.At), step.Note)
		}
		if err := steps.write(w); err != nil {
			return err
		}
		if point := s.Point(); point != "" {
			fmt.Fprintf(w, "What was there before is in point %s.\n", point)
		}
		for _, note := range s.Notes {
			fmt.Fprintln(w, "note: "+oneLine(note))
		}
		if next := nextOf(s); next != "" {
			fmt.Fprintln(w, next)
		}
		return nil
	}}
}

// nextOf says what can be done with a migration.
func nextOf(s migrate.Status) string {
	switch s.Stage {
	case migrate.UnderWay:
		return "The same command as before goes on with it; --rollback " + string(s.ID) + " leads it back."
	case migrate.Committed:
		return "The same command as before finishes it: what is left in the source is not marked yet."
	case migrate.RollingBack:
		return "--rollback " + string(s.ID) + " finishes the rollback."
	}
	return ""
}

// cleanupView shows what was removed.
func cleanupView(removed *migrate.Removed) view {
	return view{value: removed, human: func(w io.Writer, _ bool) error {
		t := table{header: []string{"REMOVED", "NAME"}}
		for _, o := range removed.Objects {
			t.add(o.Kind, o.Name)
		}
		if err := t.write(w); err != nil {
			return err
		}
		_, err := fmt.Fprintf(w, "What migration %s had left in the source is removed: %s. No disk was deleted.\n", removed.ID, plural(len(removed.Objects), "object"))
		return err
	}}
}
