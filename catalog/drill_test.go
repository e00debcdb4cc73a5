package catalog_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"hawser.dev/hawser/catalog"
)

// newDrill is the evidence of the n-th drill of plan, with every field set.
func newDrill(cluster, plan string, n int) catalog.Drill {
	return catalog.Drill{
		Format: catalog.Format, ID: catalog.DrillID(hour(n).Format("20060102-150405") + "-" + plan + "-0a1b2c3d"),
		Cluster: catalog.Cluster{UID: cluster, Name: "prod-eu"}, Plan: plan, Point: catalog.NewPointID(cluster, plan, hour(0), 0),
		Started: hour(n), Ended: hour(n).Add(42 * time.Second), BoundAfter: 12.345, CheckedAfter: 41.5,
		Outcome: catalog.DrillFailed, Reasons: []string{"1 of 2 claims failed"}, Image: "redis:7.0", Command: []string{"redis-check-rdb", "/data/dump.rdb"},
		Claims: []catalog.DrillClaim{{
			Namespace: "shop", Name: "redis-pvc-redis-0", Snapshot: "snap-1", Outcome: catalog.DrillFailed, Stage: "check",
			Message: "the check ended with exit code 1", BoundAfter: 12.345, CheckedAfter: 41.5, Output: "RDB ERROR DETECTED",
		}},
		Writer: "hawser v0.1.0",
	}
}

func passed(d catalog.Drill) catalog.Drill {
	d.Outcome, d.Reasons = catalog.DrillPassed, nil
	return d
}

func (s store) record(t *testing.T, drills ...catalog.Drill) {
	t.Helper()
	for _, d := range drills {
		if err := s.RecordDrill(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
}

func drillKey(cluster string, id catalog.DrillID) string {
	return "clusters/" + cluster + "/drills/" + string(id)
}

func TestFormatOfADrill(t *testing.T) {
	s := newStore(t)
	d := newDrill(clusterA, "databases", 0)
	s.record(t, d)
	golden(t, "drill.json", indent(t, s.object(t, drillKey(clusterA, d.ID))))
	back, err := s.Drill(t.Context(), clusterA, d.ID)
	if err != nil {
		t.Fatal(err)
	}
	wantDiff(t, "drill as read back", d, back)
}

func TestEvidenceOfADrillIsNeverOverwritten(t *testing.T) {
	s := newStore(t)
	d := newDrill(clusterA, "databases", 0)
	s.record(t, d)
	if err := s.RecordDrill(t.Context(), passed(d)); !errors.Is(err, catalog.ErrExist) {
		t.Errorf("a second time: %v, want %v", err, catalog.ErrExist)
	}
	if back, err := s.Drill(t.Context(), clusterA, d.ID); err != nil || back.Outcome != catalog.DrillFailed {
		t.Errorf("it says %s (%v), want what was written first", back.Outcome, err)
	}
	other := d
	other.Plan = "web"
	if err := s.RecordDrill(t.Context(), other); err == nil {
		t.Error("evidence under an id of another plan was written")
	}
}

func TestTheNewestDrillsOfAPlan(t *testing.T) {
	s := newStore(t)
	s.add(t, clusterA, "databases", 0)
	before := s.survey(t, clusterA)
	s.record(t, passed(newDrill(clusterA, "databases", 1)), newDrill(clusterA, "databases", 3), newDrill(clusterA, "databases", 2),
		passed(newDrill(clusterA, "web", 4)), passed(newDrill(clusterB, "databases", 5)))
	wantDiff(t, "what a survey sees", before, s.survey(t, clusterA))
	ids, err := s.Drills(t.Context(), clusterA)
	if err != nil {
		t.Fatal(err)
	}
	find := func(plan string, wantLast, wantPassed *time.Time) {
		t.Helper()
		last, good, err := s.LastDrills(t.Context(), clusterA, plan, ids)
		if err != nil {
			t.Fatal(err)
		}
		started := func(d *catalog.Drill) *time.Time {
			if d == nil {
				return nil
			}
			return &d.Started
		}
		wantDiff(t, "newest drill of "+plan, wantLast, started(last))
		wantDiff(t, "newest good drill of "+plan, wantPassed, started(good))
	}
	at := func(n int) *time.Time { h := hour(n); return &h }
	find("databases", at(3), at(1))
	find("web", at(4), at(4))
	find("none", nil, nil)

	// What cannot be understood proves nothing, and hides nothing.
	s.replace(t, drillKey(clusterA, newDrill(clusterA, "databases", 1).ID), []byte(`{"format":1,"outcome":"passed"}`))
	s.replace(t, drillKey(clusterA, newDrill(clusterA, "databases", 3).ID), []byte(`{"format":2}`))
	find("databases", at(2), nil)
	_, err = s.Drill(t.Context(), clusterA, newDrill(clusterA, "databases", 1).ID)
	if !errors.Is(err, catalog.ErrCorrupt) {
		t.Errorf("evidence of nothing: %v, want %v", err, catalog.ErrCorrupt)
	}
}

func TestLongTextsOfADrillAreCut(t *testing.T) {
	s := newStore(t)
	d := newDrill(clusterA, "databases", 0)
	d.Claims[0].Message, d.Claims[0].Output = strings.Repeat("m", 10_000), strings.Repeat("x", 10_000)+"the end"
	s.record(t, d)
	back, err := s.Drill(t.Context(), clusterA, d.ID)
	if err != nil {
		t.Fatal(err)
	}
	if claim := back.Claims[0]; len(claim.Message) != 4096 || len(claim.Output) != 4096 || !strings.HasSuffix(claim.Output, "the end") {
		t.Errorf("a message of %d and an output of %d bytes, which ends with %q", len(claim.Message), len(claim.Output), claim.Output[max(0, len(claim.Output)-10):])
	}
	if len(d.Claims[0].Output) != 10_007 {
		t.Error("the input was changed")
	}
}

func TestDrillIDs(t *testing.T) {
	a, b := catalog.NewDrillID("my-plan", noon), catalog.NewDrillID("my-plan", noon)
	if a == b || a.Plan() != "my-plan" || len(a.Mark()) != 8 || !strings.HasSuffix(string(a), "-"+a.Mark()) {
		t.Errorf("ids %s and %s, plan %q, mark %q", a, b, a.Plan(), a.Mark())
	}
	for _, id := range []catalog.DrillID{"", "true", "latest", "20260903-120000-web", a + "0"} {
		if id.Plan() != "" || id.Mark() != "" {
			t.Errorf("%q is of plan %q with mark %q, want that it is no id", id, id.Plan(), id.Mark())
		}
	}
}
