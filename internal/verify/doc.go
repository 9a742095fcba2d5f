// Package verify reads what is stored in a repository and checks that it is
// what was written, that nothing of it is missing, and says what is lost where
// it is not so.
//
// Of every object the hash of its stored bytes is checked, and that its header
// is that of its place: no key is needed. With keys, or where nothing is
// encrypted, what it holds is checked, too. Then the objects are compared with
// each other: parts with the manifests that name them, increments with their
// parents, segments with the files that they make, files with the logs.
//
// A run goes on where the last one of the same state file was interrupted, and
// leaves out what was checked less than MaxAge ago, of which only the names,
// sizes and, of logs, headers are looked at.
//
// # State file
//
// Text, one record a line: CRC-32C of the JSON (8 hexadecimal digits), a space,
// the JSON. The first record names format, version and the repository's id; the
// others are
//
//	{"begun": TIME, "set": SET}   a run begins
//	{"object": NAME, …}           an object was found whole, see record
//	{"ended": TIME, "set": SET}   that run has come to its end
//
// A last line that is cut short is left out. With any other damage, or if it is
// of another repository, the state begins anew, and the report says so: that
// costs time, nothing else.
//
// The state also remembers what was there. An object that is gone, though older
// ones of its kind are still there, was not expired: package retain never
// removes what is younger than the oldest backup that it keeps, nor the newest
// file of a log. Without the state nothing tells a newest segment that is lost
// from one that was never written.
//
// # What is not guaranteed
//
// A hash in a name is no signature (package repository): an object that somebody
// has made with its right hash, header and content is not told from ours.
// repository.json is checked by who opens the repository. What is written or removed while a run goes on is looked at again
// before it is called missing; it is not itself checked.
package verify
