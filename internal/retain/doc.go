// Package retain decides which backups and logs may go, and removes them.
//
// [Plan] decides; it is pure. [Survey] collects what it decides upon, [Apply]
// does what was decided. Between them a person may look: a [Decision] can be
// printed, and kept as JSON.
//
// # What stays
//
// The backups that stay are all from one moment on: nothing younger than the
// oldest of them ever goes. Kept are the last KeepFull full backups with all
// their increments; all that it takes to restore to any moment of the last
// KeepFor; what a running backup or restore has named; always the last full
// backup; and with each its parents. If a manifest cannot be read no backup and
// no log goes: what it needs is not known.
//
// Of a server's log all files stay from the first on that leads on from a kept
// backup, by position if it is of that server, by GTIDs in any case; those that
// have bytes that were archived after the oldest kept backup had begun, an hour
// less, since clocks differ; and the last file, where the archive goes on. So
// from the front of a log a run of whole files goes, the oldest first. Without a
// backup that stays no log goes.
//
// # Order of removal
//
// Whatever has been removed when Apply is killed, what is left tells no lie, and
// the next run goes on:
//
//   - families of a full backup and its increments, the oldest first; in each the
//     last one first: no increment is ever without its parent;
//   - of a backup the manifest first: what is listed is whole. The rest is then
//     what Leftovers finds, and goes at once, or in a later run;
//   - logs only when all backups are gone that they lead on from, the oldest file
//     first: a log never has a hole between files that stay;
//   - of a file its segments from the front on, so that what is left of it does
//     not begin, and is used for nothing; then what says that it was whole.
//
// # Leases
//
// What runs says so with an object, a lease:
//
//	SET/leases/WHAT-RANDOM-HASH    of kind "lease", without bytes
//
// Its meta are what (backup, restore, expire, check), backups (ids), from and until
// (times), host and pid. It is renewed each third of its life by a new object,
// after which the old one is deleted; what has run out counts for nothing after
// an hour, by which clocks may differ.
//
// Apply has a lease of its own, "expire", on what it removes. Both sides first
// put their lease and then look for one of the other's: of an expire and a
// restore that want the same backup at once at least one sees the other, and
// gives way (fault.Busy).
//
// Who cannot renew a lease before it has run out looks whether anybody has made
// use of that (Hold): if so, or if nobody knows, what it holds is given up.
//
// What is not guaranteed: that a backup or restore without a lease, or one that
// has stood still for its lease's life and an hour, finds what it needs.
package retain
