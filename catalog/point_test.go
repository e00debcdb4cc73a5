package catalog_test

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
	"pgregory.net/rapid"

	"hawser.dev/hawser/catalog"
)

func TestPointIDsFitWhereTheyAreUsed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		plan := plans.Draw(t, "plan")
		if err := catalog.ValidatePlan(plan); err != nil {
			t.Fatal(err)
		}
		id := catalog.NewPointID(uids.Draw(t, "uid"), plan, times.Draw(t, "scheduled"), 0)
		if problems := validation.IsValidLabelValue(string(id)); problems != nil {
			t.Fatalf("%s is no label value: %v", id, problems)
		}
		if problems := validation.IsDNS1123Label(string(id)); problems != nil {
			t.Fatalf("%s is no DNS label: %v", id, problems)
		}
		if id.Plan() != plan {
			t.Fatalf("%s is of plan %q, want %q", id, id.Plan(), plan)
		}
	})
}

func TestPointIDsSortByTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		first, second := times.Draw(t, "first"), times.Draw(t, "second")
		a := catalog.NewPointID(uids.Draw(t, "uid a"), plans.Draw(t, "plan a"), first, 0)
		b := catalog.NewPointID(uids.Draw(t, "uid b"), plans.Draw(t, "plan b"), second, 0)
		if first.Unix() < second.Unix() && a >= b || first.Unix() > second.Unix() && a <= b {
			t.Fatalf("%s is of %v and %s of %v", a, first, b, second)
		}
	})
}

func TestAPointIDIsAFunctionOfClusterPlanAndTime(t *testing.T) {
	id := catalog.NewPointID(clusterA, "databases", noon, 0)
	if id != "20260903-120000-databases-10792870" {
		t.Errorf("id is %s; two agents of different versions would make two points of one occurrence", id)
	}
	berlin := time.FixedZone("CEST", 2*60*60)
	if got := catalog.NewPointID(clusterA, "databases", noon.In(berlin), 0); got != id {
		t.Errorf("in another time zone it is %s, want %s", got, id)
	}
	for name, other := range map[string]catalog.PointID{
		"cluster":    catalog.NewPointID(clusterB, "databases", noon, 0),
		"plan":       catalog.NewPointID(clusterA, "database", noon, 0),
		"time":       catalog.NewPointID(clusterA, "databases", noon.Add(time.Second), 0),
		"nanosecond": catalog.NewPointID(clusterA, "databases", noon.Add(1), 0),
	} {
		if other == id {
			t.Errorf("another %s has the same id", name)
		}
	}
}

func TestPlanOfWhatIsNoPointID(t *testing.T) {
	for _, id := range []catalog.PointID{
		"", "latest", "20260903-120000-databases", "20260903-120000--10792870", "20260903-120000-Databases-10792870",
		"2026090-120000-databases-10792870", "20260903-120000-databases-1079287g", "20260903-120000-databases-10792870x",
		"20260903-120000-databases-10792870\n", "x20260903-120000-databases-10792870",
	} {
		if plan := id.Plan(); plan != "" {
			t.Errorf("%q is of plan %q", id, plan)
		}
	}
}

func TestValidatePlan(t *testing.T) {
	for name, valid := range map[string]bool{
		"manual": true, "a": true, "0": true, "a-b": true, "a--b": true, "latest": true,
		strings.Repeat("a", 30): true, "a" + strings.Repeat("-", 28) + "a": true,

		"": false, "-": false, "-a": false, "a-": false, "A": false, "a.b": false, "a/b": false, "a_b": false, "ä": false,
		"a b": false, "a\n": false, "..": false, strings.Repeat("a", 31): false,
	} {
		err := catalog.ValidatePlan(name)
		if (err == nil) != valid {
			t.Errorf("ValidatePlan(%q): %v", name, err)
		}
		if err != nil && !strings.Contains(err.Error(), "1 to 30 characters") {
			t.Errorf("ValidatePlan(%q): %v, want it to say what is allowed", name, err)
		}
	}
}
