package backup

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/catalog/catalogtest"
	"hawser.dev/hawser/catalog/dir"
)

// The journal entry is the lock of an occurrence: of two agents that come to it
// at once one makes its point, and the other is told.
func TestOfAThousandRacesOfRunsEachHasOneWinner(t *testing.T) {
	const inOneCatalog = 10
	wins := map[int]int{}
	for first := 0; first < races; first += inOneCatalog {
		bucket := new(catalogtest.Memory)
		var agents []*lab
		for i := range 2 {
			agents = append(agents, newLabIn(t, bucket, pair("shop/data")))
			agents[i].Agent = fmt.Sprint("agent-", i)
		}
		for i := range inOneCatalog {
			request := reattachable(Selection{})
			request.Plan, request.Scheduled = "databases", noon.Add(time.Duration(first+i)*time.Minute)
			wins[race(t, func(agent int) error {
				_, err := agents[agent].Run(t.Context(), request)
				return err
			})]++
		}
		if points := len(agents[0].survey(t)); points != inOneCatalog {
			t.Fatalf("%d points are in the catalog, want %d", points, inOneCatalog)
		}
	}
	t.Logf("races won: %v", wins)
}

// The same for the lock alone, in a folder that two processes have open.
func TestOfAThousandRacesInAFolderEachHasOneWinner(t *testing.T) {
	folder := t.TempDir()
	var agents []*catalog.Catalog
	for range 2 {
		bucket, err := dir.Open(folder)
		if err != nil {
			t.Fatal(err)
		}
		c, err := catalog.OpenOrCreate(t.Context(), bucket, catalog.Limits{}, noon)
		if err != nil {
			t.Fatal(err)
		}
		agents = append(agents, c)
	}
	wins := map[int]int{}
	for i := range races {
		at := noon.Add(time.Duration(i) * time.Minute)
		intent := catalog.Intent{Point: catalog.NewPointID(clusterUID, "databases", at, 0), Cluster: catalog.Cluster{UID: clusterUID}, Plan: "databases", Scheduled: at}
		winner := race(t, func(agent int) error {
			mine := intent
			mine.Agent = fmt.Sprint("agent-", agent)
			return agents[agent].Begin(t.Context(), mine)
		})
		wins[winner]++
		written, err := agents[1-winner].Intent(t.Context(), catalog.Presence{ClusterUID: clusterUID, Point: intent.Point})
		if want := fmt.Sprint("agent-", winner); err != nil || written.Agent != want {
			t.Fatalf("the entry of %s is by %q, error %v, want it by %s, who was told so", intent.Point, written.Agent, err, want)
		}
	}
	t.Logf("races won: %v", wins)
}

const races = 1000

// race lets two agents do the same at once, and returns who has won.
func race(t *testing.T, do func(agent int) error) int {
	t.Helper()
	var wait sync.WaitGroup
	start := make(chan struct{})
	var errs [2]error
	for agent := range errs {
		wait.Go(func() {
			<-start
			errs[agent] = do(agent)
		})
	}
	close(start)
	wait.Wait()
	for winner, loser := range []int{1, 0} {
		if errs[winner] == nil && errors.Is(errs[loser], catalog.ErrExist) {
			return winner
		}
	}
	t.Fatalf("the race ended with %v, want one winner, and %v for the other", errs, catalog.ErrExist)
	return -1
}
