package catalog_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/catalog/catalogtest"
	"hawser.dev/hawser/catalog/dir"
)

// clocks returns a catalog whose store's clock is ahead of ours, and ours. Each
// look at ours takes a second, as a slow request does.
func clocks(t *testing.T, ahead, rounding time.Duration) (store, func() time.Time) {
	t.Helper()
	s := newStore(t)
	ours := noon.Add(300 * time.Millisecond)
	s.Bucket.(*catalogtest.Memory).Now = func() time.Time { return ours.Add(ahead).Truncate(rounding) }
	return s, func() time.Time {
		ours = ours.Add(time.Second)
		return ours
	}
}

func TestSkew(t *testing.T) {
	for _, c := range []struct {
		name     string
		ahead    time.Duration
		rounding time.Duration
		want     time.Duration
	}{
		{"the clocks agree", 0, 1, 0},
		{"the clocks agree, and the store rounds to seconds", 0, time.Second, 0},
		{"the store is ahead by less than the request took", time.Second, 1, 0},
		{"the store is ahead", 10 * time.Minute, 1, 10*time.Minute - time.Second},
		{"the store is behind", -10 * time.Minute, 1, -10*time.Minute + 300*time.Millisecond},
		{"the store is behind, and rounds to seconds", -10 * time.Minute, time.Second, -10 * time.Minute},
		{"the store is years behind", -5 * 365 * 24 * time.Hour, time.Second, -5 * 365 * 24 * time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, now := clocks(t, c.ahead, c.rounding)
			before := s.survey(t, "")
			got, err := s.Skew(t.Context(), now)
			if err != nil || got != c.want {
				t.Errorf("Skew = %v, %v, want %v", got, err, c.want)
			}
			wantDiff(t, "what is left under probes/", []string(nil), s.keys(t, "probes/"))
			wantDiff(t, "survey after it", before, s.survey(t, ""))
		})
	}
}

func TestTheClockOfAFolderIsOurs(t *testing.T) {
	bucket, err := dir.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer bucket.Close()
	cat, err := catalog.OpenOrCreate(t.Context(), bucket, catalog.Limits{}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if skew, err := cat.Skew(t.Context(), time.Now); err != nil || skew.Abs() > time.Second {
		t.Errorf("Skew = %v, %v", skew, err)
	}
}

func TestAProbeThatWasLeftDisturbsNothingAndGoesLater(t *testing.T) {
	s, now := clocks(t, 0, 1)
	good := s.add(t, clusterA, "databases", 0)
	s.Before = catalogtest.Fail(catalogtest.KeyEnds(catalogtest.Delete, ""), errBroken)
	if _, err := s.Skew(t.Context(), now); !errors.Is(err, errBroken) {
		t.Errorf("Skew in a store that lets nothing be deleted: %v, want %v", err, errBroken)
	}
	s.Before = nil
	left := s.keys(t, "probes/")
	if len(left) != 1 {
		t.Fatalf("probes %v, want the one that could not be deleted", left)
	}
	if found, err := s.Find(t.Context(), "", catalog.Latest); err != nil || found.Point != good.Point {
		t.Errorf("Find = %s, %v", found.Point, err)
	}
	s.add(t, clusterA, "databases", 1)

	if skew, err := s.Skew(t.Context(), now); err != nil || skew != 0 {
		t.Errorf("Skew = %v, %v", skew, err)
	}
	wantDiff(t, "probes that may still be needed", left, s.keys(t, "probes/"))
	later := func() time.Time { return now().Add(time.Hour) }
	s.Bucket.(*catalogtest.Memory).Now = later
	if skew, err := s.Skew(t.Context(), later); err != nil || skew != 0 {
		t.Errorf("Skew an hour later = %v, %v", skew, err)
	}
	wantDiff(t, "probes an hour later", []string(nil), s.keys(t, "probes/"))
}

func TestAStoreThatFailsOrLiesHasNoKnownClock(t *testing.T) {
	for name, hook := range map[string]func(s store){
		"the probe cannot be created": func(s store) {
			s.Before = catalogtest.Fail(catalogtest.KeyEnds(catalogtest.Create, ""), errBroken)
		},
		"the listing breaks": func(s store) {
			s.Listed = func(catalogtest.Call, int, catalog.Object) error { return errBroken }
		},
		"the probe cannot be deleted": func(s store) {
			s.Before = catalogtest.Fail(catalogtest.KeyEnds(catalogtest.Delete, ""), errBroken)
		},
		"the probe was never stored": func(s store) { s.Bucket = amnesiac{s.Bucket} },
	} {
		s, now := clocks(t, 0, 1)
		hook(s)
		if skew, err := s.Skew(t.Context(), now); err == nil || skew != 0 {
			t.Errorf("%s: Skew = %v, %v, want an error", name, skew, err)
		}
	}
}

// amnesiac says yes to every Create of a probe, and keeps nothing.
type amnesiac struct{ catalog.Bucket }

func (a amnesiac) Create(ctx context.Context, key string, data []byte) error {
	if strings.HasPrefix(key, "probes/") {
		return nil
	}
	return a.Bucket.Create(ctx, key, data)
}

func TestSkewAsksLittleOfTheStore(t *testing.T) {
	s, now := clocks(t, 0, 1)
	before := len(s.Calls())
	if _, err := s.Skew(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	var methods []catalogtest.Method
	for _, call := range s.Calls()[before:] {
		methods = append(methods, call.Method)
		if !strings.HasPrefix(call.Key, "probes/") {
			t.Errorf("it asked for %s", call.Key)
		}
	}
	if want := []catalogtest.Method{catalogtest.Create, catalogtest.List, catalogtest.Delete}; !slices.Equal(methods, want) {
		t.Errorf("calls %v, want %v", methods, want)
	}
}
