// Package objectstore runs real S3 servers for tests and the demo.
//
// Start starts one on a free port of the loopback, with keys of its own and an
// empty bucket, and returns when it answers. Two servers that have nothing in
// common, versitygw and MinIO, keep Hawser from being tuned to one. Neither is
// ever part of what Hawser ships.
//
// Stop ends exactly the process that Start started. If the process that called
// Start dies without Stop, the kernel ends the server with it (on Linux).
package objectstore
