// Package users knows the workloads that use claims: which they are, who else
// minds their number of Pods, and when they are ready. Stopping them is left to
// those who have a reason to.
//
// Users and Judge decide from what Look has seen; only AwaitReady waits. Nothing
// but Change writes.
package users
