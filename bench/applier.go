package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/server"
)

// mysqlApplier gives the server the logs as relay logs that a receiver might
// have written. The server reads NAME-CHANNEL.index at its start; events keep
// the source's server id, which must not be the target's.
type mysqlApplier struct{ ds *dataset }

func relayLog(n int) string { return fmt.Sprintf("%s-%s.%06d", relayName, channel, n) }

func (w mysqlApplier) place(ctx context.Context, dataDir string) error {
	var index strings.Builder
	for n, path := range w.ds.logPaths() {
		name := relayLog(n + 1)
		if err := copyFile(ctx, path, filepath.Join(dataDir, name)); err != nil {
			return err
		}
		fmt.Fprintf(&index, "./%s\n", name)
	}
	return os.WriteFile(filepath.Join(dataDir, relayName+"-"+channel+".index"), []byte(index.String()), 0o640)
}

func (w mysqlApplier) prepare(ctx context.Context, target *server.Instance) error {
	return execute(ctx, target, fmt.Sprintf("CHANGE REPLICATION SOURCE TO SOURCE_HOST='dummy', "+
		"RELAY_LOG_FILE='%s', RELAY_LOG_POS=4 FOR CHANNEL '%s'", relayLog(1), channel))
}

func (w mysqlApplier) replay(ctx context.Context, target *server.Instance, _ string) (Use, error) {
	return Use{}, withDB(target, func(db *sql.DB) error {
		if _, err := db.ExecContext(ctx, "START REPLICA SQL_THREAD FOR CHANNEL '"+channel+"'"); err != nil {
			return err
		}
		return await(ctx, db, applierWait{
			query:  "SELECT WAIT_FOR_EXECUTED_GTID_SET('" + w.ds.EndGTID + "', 1)",
			status: "SHOW REPLICA STATUS FOR CHANNEL '" + channel + "'",
			runs:   "Replica_SQL_Running",
		})
	})
}

// mariadbApplier makes the target a replica of a server that has nothing but
// the logs. MariaDB crashes when relay logs are put in place by hand and its
// applier is parallel (compare_log_name without a master_log_file, 11.8.6), so
// the target fetches them itself. The source is gone before the clock starts.
type mariadbApplier struct {
	unplaced
	ds *dataset
}

func (w mariadbApplier) prepare(ctx context.Context, target *server.Instance) (err error) {
	dir, err := os.MkdirTemp(filepath.Dir(target.DataDir()), "source-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	source, err := w.startSource(ctx, target.Distribution(), dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Stop(context.WithoutCancel(ctx))) }()
	file, offset, _ := strings.Cut(w.ds.Position, ":")
	err = execute(ctx, target, fmt.Sprintf("CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT=%d, "+
		"MASTER_USER='root', MASTER_LOG_FILE='%s', MASTER_LOG_POS=%s, MASTER_USE_GTID=no, "+
		// A server since 11.4 refuses a source without a certificate.
		"MASTER_SSL=0, MASTER_SSL_VERIFY_SERVER_CERT=0", source.Port(), file, offset),
		"START SLAVE IO_THREAD")
	if err != nil {
		return err
	}
	if err := awaitFetched(ctx, source, target); err != nil {
		return err
	}
	return execute(ctx, target, "STOP SLAVE IO_THREAD")
}

// startSource starts a server whose binary log continues copies of the logs.
func (w mariadbApplier) startSource(ctx context.Context, d server.Distribution, dir string) (*server.Instance, error) {
	var index strings.Builder
	for _, path := range w.ds.logPaths() {
		name := filepath.Join(dir, filepath.Base(path))
		if err := copyFile(ctx, path, name); err != nil {
			return nil, err
		}
		index.WriteString(name + "\n")
	}
	base := filepath.Join(dir, strings.TrimSuffix(w.ds.Logs[0], filepath.Ext(w.ds.Logs[0])))
	if err := os.WriteFile(base+".index", []byte(index.String()), 0o640); err != nil {
		return nil, err
	}
	return server.Start(ctx, d, server.Options{Args: sourceSettings(d.Flavor, base, 1<<30)})
}

// awaitFetched waits until the target has the source's log to its end.
func awaitFetched(ctx context.Context, source, target *server.Instance) error {
	var end position
	err := withDB(source, func(db *sql.DB) (err error) {
		end, err = readPosition(ctx, db, server.MariaDB)
		return err
	})
	if err != nil {
		return err
	}
	at := fmt.Sprintf("%s:%d", end.file, end.offset)
	return withDB(target, func(db *sql.DB) error {
		for {
			s, err := record(ctx, db, "SHOW SLAVE STATUS")
			switch {
			case err != nil:
				return err
			case s["Last_IO_Error"] != "":
				return fmt.Errorf("fetch relay logs: %s", s["Last_IO_Error"])
			case s["Master_Log_File"]+":"+s["Read_Master_Log_Pos"] == at:
				return nil
			}
			if err := sleep(ctx, 100*time.Millisecond); err != nil {
				return err
			}
		}
	})
}

func (w mariadbApplier) replay(ctx context.Context, target *server.Instance, _ string) (Use, error) {
	return Use{}, withDB(target, func(db *sql.DB) error {
		if _, err := db.ExecContext(ctx, "START SLAVE SQL_THREAD"); err != nil {
			return err
		}
		return await(ctx, db, applierWait{
			query:  "SELECT -MASTER_GTID_WAIT('" + w.ds.EndGTID + "', 1)", // -1 on time-out
			status: "SHOW SLAVE STATUS",
			runs:   "Slave_SQL_Running",
		})
	})
}

// applierWait is how a server tells that its applier is at the end.
type applierWait struct {
	query  string // blocks for at most a second; 0 at the end, 1 before
	status string
	runs   string // column of status: Yes while the applier runs
}

// await waits without asking often: the query returns the moment the last
// transaction has committed.
func await(ctx context.Context, db *sql.DB, w applierWait) error {
	for {
		var notYet int
		if err := db.QueryRowContext(ctx, w.query).Scan(&notYet); err != nil {
			return err
		}
		if notYet == 0 {
			return nil
		}
		s, err := record(ctx, db, w.status)
		if err != nil {
			return err
		}
		if s[w.runs] != "Yes" {
			return fmt.Errorf("the applier has stopped: %s", s["Last_SQL_Error"])
		}
	}
}

func execute(ctx context.Context, i *server.Instance, statements ...string) error {
	return withDB(i, func(db *sql.DB) error {
		for _, s := range statements {
			if _, err := db.ExecContext(ctx, s); err != nil {
				return fmt.Errorf("%s: %w", s, err)
			}
		}
		return nil
	})
}

func copyFile(ctx context.Context, src, dst string) error {
	out, err := exec.CommandContext(ctx, "cp", "--reflink=auto", "--", src, dst).CombinedOutput()
	if err != nil {
		return fmt.Errorf("copy %s: %w: %s", src, err, out)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
