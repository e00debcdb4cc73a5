package catalogtest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"hawser.dev/hawser/catalog"
)

func testRace(t *testing.T, s storage) {
	const rounds, writers = 8, 12
	handles := []catalog.Bucket{s.Bucket, s.open(t), s.open(t)}
	for round := range rounds {
		key := s.key(fmt.Sprintf("round-%d/object", round))
		errs := make([]error, writers)
		together(writers, func(i int) {
			errs[i] = handles[i%len(handles)].Create(t.Context(), key, content(i))
		})
		winner := slices.Index(errs, nil)
		if winner < 0 {
			t.Fatalf("no Create succeeded: %v", errs)
		}
		want(t, s, key, content(winner))
		for i, err := range errs {
			if i != winner {
				wantError(t, fmt.Sprintf("Create by writer %d, after writer %d won", i, winner), err, catalog.ErrExist)
			}
		}
	}
}

// content is what writer i writes: large enough to be written in pieces.
func content(i int) []byte { return bytes.Repeat([]byte{byte(i)}, 100_000) }

// together runs do(0) to do(n-1) at the same time.
func together(n int, do func(i int)) {
	var ready, done sync.WaitGroup
	ready.Add(n)
	for i := range n {
		done.Go(func() {
			ready.Done()
			ready.Wait()
			do(i)
		})
	}
	done.Wait()
}

func testWhole(t *testing.T, s storage) {
	const rounds, size = 10, 4 << 20
	data := bytes.Repeat([]byte("hawser!\n"), size/8)
	reader := s.open(t)
	for round := range rounds {
		key := s.key(fmt.Sprintf("object-%d", round))
		created := make(chan error, 1)
		go func() { created <- s.Create(t.Context(), key, data) }()
		for running := true; running; {
			select {
			case err := <-created:
				if err != nil {
					t.Fatalf("Create: %v", err)
				}
				running = false
			default:
			}
			got, err := reader.Get(t.Context(), key, size)
			if err == nil && !bytes.Equal(got, data) || err != nil && !errors.Is(err, catalog.ErrNotExist) {
				t.Fatalf("Get while it is created: %d of %d bytes, error %v", len(got), size, err)
			}
			objects, err := collect(reader.List(t.Context(), key))
			if err != nil || len(objects) > 1 || len(objects) == 1 && objects[0].Size != size {
				t.Fatalf("List while it is created: %v, error %v", objects, err)
			}
		}
		want(t, reader, key, data)
	}
}
