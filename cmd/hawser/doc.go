// Command hawser is the command line of Hawser: one file per verb, and the frame that
// the verbs share.
//
// A verb reads flags and configuration, calls the packages that hold the
// rules, and prints. Results go to stdout and nothing else does; progress,
// logs and errors go to stderr. The frame is in these files:
//
//	main.go signals.go           the process: context, Ctrl-C
//	app.go root.go               what all verbs share; the list of verbs
//	exit.go                      the exit codes, decided here alone
//	errors.go kubeerrors.go      what people read when something fails
//	flags.go help.go complete.go flags in groups, help texts, completion
//	store.go find.go             from configuration to catalog, cluster and point
//	cluster.go                   from flags to the API server
//	print.go describe.go         tables, JSON, YAML, names
//	progress.go console.go       live lines on a terminal, plain lines elsewhere
package main
