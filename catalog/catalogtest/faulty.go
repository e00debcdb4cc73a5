package catalogtest

import (
	"context"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"hawser.dev/hawser/catalog"
)

// Method is a method of catalog.Bucket.
type Method string

// The methods of catalog.Bucket.
const (
	Create Method = "Create"
	Get    Method = "Get"
	List   Method = "List"
	Delete Method = "Delete"
)

// Call is one call of a bucket's method.
type Call struct {
	Method Method
	Key    string // for List: the prefix
	N      int    // this is the N-th call of Method, from 1
}

// Faulty counts the calls that reach a bucket, and makes it fail, hang or lie
// where a hook says so. Without hooks it behaves as the bucket itself. A List
// is a call when its iteration begins. The hooks must not be changed while
// calls are under way, and must be safe for concurrent use if the calls are
// concurrent.
type Faulty struct {
	Bucket catalog.Bucket

	// Before is asked before the bucket is. If it returns an error the bucket
	// is not asked at all: a request that never arrived, or was denied.
	Before func(ctx context.Context, call Call) error

	// After is told what the bucket answered to Create and Delete, and returns
	// what the caller gets: an answer that got lost on its way back.
	After func(call Call, err error) error

	// Read is given what a Get read, and returns what the caller gets.
	Read func(call Call, data []byte) []byte

	// Listed is asked before the i-th object of a List is yielded, from 0. Its
	// error ends the listing.
	Listed func(call Call, i int, object catalog.Object) error

	mu     sync.Mutex
	calls  []Call
	counts map[Method]int
}

// Create implements catalog.Bucket.
func (f *Faulty) Create(ctx context.Context, key string, data []byte) error {
	return f.write(ctx, Create, key, func() error { return f.Bucket.Create(ctx, key, data) })
}

// Delete implements catalog.Bucket.
func (f *Faulty) Delete(ctx context.Context, key string) error {
	return f.write(ctx, Delete, key, func() error { return f.Bucket.Delete(ctx, key) })
}

func (f *Faulty) write(ctx context.Context, method Method, key string, do func() error) error {
	call, err := f.begin(ctx, method, key)
	if err != nil {
		return err
	}
	err = do()
	if f.After != nil {
		return f.After(call, err)
	}
	return err
}

// Get implements catalog.Bucket.
func (f *Faulty) Get(ctx context.Context, key string, limit int64) ([]byte, error) {
	call, err := f.begin(ctx, Get, key)
	if err != nil {
		return nil, err
	}
	data, err := f.Bucket.Get(ctx, key, limit)
	if err == nil && f.Read != nil {
		data = f.Read(call, data)
	}
	return data, err
}

// List implements catalog.Bucket.
func (f *Faulty) List(ctx context.Context, prefix string) iter.Seq2[catalog.Object, error] {
	return func(yield func(catalog.Object, error) bool) {
		call, err := f.begin(ctx, List, prefix)
		if err != nil {
			yield(catalog.Object{}, err)
			return
		}
		i := 0
		for object, err := range f.Bucket.List(ctx, prefix) {
			if err == nil && f.Listed != nil {
				err = f.Listed(call, i, object)
			}
			if err != nil {
				yield(catalog.Object{}, err)
				return
			}
			if !yield(object, nil) {
				return
			}
			i++
		}
	}
}

// begin counts the call and asks Before.
func (f *Faulty) begin(ctx context.Context, method Method, key string) (Call, error) {
	call := f.count(method, key)
	if f.Before == nil {
		return call, nil
	}
	return call, f.Before(ctx, call)
}

func (f *Faulty) count(method Method, key string) Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.counts == nil {
		f.counts = make(map[Method]int)
	}
	f.counts[method]++
	call := Call{Method: method, Key: key, N: f.counts[method]}
	f.calls = append(f.calls, call)
	return call
}

// Calls returns all calls so far, in the order in which they began.
func (f *Faulty) Calls() []Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// Reads returns the number of calls of Get and List so far.
func (f *Faulty) Reads() int { return f.sum(Get, List) }

// Writes returns the number of calls of Create and Delete so far.
func (f *Faulty) Writes() int { return f.sum(Create, Delete) }

func (f *Faulty) sum(a, b Method) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts[a] + f.counts[b]
}

// Nth matches the n-th call of method, from 1.
func Nth(method Method, n int) func(Call) bool {
	return func(call Call) bool { return call.Method == method && call.N == n }
}

// KeyEnds matches the calls of method whose key ends with suffix; "" ends every
// key.
func KeyEnds(method Method, suffix string) func(Call) bool {
	return func(call Call) bool { return call.Method == method && strings.HasSuffix(call.Key, suffix) }
}

// Fail is a Before that fails the calls that match, with err.
func Fail(match func(Call) bool, err error) func(context.Context, Call) error {
	return func(_ context.Context, call Call) error {
		if match(call) {
			return err
		}
		return nil
	}
}

// Once is a Before that runs do at the first call that matches, ahead of it. What
// do asks of the bucket is not matched.
func Once(match func(Call) bool, do func()) func(context.Context, Call) error {
	var done atomic.Bool
	return func(_ context.Context, call Call) error {
		if match(call) && done.CompareAndSwap(false, true) {
			do()
		}
		return nil
	}
}

// Hang is a Before that lets the calls that match wait until their context is
// done.
func Hang(match func(Call) bool) func(context.Context, Call) error {
	return func(ctx context.Context, call Call) error {
		if !match(call) {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	}
}

// Lose is an After that turns the success of the calls that match into err:
// what they did is done, and nobody is told.
func Lose(match func(Call) bool, err error) func(Call, error) error {
	return func(call Call, result error) error {
		if result == nil && match(call) {
			return err
		}
		return result
	}
}
