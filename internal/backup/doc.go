// Package backup takes full and incremental backups of a server, streamed into
// repositories without a second copy on disk, and unpacks them into a data
// directory.
//
// docs/format/backup.md has the format. In short: a [Driver] runs the vendor's
// tool, whose stream is cut into parts, each a sealed object; a manifest says
// which they are and what state of the server they hold. It is written last: a
// backup exists if and only if its manifest does. What a backup leaves that has
// come to nothing is found by [Leftovers].
//
// A tool has done its work if it ends with exit code 0 and says so itself, with
// its own mark at the end. Everything else is an error, and no manifest is
// written.
//
// The facts of a manifest stand in the header of its object, so that backups
// can be listed by a host that has no key.
//
// What is not guaranteed: an increment joins its parent by the log sequence
// number of InnoDB (LSN) and by the server's name. Whether the server has been
// restored from another backup in between cannot always be seen: after a
// restore, take a full one.
package backup
