package bench

import (
	"context"
	"database/sql"
	"strconv"
	"strings"

	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/server"
)

// Server ids. An applier skips events that carry its own.
const (
	sourceID = 1
	targetID = 2
)

// applierThreads is the number of the server's own parallel applier.
const applierThreads = 8

// channel and relayName name the target's relay logs.
const (
	channel   = "replay"
	relayName = "relay"
)

// targetSettings are the same for every way, those of the applier included:
// the other ways do not notice them. Nothing in them loses data when the
// server process dies. (MariaDB's slave_parallel_max_queued stays at its
// default: 16 MB took 550 MB of memory and was no faster.)
func targetSettings(f server.Flavor) []string {
	args := []string{
		"--server-id=" + strconv.Itoa(targetID),
		"--skip-log-bin",
		"--innodb-buffer-pool-size=1G",
		"--innodb-flush-log-at-trx-commit=2",
		// What the source had in memory must not decide how the target starts.
		"--innodb-buffer-pool-load-at-startup=OFF",
		"--innodb-buffer-pool-dump-at-shutdown=OFF",
		"--max-allowed-packet=64M",
		"--relay-log=" + relayName,
	}
	if f == server.MariaDB {
		return append(args,
			"--innodb-log-file-size=1G",
			"--skip-slave-start",
			"--slave-parallel-threads="+strconv.Itoa(applierThreads),
			"--slave-parallel-mode=optimistic",
		)
	}
	return append(args,
		"--innodb-redo-log-capacity=1G",
		"--gtid-mode=ON", "--enforce-gtid-consistency=ON",
		"--skip-replica-start",
		"--replica-parallel-workers="+strconv.Itoa(applierThreads),
		"--replica-preserve-commit-order=OFF",
	)
}

// sourceSettings are those of the server that writes the log to base. What the
// log holds is the server's own default, but for the row format and GTIDs.
func sourceSettings(f server.Flavor, base string, logFileSize int) []string {
	args := []string{
		"--server-id=" + strconv.Itoa(sourceID),
		"--log-bin=" + base,
		"--max-binlog-size=" + strconv.Itoa(logFileSize),
		"--innodb-buffer-pool-size=1G",
	}
	if f == server.MariaDB {
		return append(args, "--binlog-format=ROW")
	}
	return append(args, "--gtid-mode=ON", "--enforce-gtid-consistency=ON")
}

// reported are the variables in the report: whatever is known to decide how
// fast a replay is. A server that does not know one leaves it out.
var reported = []string{
	"innodb_buffer_pool_size", "innodb_flush_log_at_trx_commit", "innodb_flush_method",
	"innodb_doublewrite", "innodb_redo_log_capacity", "innodb_log_file_size",
	"innodb_io_capacity", "innodb_io_capacity_max", "innodb_adaptive_hash_index",
	"innodb_change_buffering", "innodb_page_size",
	"log_bin", "performance_schema", "max_allowed_packet", "gtid_mode",
	"replica_parallel_workers", "replica_preserve_commit_order",
	"slave_parallel_threads", "slave_parallel_mode", "slave_parallel_max_queued",
}

// readSettings asks the server, because a default is a setting too.
func readSettings(ctx context.Context, db *sql.DB) (map[string]string, error) {
	return dbconn.Pairs(ctx, db, "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('"+strings.Join(reported, "','")+"')")
}
