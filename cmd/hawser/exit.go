package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"hawser.dev/hawser/restore"
)

// The exit codes. Scripts rest on them: they never change their meaning.
const (
	exitDone    = 0
	exitFailed  = 1 // also when interrupted
	exitUsage   = 2 // unknown flag, verb or argument; bad configuration
	exitPartial = 3 // done for some of what was asked, not for the rest
	exitRefused = 4 // what was asked, or part of it, was not done: it would have been wrong
)

// exitCodes is what help texts say of them.
const exitCodes = "Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 partial, 4 refused."

// exitCode decides the exit code. Of several joined errors the first of usage,
// refused and partial decides.
func exitCode(err error) int {
	var asked *usageError
	var some *partialError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &asked):
		return exitUsage
	case isRefusal(err):
		return exitRefused
	case errors.As(err, &some):
		return exitPartial
	}
	return exitFailed
}

// usageError is a command line or configuration that cannot be acted upon.
type usageError struct {
	err  error
	hint string // a line that says where to read more; may be empty
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// usage marks err as one of usage.
func usage(err error) error { return &usageError{err: err} }

// usagef is usage of a new error.
func usagef(format string, args ...any) error { return usage(fmt.Errorf(format, args...)) }

// usageHint marks err as one of usage and points to the help of cmd.
func usageHint(err error, cmd *cobra.Command) error {
	return &usageError{err: err, hint: fmt.Sprintf("see '%s --help'", cmd.CommandPath())}
}

// partialError says that some of what was asked is done, and what is not.
type partialError struct{ err error }

func (e *partialError) Error() string { return e.err.Error() }
func (e *partialError) Unwrap() error { return e.err }

// partial marks err: the rest of what was asked is done.
func partial(err error) error { return &partialError{err: err} }

// isRefusal reports whether what was asked was not done because it would have
// been wrong.
func isRefusal(err error) bool {
	var plan *restore.RefusedError
	var pruning *stoppedError
	return errors.As(err, &plan) || errors.As(err, &pruning)
}
