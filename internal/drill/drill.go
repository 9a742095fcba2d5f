// Package drill rehearses a recovery: the last backup and the whole archived log
// are restored into a private directory, every table is checked by the server
// itself, the time is taken, and all of it is removed again. A drill that has
// failed, or took longer than a recovery may take, says so; each leaves a line
// in a history, from which the time of the next recovery is predicted.
package drill

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/restore"
)

// Options of Run.
type Options struct {
	Restore   restore.Options // Dir, PlanOnly and Prove are the drill's
	Scratch   string          // directory in which the database is brought back
	Objective time.Duration   // how long a recovery may take; 0: as long as it wants
	History   string          // directory for history.jsonl; made if it is not there; empty: none
}

// Result is one drill. It is a line of the history.
type Result struct {
	SchemaVersion int       `json:"schema_version"`
	Set           string    `json:"set"`
	Repository    string    `json:"repository"`
	Host          string    `json:"host"`
	Time          time.Time `json:"time"`
	Seconds       float64   `json:"seconds"`
	Objective     float64   `json:"objective_seconds,omitempty"`
	Passed        bool      `json:"passed"`
	Error         string    `json:"error,omitempty"`
	Tables        int       `json:"tables"`
	BackupBytes   int64     `json:"backup_bytes"`
	LogBytes      int64     `json:"log_bytes"`
	Predicted     float64   `json:"predicted_seconds,omitempty"` // by what was measured before

	Cost    *restore.Cost   `json:"cost,omitempty"` // of one that has passed; the next ones are predicted by it
	Restore *restore.Report `json:"restore,omitempty"`
}

// Run carries a drill out. The result is there with an error as well, and in
// the history.
func Run(ctx context.Context, o Options) (*Result, error) {
	r := &Result{SchemaVersion: schemaVersion, Set: o.Restore.Set, Repository: o.Restore.Repository.Name(), Host: host(),
		Time: time.Now().UTC(), Objective: o.Objective.Seconds()}
	err := r.rehearse(ctx, o)
	r.Seconds = time.Since(r.Time).Seconds()
	if err == nil && o.Objective > 0 && r.Seconds > r.Objective {
		err = fault.New(fault.VerifyFailed, fmt.Errorf("drill: it took %.0f s, and may take %.0f s", r.Seconds, r.Objective),
			"take backups more often, or give it a faster machine")
	}
	r.Passed = err == nil
	if err != nil {
		r.Error = err.Error()
	}
	if ctx.Err() != nil { // broken off, not failed
		return r, err
	}
	return r, errors.Join(err, appendTo(o.History, historyName, r))
}

// host is the name of this machine; empty if it has none.
func host() string {
	name, _ := os.Hostname()
	return name
}

func (r *Result) rehearse(ctx context.Context, o Options) error {
	if err := os.MkdirAll(o.Scratch, 0o700); err != nil {
		return fault.FromOS(fmt.Errorf("drill: %w", err))
	}
	scratch, err := os.MkdirTemp(o.Scratch, "lifeboat-drill-*")
	if err != nil {
		return fault.FromOS(fmt.Errorf("drill: %w", err))
	}
	defer func() { _ = os.RemoveAll(scratch) }() // what stays is found by its name
	what := o.Restore
	what.Dir, what.PlanOnly = filepath.Join(scratch, "data"), false
	what.Predict = func(p *restore.Plan) { Predict(o.History, p) }
	what.Prove = func(ctx context.Context, db *sql.DB) (err error) {
		r.Tables, err = checkTables(ctx, db)
		return err
	}
	r.Restore, err = restore.Run(ctx, what)
	if p := r.Restore.Plan; p != nil {
		r.BackupBytes, r.LogBytes, r.Predicted = p.BackupBytes, p.LogBytes, p.Seconds
	}
	if c, ok := r.Restore.Cost(); ok && err == nil {
		r.Cost = &c
	}
	if err != nil {
		return err
	}
	return checkJumps(r.Restore)
}

// checkJumps: a restore tells of numbers that the server seems to have passed
// over, and goes on, since nobody may have a better log at that moment. A drill
// has time.
func checkJumps(rep *restore.Report) error {
	if rep.Replay == nil || rep.Replay.Plan == nil || len(rep.Replay.Plan.Jumps) == 0 {
		return nil
	}
	jumps := rep.Replay.Plan.Jumps
	return fault.New(fault.Gap, fmt.Errorf("drill: transactions may be missing in %d places of the log, the first at %s", len(jumps), jumps[0]),
		"if they were never there, as when somebody has set a number by hand, take a new backup: it begins behind that")
}

// checkTables has the server check every table of users.
func checkTables(ctx context.Context, db *sql.DB) (n int, err error) {
	names, err := tables(ctx, db)
	if err != nil {
		return 0, fmt.Errorf("drill: list tables: %w", err)
	}
	for _, name := range names {
		if err := checkTable(ctx, db, name); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func tables(ctx context.Context, db *sql.DB) (names []string, err error) {
	rows, err := db.QueryContext(ctx, `SELECT table_schema, table_name FROM information_schema.tables
WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema')`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var schema, table string
		if err := rows.Scan(&schema, &table); err != nil {
			return nil, err
		}
		names = append(names, dbconn.QuoteName(schema, table))
	}
	return names, rows.Err()
}

// checkTable: CHECK TABLE gives lines of table, operation, type and text; the
// last one is of type status, and OK if the table is.
func checkTable(ctx context.Context, db *sql.DB, name string) error {
	rows, err := db.QueryContext(ctx, "CHECK TABLE "+name)
	if err != nil {
		return fmt.Errorf("drill: check table %s: %w", name, err)
	}
	defer rows.Close()
	kind, text := "", ""
	for rows.Next() {
		var table, op string
		if err := rows.Scan(&table, &op, &kind, &text); err != nil {
			return fmt.Errorf("drill: check table %s: %w", name, err)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("drill: check table %s: %w", name, err)
	}
	if kind != "status" || text != "OK" {
		return fault.Errorf(fault.VerifyFailed, "drill: check table %s: %s: %s", name, kind, text)
	}
	return nil
}
