// Package dir keeps a catalog's objects in a folder.
//
// The object with key clusters/u/points/p/commit is the file of that path in
// the folder. The folder may be on any POSIX file system that has hard links,
// a network file system too, and several processes may use it at once.
//
// # Promises
//
// An object appears whole or not at all, whatever is killed: Create writes a
// file under a temporary name, syncs it, links it to its final name, which
// fails if that name is taken, and syncs every folder on the way to it. When
// Create returns nil, or catalog.ErrExist, the object survives a power cut.
//
// The folder itself is never created, by Open or by Create, as a bucket of S3
// is not: a folder that is absent is most often a disk that is not mounted,
// and a backup written under its mount point is no backup. For the same reason
// a Bucket fails once the folder was removed or replaced under it.
//
// Nothing outside the folder is read or written: no key and no symbolic link
// leads out of it. Folders are made with mode 0700 and files with 0600.
//
// # What else may be in the folder
//
// Temporary files are in the folder "tmp~"; "~" is in no key, so that they
// cannot be mistaken for objects. A writer that is killed leaves one behind.
// The first Create of every Bucket removes those older than a day. That is
// safe at any age: a writer whose file is gone fails to link it.
//
// Files whose names cannot be keys, such as lost+found, symbolic links and
// other special files are no objects and are not listed.
//
// # Limits
//
// As in most object stores that keep files, a key cannot be an object and a
// folder of objects at the same time. On a file system that ignores case, keys
// that differ only in case are one. A call does not end early if the file
// system hangs: contexts are looked at between its steps.
package dir
