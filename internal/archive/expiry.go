package archive

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/units"
)

// expiry is by what a server removes files of its log itself. MySQL has
// binlog_expire_logs_seconds, and since 8.0.29 binlog_expire_logs_auto_purge,
// without which that does nothing; MariaDB the same seconds as
// expire_logs_days, since 10.6, and since 11.4 max_binlog_total_size, which
// Percona Server calls binlog_space_limit. slave_connections_needed_for_purge
// only puts it off.
type expiry struct {
	after time.Duration // 0: no file is too old
	bytes int64         // 0: no log is too large
}

// soon is an age below which an outage of a night or a weekend's day loses
// something.
const soon = 24 * time.Hour

// warning says what is wrong with it; "" if nothing is. It is pure.
func (e expiry) warning(hold bool) string {
	var by []string
	if e.after > 0 {
		by = append(by, "when they are "+units.Duration(e.after)+" old")
	}
	if e.bytes > 0 {
		by = append(by, "when they have more than "+units.Bytes(e.bytes)+" together")
	}
	switch {
	case len(by) == 0:
		return ""
	case hold:
		return "the server removes its logs itself " + strings.Join(by, " and ") + ", archived or not: archive.purge: hold cannot hold that up"
	case e.bytes > 0 || e.after < soon:
		return "the server removes its logs " + strings.Join(by, " and ") + ": an outage of the archive that is longer loses some"
	}
	return ""
}

// parseExpiry reads it from a server's variables. It is pure.
func parseExpiry(variables map[string]string) (e expiry, err error) {
	number := func(name string) float64 {
		text, ok := variables[name]
		if !ok {
			return 0
		}
		n, perr := strconv.ParseFloat(text, 64)
		if perr != nil {
			err = errors.Join(err, fmt.Errorf("archive: the server's %s is %.100q", name, text))
		}
		return n
	}
	if variables["binlog_expire_logs_auto_purge"] != "OFF" {
		const day = 24 * 60 * 60
		e.after = time.Duration(max(number("binlog_expire_logs_seconds"), number("expire_logs_days")*day)) * time.Second
	}
	e.bytes = int64(max(number("max_binlog_total_size"), number("binlog_space_limit")))
	return e, err
}

func askExpiry(ctx context.Context, q dbconn.Querier) (e expiry, err error) {
	said, err := dbconn.Pairs(ctx, q, "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('binlog_expire_logs_seconds', "+
		"'binlog_expire_logs_auto_purge', 'expire_logs_days', 'max_binlog_total_size', 'binlog_space_limit')")
	if err != nil {
		return e, fmt.Errorf("archive: ask how long the server keeps its log: %w", err)
	}
	return parseExpiry(said)
}
