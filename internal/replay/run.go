// Package replay brings a target server from the state of a backup to a later
// one by replaying binary logs.
//
// The pipeline: binlog (events) → txn (transactions) → window (net changes by
// key, verbatim lanes) → job (chunks) → applier (N sessions) → checkpoint.
// Transactions that cannot be compacted are barriers: the window before them is
// closed and applied, then they are executed alone (serial). While one window
// is applied the next one is already being read.
package replay

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/lifeboat-db/lifeboat/internal/applier"
	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/checkpoint"
	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
)

// Run replays. It returns a report also where it fails, as far as it came.
func Run(ctx context.Context, opt Options) (*Report, error) {
	opt.setDefaults()
	began := time.Now()
	rep := &Report{SchemaVersion: 1, Workers: opt.Workers}
	if err := opt.Validate(); err != nil {
		return rep, err
	}
	start, err := ParseStart(opt.From)
	if err != nil {
		return rep, err
	}
	stop, err := ParseStop(opt.Until)
	if err != nil {
		return rep, err
	}
	names, err := ParseNames(opt.Skip)
	if err != nil {
		return rep, err
	}
	only, err := ParseOnly(opt.Only)
	if err != nil {
		return rep, err
	}
	rep.Only = only.String()
	r := &runner{opt: opt, start: start, stop: stop, until: stop.String(), names: names, only: only, rep: rep}
	defer r.close()
	err = r.run(ctx)
	rep.Seconds = since(began)
	return rep, r.explain(ctx, err)
}

// runner is one run. Fields that the applying goroutine changes are read by
// others only after wait.
type runner struct {
	opt   Options
	start Start
	stop  Stop
	until string // the stop as it was given
	rep   *Report

	set      *binlog.Set
	plan     *Plan
	cfg      *mysql.Config
	db       *sql.DB
	srv      dbconn.Server
	control  *sql.Conn        // holds the lock
	own      *applier.Session // for statements of ours; its session state is never the log's
	sessions []*applier.Session
	serial   *serial
	env      *env
	d        dialect

	state    checkpoint.State
	fresh    bool     // nothing has been applied by this checkpoint
	untested bool     // no window has been compared with the target yet
	created  bool     // the checkpoint schema is there
	skip     gtid.Set // the target had them before the first run
	names    Names    // not to be applied
	added    Names    // of names, those that no earlier run knew
	compared int64    // rows of suspects
	only     Only
	applied  gtid.Set // contained before the window being read
	sticky   map[string]bool
	win      *window
	winStart binlog.Position
	winEnd   binlog.Position
	winIDs   gtid.Set
	lanes    map[string]string
	pending  chan error        // the window that is being applied
	notRead  map[string]string // tables that --verify cannot read back, and why
	scratch  scratches         // tables of --verify and of the look before the first write
	readBack int64             // rows that were read back and compared
	again    binlog.Position   // end of a transaction that an earlier run began and may have left half done
	doneDDL  binlog.Position   // end of a DDL statement that was in flight and is done
}

func (r *runner) run(ctx context.Context) error {
	debug.SetMemoryLimit(r.opt.Memory + memorySlack)
	if err := r.open(ctx); err != nil {
		return err
	}
	if err := r.prepare(ctx); err != nil || r.opt.PlanOnly {
		return err
	}
	if r.opt.Accepted != nil {
		if err := r.opt.Accepted(); err != nil {
			return err
		}
	}
	err := r.begin(ctx)
	if err == nil {
		err = r.replay(ctx)
	}
	if r.win != nil { // its shards read the mapped files
		err = errors.Join(err, r.dropWindow())
	}
	err = errors.Join(err, r.wait())
	if err == nil {
		return r.end(ctx)
	}
	if r.fresh && r.created && !applier.Lost(err) {
		r.undo()
	} else {
		r.leave()
	}
	return err
}

// leave puts the settings back that only make a run faster, if the target
// still answers; the next run puts them back otherwise.
func (r *runner) leave() {
	if !r.created || r.plan == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = restoreSettings(ctx, r.db, r.settings(), false)
}

// memorySlack is what the garbage collector may use beyond the indexes: about
// a statement (1 MiB, and 4/3 of it in base64, and the driver's copy) for each
// worker, and the events that are on their way.
const memorySlack = 64 << 20

func (r *runner) close() {
	for _, s := range r.sessions {
		s.Close()
	}
	if r.serial != nil {
		r.serial.close()
	}
	if r.own != nil {
		r.own.Close()
	}
	if r.control != nil {
		_ = r.control.Close()
	}
	if r.db != nil {
		_ = r.db.Close()
	}
	if r.set != nil {
		_ = r.set.Close()
	}
}

// explain gives errors that come from everywhere their class.
func (r *runner) explain(ctx context.Context, err error) error {
	var e *fault.Error
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fault.New(fault.Interrupted, fmt.Errorf("interrupted (%w)", context.Cause(ctx)), "run the same command again to resume")
	case errors.As(err, &e):
		return err
	case dbconn.Classify(err) == dbconn.Full:
		return fault.New(fault.NoSpace, err, "free space on the target, then run the same command again to resume")
	case dbconn.Classify(err) == dbconn.Privilege:
		return fault.New(fault.Storage, err, "")
	case applier.Lost(err):
		return fault.New(fault.Interrupted, fmt.Errorf("the target went away: %w", err), "start it, then run the same command again to resume")
	default:
		return err
	}
}
