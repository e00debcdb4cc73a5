// Package disks is a CSI driver for tests and the demo. It is never part of
// what users install.
//
// A region is a folder, as a region of a cloud is a place: a disk is a folder
// in it, and several clusters, served by one process or by many, share it.
//
//	<region>/disks/<handle>/disk.json     what is known of a disk: size, zone, attachments
//	<region>/disks/<handle>/data/         its files, or device.img for a raw block disk
//	<region>/snapshots/<handle>/          snapshot.json, and a whole copy of the data
//	<region>/nodes/                       which nodes of which cluster disks can be attached to
//	<region>/attachments.jsonl            every attach and detach, one line each
//	<region>/locks/, <region>/tmp/        one flock per handle; things half made or half gone
//
// What it promises:
//
//   - A handle exists when its folder exists. Remove the folder by hand and the
//     disk is gone for every call, as a lost disk is in a cloud.
//   - Disks and snapshots appear and disappear whole, by rename. Nobody sees a
//     half copied disk, also after a process was killed.
//   - A disk in a single-node mode is attached to one node of one cluster at a
//     time, whatever the number of clusters and processes; but a server that is
//     Blind sees its own cluster alone, and leaves it to Judge to find out.
//   - Handles are derived from names, and every lookup is one path: a call costs
//     the same with 10 disks and with 10,000. Only listings read folders.
//   - A snapshot is the state of one moment, or says that it is not
//     (Snapshot.Torn): the folder is copied again when it was written to during
//     the copy.
//
// What it leaves to others: sizes are recorded, not enforced, except for raw
// block disks. Nothing is synced to the medium, so a power cut may lose what a
// killed process may not. Linux only.
package disks
