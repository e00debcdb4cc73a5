// Package objectstore runs real S3 servers for tests and the demo.
//
// Start starts one on a free port of the loopback, with keys of its own and an
// empty bucket, and returns when it answers. Two servers that have nothing in
// common, versitygw and MinIO, keep Hawser from being tuned to one. Neither is
// ever part of what Hawser ships.
//
// StartProxy puts a Toxiproxy before a server, which breaks connections, slows
// them or lets data vanish as a test says.
//
// Stop ends exactly the process that was started. If the process that started it
// dies without Stop, the kernel ends it as well (on Linux).
package objectstore
