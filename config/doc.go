// Package config turns a file, environment variables and flags into one
// validated Config that remembers where each value came from.
//
// A flag wins over an environment variable, that over the file, and that over
// the default. Every key is known: a misspelt one is an error that names it
// and, where close, the key that was probably meant. All errors are reported
// at once. Keys are case-sensitive. A secret that a URL may hold is never
// printed.
//
// A new key is a field of Config and a row of Keys; its environment variable
// and flag follow from its name. Plans and webhooks are lists and stand in the
// file alone; a new key of theirs is a field of Plan or Notify and a row of its
// schema, from which help texts and what is printed follow.
//
// Package config is the only user of viper. It reads nothing but the file, and
// the namespace that a Pod is told: whether a store or cluster is there is for
// others to find out. What a schedule, a plan's name or a workload must look
// like is theirs to say too, by Rules.
package config
