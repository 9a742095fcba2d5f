package clone

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/fault"
)

// Whole seconds; all but the last are waits of ours.
const (
	// holdWait bounds each of the three steps in which the server takes the lock:
	// what is written meanwhile waits behind it.
	holdWait = 2 * time.Second
	// holdPause is between two tries. It is less than holdMost.
	holdPause = 8 * time.Second
	// holdMost bounds how long commits wait, also for a Lifeboat that is gone and
	// has left its connection open: the server ends a connection that is idle for so
	// long, and its lock with it. The clone fails then.
	holdMost = 10 * time.Second
)

// Holds reports whether Take would have commits wait on a server. The account
// needs RELOAD then.
func Holds(ctx context.Context, db *sql.DB) (bool, error) {
	d := &donor{db: db, silence: defaultSilence, settings: map[string]string{}}
	var err error
	if d.settings["gtid_mode"], err = dbconn.Variable(ctx, db, "gtid_mode"); err != nil {
		return false, err
	}
	d.start, err = d.after(ctx)
	return d.mustHold(), err
}

// mustHold reports whether commits have to wait while the donor turns to REDO
// COPY: it has a binary log, and GTIDs do not tell where in it the copy is. (Of a
// server that has executed none yet they cannot tell that the copy has none.)
func (d *donor) mustHold() bool {
	return !d.start.Position.IsZero() && (d.settings["gtid_mode"] != "ON" || d.start.GTIDs.IsEmpty())
}

// hold has all commits wait, but for those under way: it returns when they have
// ended. All else that writes waits as well. A statement that runs for long is in
// its way, and so is DDL that waits for the end of PAGE COPY, as what builds
// indexes does (storage/innobase/clone/clone0snapshot.cc begin_ddl_state). So it is
// tried again and again for as long as patience, and then given up: DDL goes on
// when the clone has failed.
func (d *donor) hold(ctx context.Context, patience time.Duration) error {
	conn, err := d.db.Conn(ctx)
	if err != nil {
		return err
	}
	d.held = conn
	wait := min(holdWait, patience)
	_, err = conn.ExecContext(ctx, fmt.Sprintf("SET SESSION lock_wait_timeout = %d, SESSION wait_timeout = %d", wait/time.Second, holdMost/time.Second))
	if err != nil {
		return fmt.Errorf("hold commits: %w", err)
	}
	for begun := time.Now(); ; {
		d.since = time.Now()
		_, err := conn.ExecContext(ctx, "FLUSH TABLES WITH READ LOCK")
		if err == nil {
			return nil
		}
		err = fmt.Errorf("hold commits: FLUSH TABLES WITH READ LOCK: %w", err)
		var e *mysql.MySQLError
		switch {
		case !errors.As(err, &e) || e.Number != lockWaitTimeout:
			return denied(err)
		case time.Since(begun)+holdPause+wait > patience:
			return hinted(fault.Busy, ErrBusy, err, "run again when no statement and no DDL runs for long (SHOW PROCESSLIST), or set gtid_mode to ON: commits need not wait then")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(holdPause):
		}
	}
}

// letGo has commits go on. An error says that they may have gone on before.
func (d *donor) letGo() error {
	if d.held == nil {
		return nil
	}
	conn := d.held
	d.held = nil
	// They do not wait for a clone that is cancelled, either.
	ctx, cancel := context.WithTimeout(context.Background(), d.silence)
	defer cancel()
	_, err := conn.ExecContext(ctx, "UNLOCK TABLES")
	if err != nil {
		err = hinted(fault.Busy, ErrBusy, fmt.Errorf("commits were not held until the end: UNLOCK TABLES: %w", err), "run again later")
	}
	// Its lock goes with it, and nobody else gets it with its timeouts.
	_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	return err
}

// unmoved checks that nothing was written to the log while commits were held. A
// FLUSH statement may have been, and the log may have been rotated.
func unmoved(after, until Point) error {
	if after.Position == until.Position {
		return nil
	}
	return hinted(fault.Busy, ErrBusy, fmt.Errorf("the binary log went on from %s to %s while commits were held", after.Position, until.Position), "run again later")
}
