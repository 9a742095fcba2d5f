// Package golden holds repositories as they were written by each version of the
// format, and has every later version read them: what they hold, that it is
// whole, and a server that comes back from them.
//
//	testdata/v1/plain       not encrypted
//	testdata/v1/encrypted   for the key in testdata/v1/key, which is for this only
//
// Each has a dump of a MariaDB server with one table, and a log that leads on from
// it. They are never made anew: for a new version of the format another directory
// is made, by go test ./test/golden -make vN.
package golden
