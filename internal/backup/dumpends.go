package backup

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"github.com/lifeboat-db/lifeboat/internal/gtid"
)

// dumpEnds passes a dump on and keeps its head and its tail, where the tool
// says of which state it is:
//
//   - MySQL's mysqldump (9.7, client/mysqldump.cc) writes into the head
//     SET @@GLOBAL.GTID_PURGED, with line breaks between the sources, and the
//     comment CHANGE REPLICATION SOURCE TO (before 8.0.23: CHANGE MASTER TO).
//   - mariadb-dump (10.11 and 11.8, client/mysqldump.c) writes into the head the
//     comment CHANGE MASTER TO with file and offset, and what --gtid adds as a
//     comment, SET GLOBAL gtid_slave_pos, only behind the last table: loaded
//     before mysql.gtid_slave_pos it would be lost. It is BINLOG_GTID_POS of
//     file and offset, so that it lacks what a replica has applied and not
//     logged itself.
//   - The last line of both is -- Dump completed.
//
// Rows cannot look like these lines: a string in a dump has no line break. A
// procedure's text can, but there is none in the head, nor behind the last
// table, and the last line counts that looks like it.
type dumpEnds struct {
	to   io.Writer
	head []byte // up to the first database
	all  bool   // head is complete
	tail tail
}

// maxHead is more than any head: GTID sets have some bytes for each gap.
const maxHead = 32 << 20

// headEnd is the comment before the first database.
var headEnd = []byte("\n-- Current Database: ")

func (d *dumpEnds) Write(p []byte) (int, error) {
	if !d.all {
		from := max(0, len(d.head)-len(headEnd))
		d.head = append(d.head, p...)
		if i := bytes.Index(d.head[from:], headEnd); i >= 0 {
			d.head, d.all = d.head[:from+i], true
		}
		if len(d.head) > maxHead {
			return 0, fmt.Errorf("the head of the dump has no end: %w", errNotUnderstood)
		}
	}
	_, _ = d.tail.Write(p) // never fails
	return d.to.Write(p)
}

var (
	purgedPattern   = regexp.MustCompile(`(?m)^SET @@GLOBAL\.GTID_PURGED=(?:/\*!80000 '\+'\*/ ?)?\s*'([^']*)'`)
	slavePosPattern = regexp.MustCompile(`(?m)^-- SET GLOBAL gtid_slave_pos='([^']*)';`)
	changePattern   = regexp.MustCompile(`(?m)^-- CHANGE (?:MASTER|REPLICATION SOURCE) TO (?:MASTER|SOURCE)_LOG_FILE='([^']+)', (?:MASTER|SOURCE)_LOG_POS=([0-9]+);`)
)

const dumpMark = "-- Dump completed"

// taken is what the ends say, once the tool has ended.
func (d *dumpEnds) taken(flavor gtid.Flavor, logged bool) (taken Taken, err error) {
	if !d.all || !strings.HasPrefix(d.tail.last(), dumpMark) {
		return Taken{}, fmt.Errorf("the dump does not end with %q: it is not whole", dumpMark)
	}
	if logged {
		m := changePattern.FindSubmatch(d.head)
		if m == nil {
			return Taken{}, fmt.Errorf("no position in the head of the dump: %w", errNotUnderstood)
		}
		taken.File = string(m[1])
		if taken.Offset, err = strconv.ParseInt(string(m[2]), 10, 64); err != nil {
			return Taken{}, err
		}
	}
	set, err := gtid.ParseSet(flavor, d.gtids(flavor))
	if err != nil {
		return Taken{}, fmt.Errorf("GTIDs of the dump: %w", err)
	}
	taken.GTIDs = set.String()
	return taken, nil
}

// gtids is the text of the set, empty if there is none.
func (d *dumpEnds) gtids(flavor gtid.Flavor) string {
	found := purgedPattern.FindAllSubmatch(d.head, -1)
	if flavor == gtid.MariaDB {
		found = append(slavePosPattern.FindAllSubmatch(d.head, -1), slavePosPattern.FindAllSubmatch(d.tail.b, -1)...)
	}
	if len(found) == 0 {
		return ""
	}
	return string(found[len(found)-1][1])
}
