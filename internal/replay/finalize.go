package replay

import (
	"context"
	"fmt"
	"strings"

	"github.com/lifeboat-db/lifeboat/internal/checkpoint"
	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
)

// finalize makes the target a server like any other: its GTID state says what
// it contains, its settings are its own, and the checkpoint is gone.
func (r *runner) finalize(ctx context.Context) error {
	conn := r.own.Conn()
	var note string
	var err error
	if r.srv.Flavor == gtid.MariaDB {
		note, err = r.finalizeMariaDB(ctx, conn)
	} else {
		note, err = r.finalizeMySQL(ctx, conn)
	}
	if err != nil {
		return fmt.Errorf("finalize: %w", err)
	}
	r.rep.Notes = append(r.rep.Notes, note)
	if err := restoreSettings(ctx, conn, r.settings(), true); err != nil {
		return fmt.Errorf("finalize: %w", err)
	}
	if !r.opt.Restored {
		if err := checkpoint.Drop(ctx, conn); err != nil {
			return fmt.Errorf("finalize: drop the checkpoint: %w", err)
		}
	}
	r.rep.Finalized = true
	return nil
}

// finalizeMySQL adds to gtid_purged what the target contains and has not
// executed under its own name.
func (r *runner) finalizeMySQL(ctx context.Context, q dbconn.Querier) (string, error) {
	executed, err := r.targetGTIDs(ctx)
	if err != nil {
		return "", err
	}
	missing := r.applied.Clone()
	if err := missing.Subtract(executed); err != nil {
		return "", err
	}
	if missing.IsEmpty() {
		return "gtid_executed already holds everything that was replayed", nil
	}
	if _, err := q.ExecContext(ctx, "SET GLOBAL gtid_purged = '+"+missing.String()+"'"); err != nil {
		return "", fmt.Errorf("set gtid_purged: %w", err)
	}
	return "gtid_purged set: the target contains " + r.applied.String(), nil
}

// finalizeMariaDB sets gtid_slave_pos, so that the target can replicate from
// where it is; and, if its own binary log is empty, gtid_binlog_state, so that
// replicas can attach to it.
func (r *runner) finalizeMariaDB(ctx context.Context, q dbconn.Querier) (string, error) {
	if r.applied.IsEmpty() {
		return "the log has no GTIDs", nil
	}
	pos := r.applied.String()
	logBin, err := dbconn.Variable(ctx, q, "log_bin")
	if err != nil {
		return "", err
	}
	if strings.EqualFold(logBin, "ON") {
		if err := r.binlogState(ctx, q, pos); err != nil {
			return "", err
		}
	}
	if _, err := q.ExecContext(ctx, "SET GLOBAL gtid_slave_pos = '"+pos+"'"); err != nil {
		return "", fmt.Errorf("set gtid_slave_pos: %w", err)
	}
	return "gtid_slave_pos set: the target contains " + pos, nil
}

func (r *runner) binlogState(ctx context.Context, q dbconn.Querier, pos string) error {
	own, err := dbconn.Variable(ctx, q, "gtid_binlog_state")
	if err != nil {
		return err
	}
	if own != "" {
		set, err := gtid.ParseSet(gtid.MariaDB, own)
		if err != nil || !r.applied.ContainsSet(set) {
			r.rep.Notes = append(r.rep.Notes, "gtid_binlog_state left alone: the target's own binary log holds "+own)
			return nil //nolint:nilerr // several servers of a domain: not ours to judge
		}
	}
	for _, stmt := range []string{"RESET MASTER", "SET GLOBAL gtid_binlog_state = '" + pos + "'"} {
		if _, err := q.ExecContext(ctx, stmt); err != nil {
			return fmt.Errorf("%s: %w", stmt, err)
		}
	}
	return nil
}
