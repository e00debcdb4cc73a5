// Package s3 keeps a catalog's objects in a bucket of Amazon S3, or of any
// store that speaks its protocol and honours conditional writes.
//
// # Promises
//
// Create is one PUT with "If-None-Match: *", whatever the size, which the
// store checks against a SHA-256 and an MD5. If the store refuses because the
// key is taken, one HEAD tells whose object that is: a PUT that got no answer
// is repeated, and the repetition is refused because of the first. Each Create
// marks its object with a random word in its metadata (writerHeader), so that
// of any number of writers exactly one succeeds, also if they write the same
// bytes, and the one that did is told so.
//
// Get, Delete and each 1000 objects of a List are one request, Open is none.
// Requests that fail for a passing reason are repeated, up to five times. A
// bucket whose region is neither given nor in the environment costs one
// request more, once, to ask for it.
//
// That an object does not exist is believed only if an S3 server says so, not
// if anything else answers 404. A listing that ends early, is out of order or
// leaves its prefix is an error.
//
// # What is left to others
//
// The bucket must exist. CheckConditional finds out whether the store honours
// the condition of Create; whoever makes a catalog calls it first. Timeouts
// are the caller's, by the context; only the search for credentials has its
// own, since it asks addresses that may not exist.
package s3
