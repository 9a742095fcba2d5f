// Package storage breaks what lies between a server and its archive: the
// server's own log, the disk or the network of the repository, and the clock.
// Whatever is broken, what the archive has acknowledged is there, whole and
// never overwritten; what it can never have is an alarm and a gap; and once
// nothing is broken any more it has everything, byte for byte.
//
//	LIFEBOAT_SEED=N   the seed; every test names it
//
// docs/faults.md has the table of all fault tests.
package storage
