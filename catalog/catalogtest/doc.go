// Package catalogtest holds what tests need to trust a catalog.Bucket.
//
// TestBucket is the conformance suite: the folder bucket, the S3 bucket and
// the one in memory pass the same cases, so that package catalog may rely on
// the contract alone. A new bucket is right when it passes.
//
// Memory is the reference implementation, for tests that want a bucket and no
// disk or server. Faulty stands in front of any bucket, counts what is asked
// of it, and makes it fail, hang or lie.
package catalogtest
