package clone

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
)

// parseRecovery reads the lines that a server writes when it has recovered a clone
// (storage/innobase/clone/clone0api.cc; plugin/clone/src/clone_status.cc reads
// them):
//
//	1    time at which recovery began, microseconds since 1970
//	2    time at which it ended; 0 or nothing: it did not
//	3    binary log file, with its directory on the donor; empty: none
//	4    offset in it
//	5-   GTID set executed, maybe on several lines
func parseRecovery(lines []string) (Point, error) {
	if len(lines) < 5 {
		return Point{}, fmt.Errorf("%w: %d lines: recovery has not ended", ErrCorrupt, len(lines))
	}
	var p Point
	ended, err := strconv.ParseUint(strings.TrimSpace(lines[1]), 10, 64)
	if err != nil || ended == 0 {
		return p, fmt.Errorf("%w: end of recovery %q", ErrCorrupt, lines[1])
	}
	offset, err := strconv.ParseInt(strings.TrimSpace(lines[3]), 10, 64)
	if err != nil {
		return p, fmt.Errorf("%w: offset %q", ErrCorrupt, lines[3])
	}
	if lines[2] != "" {
		p.Position = binlog.Position{File: path.Base(lines[2]), Offset: offset}
	}
	p.GTIDs, err = gtid.ParseSet(gtid.MySQL, strings.Join(lines[4:], ""))
	return p, err
}
