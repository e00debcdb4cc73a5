package catalog_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/catalog/catalogtest"
	"hawser.dev/hawser/catalog/dir"
)

var disk1 = catalog.Disk{Driver: "hostpath.csi.k8s.io", Handle: "projects/p/zones/eu-1/disks/one"}

// migrationID is the id of the n-th migration in tests.
func migrationID(n int) catalog.MigrationID {
	return catalog.MigrationID(fmt.Sprintf("%s-%08x", hour(n).Format("20060102-150405"), n))
}

// newOwnership is the entry of that number by which the n-th migration takes disk1.
func newOwnership(number int64, cluster string, n int) catalog.Ownership {
	return catalog.Ownership{
		Format: catalog.Format, Disk: disk1, Number: number, Cluster: catalog.Cluster{UID: cluster, Name: "prod-" + cluster[len(cluster)-1:]},
		Migration: migrationID(n), Volume: "pvc-1", Taken: hour(n), Writer: "hawser v0.1.0",
	}
}

func (s store) take(t *testing.T, entries ...catalog.Ownership) {
	t.Helper()
	for _, entry := range entries {
		if err := s.Take(t.Context(), entry); err != nil {
			t.Fatal(err)
		}
	}
}

func (s store) owners(t *testing.T) catalog.Owners {
	t.Helper()
	owners, err := s.Owners(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return owners
}

// ownershipKey is the key of an entry, as docs/format.md has it.
func ownershipKey(d catalog.Disk, number int) string {
	sum := sha256.Sum256([]byte(d.Handle))
	return fmt.Sprintf("disks/%s/%s/%08d", d.Driver, hex.EncodeToString(sum[:]), number)
}

// wantTaken fails the test unless err says that the disk was taken by owner.
func wantTaken(t *testing.T, what string, err error, owner catalog.Ownership) {
	t.Helper()
	var taken *catalog.TakenError
	if !errors.As(err, &taken) {
		t.Errorf("%s: %v, want that it was taken", what, err)
		return
	}
	wantDiff(t, what, catalog.TakenError{Disk: owner.Disk, Owner: owner}, *taken)
}

func TestFormatOfAnOwnership(t *testing.T) {
	s := newStore(t)
	s.take(t, newOwnership(1, clusterA, 0))
	golden(t, "ownership.json", indent(t, s.object(t, ownershipKey(disk1, 1))))
}

func TestADiskGoesFromHandToHand(t *testing.T) {
	s := newStore(t)
	if owner, ok := s.owners(t).Foreign(disk1, clusterA); ok {
		t.Errorf("a disk without entries is owned by %s", owner)
	}
	lock, moved, back := newOwnership(1, clusterA, 0), newOwnership(2, clusterB, 0), newOwnership(3, clusterA, 1)
	s.take(t, lock, lock)
	wantTaken(t, "another migration has seen the same", s.Take(t.Context(), newOwnership(1, clusterA, 1)), lock)
	wantTaken(t, "another cluster has", s.Take(t.Context(), newOwnership(1, clusterB, 0)), lock)
	s.take(t, moved, moved)
	wantTaken(t, "a repetition that comes too late", s.Take(t.Context(), lock), moved)
	s.take(t, back)
	wantTaken(t, "another one", s.Take(t.Context(), moved), back)
	if err := s.Take(t.Context(), newOwnership(5, clusterB, 2)); err == nil || !strings.Contains(err.Error(), "its newest entry is number 3") {
		t.Errorf("a number that leaves one out: %v", err)
	}
	wantDiff(t, "keys", []string{ownershipKey(disk1, 1), ownershipKey(disk1, 2), ownershipKey(disk1, 3)}, s.keys(t, "disks/"))

	owners := s.owners(t)
	back.Underway = true
	wantDiff(t, "owners", catalog.Owners{disk1: back}, owners)
	if number := owners.Next(disk1); number != 4 {
		t.Errorf("the next number is %d, want 4", number)
	}
	for _, c := range []struct {
		cluster       string
		foreign, held bool
	}{{clusterA, false, true}, {clusterB, true, true}} {
		_, foreign := owners.Foreign(disk1, c.cluster)
		_, held := owners.Held(disk1, c.cluster)
		if foreign != c.foreign || held != c.held {
			t.Errorf("while the migration is under way, in cluster %s: foreign %t, held %t", c.cluster, foreign, held)
		}
	}
	if _, err := s.Conclude(t.Context(), migrationID(1), catalog.Verdict{Outcome: catalog.Committed, At: hour(2)}); err != nil {
		t.Fatal(err)
	}
	owner, held := s.owners(t).Held(disk1, clusterA)
	if held {
		t.Errorf("its owner may not touch it after the migration: %s", owner)
	}
	if owner, held = s.owners(t).Held(disk1, clusterB); !held {
		t.Error("another cluster may touch it after the migration")
	}
	wantDiff(t, "what is said of the owner", "cluster prod-a ("+clusterA+"), which took it on 2026-09-03T13:00:00Z by migration "+string(migrationID(1)), owner.String())
}

// stores are the catalogs over each kind of bucket that needs nothing but this
// machine. catalogtest holds the third, S3, to the same contract.
func stores(t *testing.T) map[string]store {
	t.Helper()
	folder, err := dir.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { folder.Close() })
	opened := map[string]store{}
	for name, bucket := range map[string]catalog.Bucket{"memory": new(catalogtest.Memory), "folder": folder} {
		faulty := &catalogtest.Faulty{Bucket: bucket}
		cat, err := catalog.OpenOrCreate(t.Context(), faulty, catalog.Limits{}, noon)
		if err != nil {
			t.Fatal(err)
		}
		opened[name] = store{Catalog: cat, Faulty: faulty}
	}
	return opened
}

func TestOfTwoWhoTakeADiskOneHasIt(t *testing.T) {
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			races := map[string]int{"memory": 1000, "folder": 100}[name]
			for n := range races {
				number := int64(n%10 + 1) // of a disk; a long chain takes long to list
				rivals := []catalog.Ownership{newOwnership(number, clusterA, 2*n), newOwnership(number, clusterB, 2*n+1)}
				for i := range rivals {
					rivals[i].Disk.Handle = catalog.VolumeHandle(fmt.Sprint("disk-", n/10))
				}
				errs := together(
					func() error { return s.Take(t.Context(), rivals[0]) },
					func() error { return s.Take(t.Context(), rivals[1]) },
				)
				winner := slices.Index(errs, nil)
				if winner < 0 {
					t.Fatalf("race %d: nobody has it: %v", n, errs)
				}
				wantTaken(t, fmt.Sprintf("race %d: the loser", n), errs[1-winner], rivals[winner])
				if t.Failed() {
					return
				}
				s.take(t, rivals[winner])
			}
			if deleted := slices.ContainsFunc(s.Calls(), func(c catalogtest.Call) bool { return c.Method == catalogtest.Delete }); deleted {
				t.Error("something was deleted")
			}
			wantDiff(t, "entries", races, len(s.keys(t, "disks/")))
		})
	}
}

// What cannot be read is not taken for an owner, nor for the absence of one; and
// it does not stand in the way of other disks.
func TestAnOwnerThatCannotBeReadIsForeignToAll(t *testing.T) {
	other := catalog.Disk{Driver: disk1.Driver, Handle: "other"}
	for name, content := range map[string]string{
		"torn":         `{"format":1,"disk":`,
		"newer":        `{"format":2}`,
		"another disk": `{"format":1,"disk":{"driver":"hostpath.csi.k8s.io","handle":"other"},"number":2,"cluster":{"uid":"` + clusterA + `"},"migration":"` + string(migrationID(0)) + `"}`,
		"no cluster":   `{"format":1,"disk":{"driver":"hostpath.csi.k8s.io","handle":"` + string(disk1.Handle) + `"},"number":2,"migration":"` + string(migrationID(0)) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			entry := newOwnership(1, clusterA, 0)
			s.take(t, entry)
			entry.Disk = other
			s.take(t, entry)
			s.put(t, ownershipKey(disk1, 2), []byte(content))
			ofDisk, err := s.OwnersOf(t.Context(), []catalog.Disk{disk1})
			if err != nil {
				t.Fatal(err)
			}
			for _, owners := range []catalog.Owners{s.owners(t), ofDisk} {
				owner, foreign := owners.Foreign(disk1, clusterA)
				if !foreign || owner.Err == nil || !strings.Contains(owner.String(), ownershipKey(disk1, 2)) {
					t.Errorf("its owner is %s, foreign %t; want that it cannot be told, and which object", owner, foreign)
				}
				if _, foreign := owners.Foreign(disk1, ""); !foreign {
					t.Error("it is not foreign to a cluster that is not known either")
				}
				if owners.Next(disk1) != 3 {
					t.Errorf("the next number is %d, want 3", owners.Next(disk1))
				}
				if _, foreign := owners.Foreign(other, clusterA); foreign {
					t.Error("so is another disk")
				}
			}
			if err := s.Take(t.Context(), newOwnership(2, clusterB, 1)); !errors.Is(err, catalog.ErrCorrupt) && !errors.Is(err, catalog.ErrNewerFormat) {
				t.Errorf("take it with the same number: %v", err)
			}
		})
	}
}

func TestOwnersAreNotKnownIfTheStoreFails(t *testing.T) {
	lost := errors.New("connection reset")
	for name, match := range map[string]func(catalogtest.Call) bool{
		"the listing": catalogtest.KeyEnds(catalogtest.List, ""),
		"an entry":    catalogtest.KeyEnds(catalogtest.Get, "/00000001"),
		"a verdict":   catalogtest.KeyEnds(catalogtest.Get, "/verdict"),
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			s.take(t, newOwnership(1, clusterA, 0))
			s.Before = catalogtest.Fail(match, lost)
			if owners, err := s.Owners(t.Context()); !errors.Is(err, lost) {
				t.Errorf("owners %v, error %v; want %v", owners, err, lost)
			}
		})
	}
}

func TestAskingForOwnersCostsLittle(t *testing.T) {
	s := newStore(t)
	cost := func(disks ...catalog.Disk) int {
		before := s.Reads()
		if _, err := s.OwnersOf(t.Context(), disks); err != nil {
			t.Fatal(err)
		}
		return s.Reads() - before
	}
	wantDiff(t, "for no disks", 0, cost())
	wantDiff(t, "in a catalog without migrations", 1, cost(disk1))
	s.take(t, newOwnership(1, clusterA, 0), newOwnership(2, clusterB, 0))
	wantDiff(t, "of another disk", 1, cost(catalog.Disk{Driver: disk1.Driver, Handle: "other"}))
	wantDiff(t, "of a disk that was moved", 3, cost(disk1))
}

func TestATakeWhoseAnswerGotLostIsRepeated(t *testing.T) {
	s := newStore(t)
	lost := errors.New("connection reset")
	s.After = catalogtest.Lose(catalogtest.KeyEnds(catalogtest.Create, "/00000001"), lost)
	entry := newOwnership(1, clusterA, 0)
	if err := s.Take(t.Context(), entry); !errors.Is(err, lost) {
		t.Errorf("the first time: %v, want %v", err, lost)
	}
	s.take(t, entry)
}

func TestWhatCannotBeAnEntryIsRefused(t *testing.T) {
	for name, change := range map[string]func(*catalog.Ownership){
		"no driver":            func(o *catalog.Ownership) { o.Disk.Driver = "" },
		"a driver with a /":    func(o *catalog.Ownership) { o.Disk.Driver = "kubernetes.io/aws-ebs" },
		"a driver of dots":     func(o *catalog.Ownership) { o.Disk.Driver = ".." },
		"no handle":            func(o *catalog.Ownership) { o.Disk.Handle = "" },
		"number 0":             func(o *catalog.Ownership) { o.Number = 0 },
		"a number too large":   func(o *catalog.Ownership) { o.Number = 100_000_000 },
		"no cluster":           func(o *catalog.Ownership) { o.Cluster.UID = "" },
		"no migration":         func(o *catalog.Ownership) { o.Migration = "" },
		"a migration with a /": func(o *catalog.Ownership) { o.Migration = "a/b" },
		"no time":              func(o *catalog.Ownership) { o.Taken = time.Time{} },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			entry := newOwnership(1, clusterA, 0)
			change(&entry)
			if err := s.Take(t.Context(), entry); err == nil {
				t.Error("it was written")
			}
			wantDiff(t, "keys", 0, len(s.keys(t, "disks/")))
		})
	}
}

// Whatever several clusters and migrations try, having seen what they may: the
// chain has each number once, an entry stays as it was written, and the newest is
// that of the last who was told that it has the disk.
func TestChainsOfOwners(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newStore(t)
		disks := []catalog.Disk{disk1, {Driver: disk1.Driver, Handle: "b"}, {Driver: "other.csi.k8s.io", Handle: disk1.Handle}}
		model := map[catalog.Disk][]catalog.Ownership{}
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			d := rapid.SampledFrom(disks).Draw(rt, "disk")
			entry := newOwnership(rapid.Int64Range(1, int64(len(model[d])+2)).Draw(rt, "number"),
				rapid.SampledFrom([]string{clusterA, clusterB}).Draw(rt, "cluster"), rapid.IntRange(0, 2).Draw(rt, "migration"))
			entry.Disk = d
			err := s.Take(t.Context(), entry)
			newest := int64(len(model[d]))
			switch {
			case entry.Number == newest+1:
				model[d] = append(model[d], entry)
				if err != nil {
					rt.Fatalf("take %d after %d: %v", entry.Number, newest, err)
				}
			case entry.Number > newest:
				if err == nil {
					rt.Fatalf("%d was taken after %d", entry.Number, newest)
				}
			default:
				last := model[d][newest-1]
				own := entry.Number == newest && last.Cluster == entry.Cluster && last.Migration == entry.Migration
				if taken := (*catalog.TakenError)(nil); own != (err == nil) || !own && (!errors.As(err, &taken) || taken.Owner.Number != newest) {
					rt.Fatalf("take %d of %d again (own: %t): %v", entry.Number, newest, own, err)
				}
			}
		}
		want := catalog.Owners{}
		for d, chain := range model {
			last := chain[len(chain)-1]
			last.Underway = true
			want[d] = last
		}
		wantDiff(t, "owners", want, s.owners(t))
	})
}
