package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// quiet is a Pod whose pre hook was begun. It must be released.
type quiet struct {
	hook podHook
	exec Executor
	held *held // the pre hook that is still running; nil if none is
}

// quiesce runs the pre hook of one Pod. Whatever it returns, a quiet that is
// not nil must be released: also a hook that failed may have done something.
func quiesce(ctx context.Context, exec Executor, hook podHook) (*quiet, error) {
	if hook.err != nil {
		return nil, fmt.Errorf("%s: %w", hook, hook.err)
	}
	q := &quiet{hook: hook, exec: exec}
	var err error
	switch {
	case len(hook.Pre) == 0:
	case hook.Hold:
		q.held, err = hold(ctx, exec, hook)
	default:
		err = runHook(ctx, exec, hook, hook.Pre)
	}
	if err != nil {
		return q, fmt.Errorf("pre hook of %s: %w", hook, err)
	}
	return q, nil
}

// release lets go of a held pre hook and runs the post hook. It does so also
// after ctx was cancelled, within the hook's own time.
func (q *quiet) release(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	var errs []error
	if q.held != nil {
		if err := q.held.end(q.hook.Timeout); err != nil {
			errs = append(errs, fmt.Errorf("held pre hook of %s: %w", q.hook, err))
		}
	}
	if len(q.hook.Post) > 0 {
		if err := runHook(ctx, q.exec, q.hook, q.hook.Post); err != nil {
			errs = append(errs, fmt.Errorf("post hook of %s, which may still be quiesced: %w", q.hook, err))
		}
	}
	return errors.Join(errs...)
}

// runHook runs one command to its end.
func runHook(ctx context.Context, exec Executor, hook podHook, command []string) error {
	ctx, cancel := context.WithTimeout(ctx, hook.Timeout)
	defer cancel()
	var output tail
	err := exec.Exec(ctx, hook.namespace, hook.pod, hook.container, command, nil, &output, &output)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("%q did not end within %s%s", command, hook.Timeout, output.said())
	}
	if err != nil {
		return fmt.Errorf("%q: %w%s", command, err, output.said())
	}
	return nil
}

// held is a command that runs until its standard input ends.
type held struct {
	stdin  *io.PipeWriter
	cancel context.CancelFunc
	ended  chan error // receives once
	output *tail
}

// hold starts a command and waits for its first output, which says that it has
// done what it is for.
func hold(ctx context.Context, exec Executor, hook podHook) (*held, error) {
	in, out := io.Pipe()
	// The command outlives ctx: it ends by release, or with the connection.
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	h := &held{stdin: out, cancel: cancel, ended: make(chan error, 1), output: &tail{}}
	spoke := &firstWrite{Writer: h.output, done: make(chan struct{})}
	go func() {
		h.ended <- exec.Exec(run, hook.namespace, hook.pod, hook.container, hook.Pre, in, spoke, h.output)
	}()
	patience := time.NewTimer(hook.Timeout)
	defer patience.Stop()
	select {
	case <-spoke.done:
		return h, nil
	case err := <-h.ended:
		h.ended <- err
		return h, fmt.Errorf("%q ended before it said that it holds: %v%s", hook.Pre, err, h.output.said())
	case <-patience.C:
		return h, fmt.Errorf("%q said nothing within %s, so it is not known to hold%s", hook.Pre, hook.Timeout, h.output.said())
	case <-ctx.Done():
		return h, context.Cause(ctx)
	}
}

// end closes the command's input and waits for its end. What does not end is
// cut off, which ends it too.
func (h *held) end(timeout time.Duration) error {
	defer h.cancel()
	h.stdin.Close()
	patience := time.NewTimer(timeout)
	defer patience.Stop()
	select {
	case err := <-h.ended:
		if err != nil {
			return fmt.Errorf("%w%s", err, h.output.said())
		}
		return nil
	case <-patience.C:
		return fmt.Errorf("it did not end within %s of the end of its input; its connection was cut%s", timeout, h.output.said())
	}
}

// firstWrite tells when something is first written.
type firstWrite struct {
	io.Writer
	once sync.Once
	done chan struct{}
}

func (w *firstWrite) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	w.once.Do(func() { close(w.done) })
	return n, err
}

// tail keeps the end of a command's output, for messages.
type tail struct {
	mu   sync.Mutex
	text bytes.Buffer
}

const tailSize = 2048

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text.Write(p)
	t.text.Next(max(0, t.text.Len()-tailSize))
	return len(p), nil
}

// said is the output as the end of a message.
func (t *tail) said() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if text := strings.TrimSpace(t.text.String()); text != "" {
		return ": " + text
	}
	return ""
}
