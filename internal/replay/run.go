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
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"runtime"
	"runtime/debug"
	"slices"
	"syscall"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/lifeboat-db/lifeboat/internal/applier"
	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/checkpoint"
	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/txn"
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
	r := &runner{opt: opt, start: start, stop: stop, until: stop.String(), rep: rep}
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

	state      checkpoint.State
	fresh      bool // nothing has been applied by this checkpoint
	untested   bool // no window has been compared with the target yet
	created    bool // the checkpoint schema is there
	skip       gtid.Set
	applied    gtid.Set // contained before the window being read
	sticky     map[string]bool
	win        *window
	winStart   binlog.Position
	winEnd     binlog.Position
	winIDs     gtid.Set
	lanes      map[string]string
	pending    chan error        // the window that is being applied
	notRead    map[string]string // tables that --verify cannot read back, and why
	scratch    scratches         // tables of --verify and of the look before the first write
	readBack   int64             // rows that were read back and compared
	createDone binlog.Position   // end of a CREATE TABLE … SELECT of which only the rows are missing
	doneDDL    binlog.Position   // end of a DDL statement that was in flight and is done
}

func (r *runner) run(ctx context.Context) error {
	debug.SetMemoryLimit(r.opt.Memory + memorySlack)
	if err := r.open(ctx); err != nil {
		return err
	}
	if err := r.prepare(ctx); err != nil || r.opt.PlanOnly {
		return err
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
	if r.fresh && r.created && !isConnectionError(err) {
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

// open opens logs and target and makes sure that nobody else is at work.
func (r *runner) open(ctx context.Context) (err error) {
	if r.set, err = binlog.OpenSet(r.opt.Files); err != nil {
		return LogError(err)
	}
	if r.cfg, err = dbconn.Config(r.opt.Target); err != nil {
		return fail(Usage, err, "")
	}
	if r.db, err = dbconn.Open(r.cfg); err != nil {
		return err
	}
	if r.control, err = r.db.Conn(ctx); err != nil {
		return connectError(err)
	}
	if r.srv, err = dbconn.Identify(ctx, r.control); err != nil {
		return err
	}
	if err := r.reconnect(ctx); err != nil {
		return err
	}
	r.rep.Target = r.srv.String()
	r.d = dialect{r.srv.Flavor, r.srv.ServerID}
	if r.srv.Flavor != r.set.Flavor() {
		return fail(Failed, fmt.Errorf("the log is %s's (written by %s), the target is %s", r.set.Flavor(),
			r.set.Files[0].Format.ServerVersion, r.srv), "replay into a server of the same vendor")
	}
	return r.lock(ctx)
}

// reconnect opens the pool anew with what MySQL's sessions need: definitions
// with generated invisible keys, which the log's row images have too, and
// counters as they are now.
func (r *runner) reconnect(ctx context.Context) (err error) {
	if r.srv.Flavor != gtid.MySQL || !r.srv.AtLeast(8, 0) {
		return nil
	}
	r.cfg.Params = map[string]string{"information_schema_stats_expiry": "0"}
	if _, err := dbconn.Variable(ctx, r.control, gipkVariable); err == nil {
		r.cfg.Params[gipkVariable] = "ON" // since 8.0.30
	}
	_ = r.control.Close()
	_ = r.db.Close()
	if r.db, err = dbconn.Open(r.cfg); err != nil {
		return err
	}
	if r.control, err = r.db.Conn(ctx); err != nil {
		return connectError(err)
	}
	return nil
}

const gipkVariable = "show_gipk_in_create_table_and_information_schema"

func connectError(err error) error {
	if dbconn.Classify(err) == dbconn.Privilege {
		return fail(Storage, fmt.Errorf("connect to the target: %w", err), "check the account and its password")
	}
	return fail(Failed, fmt.Errorf("connect to the target: %w", err), "is the server running, and is the address right?")
}

// lock keeps a second run away. The lock belongs to the connection: it goes
// when the process does, as soon as the server notices, so it is waited for a
// little.
func (r *runner) lock(ctx context.Context) error {
	var got sql.NullInt64
	if _, err := r.control.ExecContext(ctx, "SET SESSION wait_timeout = 604800"); err != nil {
		return fmt.Errorf("lock the target: %w", err)
	}
	if err := r.control.QueryRowContext(ctx, "SELECT GET_LOCK('lifeboat.replay', 10)").Scan(&got); err != nil {
		return fmt.Errorf("lock the target: %w", err)
	}
	if got.Int64 == 1 {
		return r.awaitOthers(ctx)
	}
	var holder sql.NullInt64
	_ = r.control.QueryRowContext(ctx, "SELECT IS_USED_LOCK('lifeboat.replay')").Scan(&holder)
	return fail(Busy, fmt.Errorf("another lifeboat run holds this target (its connection id is %d)", holder.Int64),
		"wait for it; if it is dead and the connection stays, as behind a cut network, KILL it")
}

// awaitOthers waits for the sessions of an earlier run to end: what they have
// sent may still happen.
func (r *runner) awaitOthers(ctx context.Context) error {
	st, err := checkpoint.Load(ctx, r.control)
	if errors.Is(err, checkpoint.ErrNotFound) {
		err = nil
	}
	if err != nil {
		return err
	}
	r.opt.Progress.Begin("waiting for the last run's sessions to end", 0)
	return applier.AwaitOthers(ctx, r.control, st.Phase == checkpoint.DDL)
}

// prepare reads everything and decides what to do. It writes nothing.
func (r *runner) prepare(ctx context.Context) error {
	if err := r.checkWritable(ctx); err != nil {
		return err
	}
	have, err := r.targetGTIDs(ctx)
	if err != nil {
		return err
	}
	if err := r.findState(ctx, &have); err != nil {
		return err
	}
	r.opt.Progress.Begin("checking the log", r.set.Size())
	r.plan, err = makePlan(ctx, r.set, r.start, r.stop, have, r.opt.Memory, r.opt.Progress.Add)
	if err != nil {
		return err
	}
	r.rep.Plan = r.plan
	if err := r.initialSet(have); err != nil {
		return err
	}
	if len(r.plan.Refused) > 0 && !r.opt.PlanOnly {
		first := r.plan.Refused[0]
		return fail(Failed, fmt.Errorf("%s: %s cannot be replayed (%d such places)", first.Position, first.Reason, len(r.plan.Refused)),
			fmt.Sprintf("replay up to there with --until %s, then that transaction with mysqlbinlog, then on with --from", first.Position))
	}
	return r.checkPacket(ctx)
}

func (r *runner) checkWritable(ctx context.Context) error {
	for _, name := range []string{"super_read_only", "innodb_read_only"} {
		v, err := dbconn.Variable(ctx, r.control, name)
		if err == nil && (v == "ON" || v == "1") {
			return fail(Failed, fmt.Errorf("the target has %s=ON: nothing can be written", name), "SET GLOBAL "+name+" = OFF, or choose another target")
		}
	}
	return nil
}

// checkPacket makes sure that the largest row of the log passes.
func (r *runner) checkPacket(ctx context.Context) error {
	v, err := dbconn.Variable(ctx, r.control, "max_allowed_packet")
	if err != nil {
		return err
	}
	need := int64(r.plan.maxEvent+statementBytes)*4/3 + 4096
	var have int64
	_, _ = fmt.Sscan(v, &have)
	if have >= need {
		return nil
	}
	const most = 1 << 30
	if need > most {
		return fail(Failed, fmt.Errorf("the log holds an event of %d bytes, which no statement can carry", r.plan.maxEvent), "replay this part with mysqlbinlog")
	}
	return fail(Failed, fmt.Errorf("the log holds an event of %d bytes; the target's max_allowed_packet is %d", r.plan.maxEvent, have),
		fmt.Sprintf("SET GLOBAL max_allowed_packet = %d", min(most, (need+1<<20)&^(1<<10-1))))
}

// targetGTIDs is what the target says it contains.
func (r *runner) targetGTIDs(ctx context.Context) (gtid.Set, error) {
	query, flavor := "SELECT @@GLOBAL.gtid_executed", gtid.MySQL
	if r.srv.Flavor == gtid.MariaDB {
		query, flavor = "SELECT @@GLOBAL.gtid_current_pos", gtid.MariaDB
	}
	var text string
	if err := r.control.QueryRowContext(ctx, query).Scan(&text); err != nil {
		return gtid.Set{}, fmt.Errorf("ask the target's GTID state: %w", err)
	}
	return gtid.ParseSet(flavor, text)
}

// findState settles where to start: behind the checkpoint of an earlier run,
// or where the options or the target say.
func (r *runner) findState(ctx context.Context, have *gtid.Set) error {
	st, err := checkpoint.Load(ctx, r.control)
	switch {
	case errors.Is(err, checkpoint.ErrNotFound):
		r.fresh, r.untested = true, true
		if r.start.Auto {
			if have.IsEmpty() {
				return fail(Gap, errors.New("--from auto: the target says neither by GTIDs nor by a checkpoint where the log has to begin"),
					"give the position that the backup recorded: --from FILE:POSITION")
			}
			r.start = Start{Set: have.Clone(), HasSet: true}
		}
		r.state.From = r.start.String()
		if r.start.HasSet {
			r.state.Skip = r.start.Set.String()
		}
		return nil
	case err != nil:
		return err
	}
	return r.resume(st, have)
}

func (r *runner) resume(st checkpoint.State, have *gtid.Set) error {
	if !r.start.Auto && r.start.String() != st.From && r.start.String() != st.Next.String() {
		return fail(Failed, fmt.Errorf("the target holds the checkpoint of a replay that began at %s and has come to %s, not of one from %s", st.From, st.Next, r.start),
			"to go on with it, give --from auto; to begin anew, restore the backup again")
	}
	switch {
	case st.Phase == checkpoint.Unsafe:
		return fail(Failed, fmt.Errorf("the last run was interrupted inside changes that no transaction covers (from %s to %s): they may be applied, or half applied, or not", st.Next, st.End),
			"restore the backup again and replay anew")
	case len(st.TempTabs) > 0:
		return fail(Failed, fmt.Errorf("the last run was interrupted while the log had temporary tables open (%v): they are lost", st.TempTabs),
			"restore the backup again and replay anew")
	}
	set, err := gtid.ParseSet(r.srv.Flavor, st.GTIDs)
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if st.Skip != "" {
		if r.skip, err = gtid.ParseSet(r.srv.Flavor, st.Skip); err != nil {
			return fmt.Errorf("checkpoint: %w", err)
		}
	}
	*have = set
	r.state, r.created = st, true
	r.state.Finished = false
	r.rep.Resumed = true
	r.start = Start{Position: st.Next}
	if st.Finished && st.Until == r.stop.String() && !r.stop.IsEnd() {
		r.stop = Stop{Position: st.Next} // the same command again: there is nothing left to do
	}
	return nil
}

// initialSet is what the target contains before the replay begins.
func (r *runner) initialSet(have gtid.Set) error {
	r.applied = have.Clone()
	if r.rep.Resumed {
		return nil
	}
	if r.plan.hasSkip {
		r.skip = r.plan.skip.Clone()
		return r.applied.Union(r.skip)
	}
	before := r.plan.before.Clone()
	return r.applied.Union(before)
}

// begin opens the sessions, which shows whether the account may do what is
// needed, and only then writes the checkpoint.
func (r *runner) begin(ctx context.Context) error {
	format := r.set.Files[r.plan.fromFile].Format.ForApply(r.srv.ServerID)
	var err error
	if r.serial, err = newSerial(ctx, r.db, r.srv, format, r.d); err != nil {
		return r.sessionError(err)
	}
	if r.own, err = applier.NewSession(ctx, r.db, r.srv, format, sessionOwn); err != nil {
		return r.sessionError(err)
	}
	for i := range r.opt.Workers {
		s, err := applier.NewSession(ctx, r.db, r.srv, format, sessionWorker+i)
		if err != nil {
			return r.sessionError(err)
		}
		r.sessions = append(r.sessions, s)
	}
	if err := r.newEnv(ctx); err != nil {
		return err
	}
	if r.plan.DDL+r.plan.Statements > 0 {
		if _, err := fingerprint(ctx, r.own.Conn(), r.srv); err != nil {
			return r.sessionError(err) // shows before anything is written
		}
	}
	if err := r.openCheckpoint(ctx); err != nil {
		return err
	}
	notes, err := changeSettings(ctx, r.own.Conn(), r.settings())
	r.rep.Notes = append(r.rep.Notes, notes...)
	return r.sessionError(err)
}

// errReadOnly is ER_OPTION_PREVENTS_STATEMENT: --read-only.
const errReadOnly = 1290

func (r *runner) settings() []setting { return settingsFor(r.srv, r.plan.Bytes) }

func (r *runner) sessionError(err error) error {
	if dbconn.Number(err) == errReadOnly {
		return fail(Failed, err, "the target is read-only: SET GLOBAL read_only = OFF, or choose another target")
	}
	if dbconn.Classify(err) != dbconn.Privilege {
		return err
	}
	need := "BINLOG_ADMIN, SESSION_VARIABLES_ADMIN, SYSTEM_VARIABLES_ADMIN, PROCESS, and ALL on the databases of the log and on lifeboat"
	if r.srv.Flavor == gtid.MariaDB {
		need = "BINLOG ADMIN, BINLOG REPLAY, SUPER, PROCESS, and ALL on the databases of the log and on lifeboat"
	}
	return fail(Storage, fmt.Errorf("the account lacks a privilege: %w", err), "it needs "+need)
}

func (r *runner) newEnv(ctx context.Context) error {
	r.env = &env{q: r.db, files: r.set.Files, shards: max(1, min(4, runtime.NumCPU())), flavor: r.srv.Flavor}
	for range r.env.shards {
		r.env.folders = append(r.env.folders, newFolders(r.db))
	}
	r.lanes, r.notRead = map[string]string{}, map[string]string{}
	r.sticky = map[string]bool{}
	for _, n := range r.state.Verbatim {
		r.sticky[n] = true
	}
	return r.env.forget(ctx)
}

func (r *runner) openCheckpoint(ctx context.Context) error {
	if r.created {
		return nil
	}
	conn := r.own.Conn()
	if err := checkpoint.Create(ctx, conn); err != nil {
		return r.sessionError(err)
	}
	r.created = true
	r.state.Phase, r.state.Next = checkpoint.Idle, r.plan.From
	r.state.GTIDs = r.applied.String()
	r.state.ChunkLen = r.opt.ChunkBytes
	return checkpoint.Save(ctx, conn, r.state)
}

// replay walks the log from the plan's start to its stop.
func (r *runner) replay(ctx context.Context) error {
	r.opt.Progress.Begin("replaying", r.plan.Bytes)
	if err := r.resumeDDL(ctx); err != nil {
		return err
	}
	in := &binlog.Inflater{Limit: r.opt.Memory}
	for i := r.plan.fromFile; i <= r.plan.toFile; i++ {
		f := r.set.Files[i]
		offset := int64(0)
		if i == r.plan.fromFile {
			offset = r.plan.From.Offset
		}
		if i > r.plan.fromFile && f.Format.Created != 0 {
			if err := r.serverRestart(); err != nil {
				return err
			}
		}
		if err := r.file(ctx, i, txn.NewScanner(f, offset, in)); err != nil {
			return err
		}
	}
	return errors.Join(r.closeWindow(ctx), r.wait())
}

// serverRestart: the source's temporary tables ended with the server.
func (r *runner) serverRestart() error {
	if len(r.serial.threads) == 0 {
		return nil
	}
	for id, t := range r.serial.threads {
		t.s.Close()
		delete(r.serial.threads, id)
	}
	return nil
}

// shardLag is about how far the shards may be behind the scanner, in bytes:
// their queues hold up to 20,000 events.
const shardLag = 16 << 20

func (r *runner) file(ctx context.Context, i int, sc *txn.Scanner) error {
	released := sc.Offset()
	for {
		// What the shards may still have to read stays resident.
		if to := sc.Offset() - shardLag; to-released > progressStep {
			r.set.Files[i].Release(released, to)
			released = to
		}
		if i == r.plan.toFile && sc.Offset() >= r.plan.To.Offset {
			return nil
		}
		t, ok, err := sc.Next()
		if err != nil {
			return LogError(err)
		}
		if !ok || i == r.plan.toFile && t.Start >= r.plan.To.Offset {
			return nil
		}
		if err := r.transaction(ctx, i, &t); err != nil {
			return err
		}
	}
}

func (r *runner) transaction(ctx context.Context, file int, t *txn.Transaction) error {
	if r.inFlight(t) {
		return nil // the DDL that was in flight and turned out to be done
	}
	if t.HasID && r.skip.Contains(t.ID) {
		return nil
	}
	if t.Kind == txn.DDL || t.Kind == txn.Statements {
		return r.barrier(ctx, t)
	}
	if r.win == nil {
		r.openWindow(ctx, t)
	}
	err := r.win.add(ctx, file, t)
	if errors.Is(err, errNotAdmitted) {
		maps.Copy(r.sticky, r.win.sticky)
		if r.win.transactions == 0 {
			err = r.dropWindow()
		} else {
			err = r.closeWindow(ctx)
		}
		if err != nil {
			return err
		}
		return r.transaction(ctx, file, t)
	}
	if err != nil {
		return r.schemaError(err)
	}
	r.winEnd = t.EndPosition()
	if t.HasID {
		if err := r.winIDs.Add(t.ID); err != nil {
			return binlog.At(t.Position(), err)
		}
	}
	if r.pending == nil && r.state.Phase == checkpoint.Window {
		// A window that was announced ends where it was announced to end.
		if r.winEnd == r.state.End {
			return r.closeWindow(ctx)
		}
		return nil
	}
	if r.win.memory() > r.opt.Memory/2 || r.win.full() {
		return r.closeWindow(ctx)
	}
	return nil
}

func (r *runner) schemaError(err error) error {
	if errors.Is(err, ErrSchema) {
		return fail(Gap, err, "the start does not fit the backup, files of the log are missing, or the account may not see the table")
	}
	return LogError(err)
}

func (r *runner) openWindow(ctx context.Context, t *txn.Transaction) {
	r.win = newWindow(ctx, r.env, r.sticky)
	r.winStart, r.winEnd = t.Position(), t.Position()
	r.winIDs = gtid.Set{}
}

func (r *runner) dropWindow() error {
	err := r.win.finish()
	r.win = nil
	return err
}

// closeWindow turns the window into a job and begins to apply it, after the
// one before it is applied.
func (r *runner) closeWindow(ctx context.Context) error {
	w := r.win
	if w == nil {
		return nil
	}
	r.win = nil
	if err := w.finish(); err != nil {
		return r.windowError(err)
	}
	for _, f := range r.set.Files[r.plan.fromFile : r.plan.toFile+1] {
		f.Release(0, int64(len(f.Data)))
	}
	chunk := r.opt.ChunkBytes
	if r.pending == nil && r.state.Phase == checkpoint.Window {
		chunk = r.state.ChunkLen
	}
	j, err := newJob(ctx, w, chunk, r.opt.Memory, r.d)
	if err != nil {
		return err
	}
	for _, t := range w.tables {
		if t.why != "" {
			r.lanes[t.name.String()] = t.why
		}
	}
	start, end, ids := r.winStart, r.winEnd, r.winIDs
	if err := r.wait(); err != nil {
		return err
	}
	sticky := slices.Sorted(maps.Keys(w.sticky))
	r.pending = make(chan error, 1)
	go func() { r.pending <- r.apply(ctx, j, start, end, ids, sticky) }()
	return nil
}

func (r *runner) windowError(err error) error {
	return fail(Failed, err, "this is a defect of the log or of lifeboat: please report it; nothing of this window was written")
}

// wait waits for the window that is being applied.
func (r *runner) wait() error {
	if r.pending == nil {
		return nil
	}
	err := <-r.pending
	r.pending = nil
	return err
}

// apply announces a window, applies its chunks, and notes that it is done.
func (r *runner) apply(ctx context.Context, j *job, start, end binlog.Position, ids gtid.Set, sticky []string) error {
	conn := r.own.Conn()
	done, err := r.announce(ctx, conn, j, start, end, sticky)
	if err != nil {
		return err
	}
	if r.untested {
		if err := r.trial(ctx, j); err != nil {
			return err
		}
		r.fresh, r.untested = false, false
	}
	credit := r.credit(j)
	opt := applier.Options{Retries: 30, Applied: credit}
	for _, lanes := range [][]applier.Lane{j.first, j.second} {
		if err := applier.Apply(ctx, r.sessions, missing(lanes, done), opt); err != nil {
			return r.applyError(err)
		}
	}
	if err := r.autoIncrement(ctx, conn, j); err != nil {
		return err
	}
	if r.opt.Verify {
		if err := r.readBackAll(ctx, j); err != nil {
			return err
		}
	}
	if err := r.applied.Union(ids); err != nil {
		return err
	}
	st := &r.state
	st.Phase, st.Next, st.GTIDs = checkpoint.Idle, end, r.applied.String()
	st.Counts.Transactions += j.w.transactions
	st.Counts.Changes += j.changes()
	st.Counts.NetRows += j.netRows
	st.Counts.Windows++
	st.Counts.Bytes += j.w.bytes
	return checkpoint.Save(ctx, conn, *st)
}

// announce writes the window's end before its first chunk, or, when the run
// resumes, finds out which chunks are committed.
func (r *runner) announce(ctx context.Context, conn *sql.Conn, j *job, start, end binlog.Position, sticky []string) (map[uint32]bool, error) {
	st := &r.state
	if st.Phase == checkpoint.Window {
		if end != st.End {
			return nil, fail(Gap, fmt.Errorf("the checkpoint announces a window from %s to %s, the log gives one from %s to %s", st.Next, st.End, start, end),
				"give the same files as before, or more of the same log")
		}
		j.number = st.Window
		r.fresh, r.untested = false, false
		done, err := checkpoint.Chunks(ctx, conn, j.number)
		if err != nil {
			return nil, err
		}
		return done, j.checkUnsafe(done)
	}
	j.number = st.Window + 1
	if err := checkpoint.Forget(ctx, conn, j.number); err != nil {
		return nil, err
	}
	st.Phase, st.End, st.Window, st.Verbatim, st.ChunkLen = checkpoint.Window, end, j.number, sticky, j.chunkLen
	return nil, checkpoint.Save(ctx, conn, *st)
}

// missing leaves out the units whose chunks are committed.
func missing(lanes []applier.Lane, done map[uint32]bool) []applier.Lane {
	if len(done) == 0 {
		return lanes
	}
	var out []applier.Lane
	for _, l := range lanes {
		rest := slices.DeleteFunc(slices.Clone(l), func(u applier.Unit) bool {
			n, ok := chunkOf(u)
			return ok && done[n]
		})
		if len(rest) > 0 {
			out = append(out, rest)
		}
	}
	return out
}

func chunkOf(u applier.Unit) (uint32, bool) {
	switch u := u.(type) {
	case *rowsUnit:
		return u.chunk, true
	case *copiesUnit:
		return u.chunk, true
	case *verbatimUnit:
		return u.chunk, true
	default:
		return 0, false
	}
}

// credit spreads a window's bytes over its units, for the progress.
func (r *runner) credit(j *job) func(applier.Unit) {
	if j.units == 0 {
		r.opt.Progress.Add(j.w.bytes)
		return nil
	}
	each := j.w.bytes / int64(j.units)
	return func(applier.Unit) { r.opt.Progress.Add(each) }
}

// trial applies a few rows of each table and rolls them back: a wrong start
// shows here, while nothing is written yet.
func (r *runner) trial(ctx context.Context, j *job) error {
	err := applier.Apply(ctx, r.sessions[:1], j.probe, applier.Options{Retries: 10, Trial: true})
	if err == nil {
		err = r.checkBefore(ctx, j)
	}
	if err == nil {
		return nil
	}
	return r.applyError(err)
}

// undo leaves the target as it was found, when nothing of the log is applied.
func (r *runner) undo() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r.serial.close() // ends its transaction, if one is open
	s, err := applier.NewSession(ctx, r.db, r.srv, r.set.Files[r.plan.fromFile].Format.ForApply(r.srv.ServerID), sessionUndo)
	if err != nil {
		return
	}
	defer s.Close()
	if restoreSettings(ctx, s.Conn(), r.settings(), true) == nil && checkpoint.Drop(ctx, s.Conn()) == nil {
		r.created = false
	}
}

func (r *runner) applyError(err error) error {
	switch {
	case applier.IsSchemaMismatch(err):
		return fail(Gap, fmt.Errorf("%w (a table is missing or has other columns than in the log, or the account may not write it)", err),
			"the server's error log says which; the start may not fit the backup")
	case dbconn.Classify(err) == dbconn.Conflict:
		return fail(Gap, fmt.Errorf("%w: the target does not hold the rows that the log begins with", err),
			"the start does not fit the backup, or the target was changed since")
	case dbconn.Classify(err) == dbconn.Privilege:
		return r.sessionError(err)
	default:
		return err
	}
}

// barrier executes a transaction alone, after everything before it.
func (r *runner) barrier(ctx context.Context, t *txn.Transaction) error {
	if err := errors.Join(r.closeWindow(ctx), r.wait()); err != nil {
		return err
	}
	conn := r.own.Conn()
	if err := r.announceBarrier(ctx, conn, t); err != nil {
		return err
	}
	if t.HasID {
		if err := r.applied.Add(t.ID); err != nil {
			return binlog.At(t.Position(), err)
		}
	}
	after := r.state
	after.Phase, after.Next, after.Before, after.GTIDs = checkpoint.Idle, t.EndPosition(), "", r.applied.String()
	after.Counts.Barriers++
	after.Counts.Transactions++
	after.Counts.Bytes += t.End - t.Start
	fresh := r.fresh
	r.fresh = false // what is sent may happen, even if no answer comes
	err := r.serial.run(ctx, t, r.createDone == t.EndPosition(), func(q checkpointExecer) error { return checkpoint.Save(ctx, q, after) })
	if err != nil {
		r.fresh = fresh && dbconn.Number(err) != 0 // the server says that it did not
		return r.barrierError(t, err)
	}
	after.TempTabs = r.serial.openTemporary()
	again := r.state.Phase != checkpoint.Idle || !slices.Equal(after.TempTabs, r.state.TempTabs)
	r.state = after
	r.opt.Progress.Add(t.End - t.Start)
	if again {
		if err := checkpoint.Save(ctx, conn, after); err != nil {
			return err
		}
	}
	if t.Kind == txn.DDL || t.CreatesTable() {
		return errors.Join(r.scratch.drop(ctx, r.own), r.env.forget(ctx))
	}
	return nil
}

func (r *runner) barrierError(t *txn.Transaction, err error) error {
	if isConnectionError(err) || errors.Is(err, context.Canceled) {
		return binlog.At(t.Position(), err)
	}
	class := Failed
	if r.fresh {
		class = Gap // the first statement of all does not fit the target
	}
	return fail(class, fmt.Errorf("%s: %w", t.Position(), err),
		"the statement went well on the source: the start may not fit the backup, or the target's version refuses it")
}

// announceBarrier notes what is about to happen, where a crash would leave
// open whether it did: DDL, and changes of tables without transactions.
func (r *runner) announceBarrier(ctx context.Context, conn *sql.Conn, t *txn.Transaction) error {
	if r.createDone == t.EndPosition() {
		return nil // announced by the run that made the table
	}
	st := &r.state
	st.End = t.EndPosition()
	switch {
	case t.Kind == txn.DDL || t.CreatesTable():
		var err error
		if st.Before, err = fingerprint(ctx, conn, r.srv); err != nil {
			return err
		}
		st.Phase = checkpoint.DDL
	case r.env.unsafe || t.RolledBack:
		st.Phase = checkpoint.Unsafe
	default:
		return nil // the checkpoint commits with the statements
	}
	return checkpoint.Save(ctx, conn, *st)
}

// resumeDDL finds out whether a DDL statement that was in flight has happened.
func (r *runner) resumeDDL(ctx context.Context) error {
	st := &r.state
	if st.Phase != checkpoint.DDL {
		return nil
	}
	now, err := fingerprint(ctx, r.control, r.srv)
	if err != nil {
		return err
	}
	if now == st.Before {
		st.Phase = checkpoint.Idle // it did not: execute it
		return nil
	}
	r.doneDDL = st.End
	return nil
}

// inFlight passes over the DDL that resumeDDL found to be done.
func (r *runner) inFlight(t *txn.Transaction) bool {
	if r.doneDDL.IsZero() {
		return false
	}
	if t.EndPosition() == r.doneDDL {
		r.doneDDL = binlog.Position{}
		if r.srv.Flavor == gtid.MariaDB && t.CreatesTable() {
			// The table is made; its rows commit with the checkpoint, so they are
			// not there yet.
			r.createDone = t.EndPosition()
			return false
		}
		r.state.Phase, r.state.Next = checkpoint.Idle, t.EndPosition()
		r.state.Counts.Barriers++
		r.state.Counts.Transactions++
		if t.HasID {
			_ = r.applied.Add(t.ID)
		}
		r.state.GTIDs = r.applied.String()
	}
	return true
}

// end proves and reports, and makes the target ready for use if asked.
func (r *runner) end(ctx context.Context) error {
	conn := r.own.Conn()
	if err := r.scratch.drop(ctx, r.own); err != nil {
		return err
	}
	r.state.Next, r.state.Finished, r.state.Until = r.plan.To, true, r.until
	r.state.GTIDs = r.applied.String()
	if err := checkpoint.Save(ctx, conn, r.state); err != nil {
		return err
	}
	c := r.state.Counts
	rep := r.rep
	rep.Transactions, rep.RowChanges, rep.NetRows = c.Transactions, c.Changes, c.NetRows
	rep.Windows, rep.Barriers, rep.Bytes, rep.GTIDs = c.Windows, c.Barriers, c.Bytes, r.state.GTIDs
	for _, n := range slices.Sorted(maps.Keys(r.lanes)) {
		rep.Lanes = append(rep.Lanes, LaneReport{n, r.lanes[n]})
	}
	if r.plan.Incomplete != "" {
		rep.Notes = append(rep.Notes, "left out: "+r.plan.Incomplete)
	}
	if r.plan.Open != "" {
		rep.Notes = append(rep.Notes, r.plan.Open)
	}
	if err := restoreSettings(ctx, conn, r.settings(), r.opt.Finalize); err != nil {
		rep.Notes = append(rep.Notes, err.Error())
	}
	rep.Finished = true
	rep.Verified = r.proof()
	if !r.opt.Finalize {
		return nil
	}
	r.opt.Progress.Begin("finalizing", 0)
	return r.finalize(ctx)
}

// proof lists what was checked on the way; none of it can have failed here.
func (r *runner) proof() []Check {
	return []Check{
		{"stop", true, "reached exactly: " + r.plan.To.String()},
		{"checksums", r.allChecksums(), "CRC32 of every event read"},
		{"continuity", true, fmt.Sprintf("%d files, no gap", len(r.plan.Files))},
		{"chunks", true, "every chunk committed with its checkpoint"},
		{"strict", true, "every insert found no row, every update and delete found its row"},
		r.readBackCheck(),
	}
}

func (r *runner) readBackCheck() Check {
	if !r.opt.Verify {
		return Check{"read-back", false, "last image of every touched key (--verify)"}
	}
	text := fmt.Sprintf("read back and compared: %d rows", r.readBack)
	for _, n := range slices.Sorted(maps.Keys(r.notRead)) {
		text += fmt.Sprintf("; not %s (%s)", n, r.notRead[n])
	}
	return Check{"read-back", true, text}
}

func (r *runner) allChecksums() bool {
	for _, f := range r.set.Files[r.plan.fromFile : r.plan.toFile+1] {
		if !f.Format.Checksum {
			return false
		}
	}
	return true
}

// explain gives errors that come from everywhere their class.
func (r *runner) explain(ctx context.Context, err error) error {
	var e *Error
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fail(Interrupted, fmt.Errorf("interrupted (%w)", context.Cause(ctx)), "run the same command again to resume")
	case errors.As(err, &e):
		return err
	case dbconn.Classify(err) == dbconn.Full:
		return fail(NoSpace, err, "free space on the target, then run the same command again to resume")
	case dbconn.Classify(err) == dbconn.Privilege:
		return fail(Storage, err, "")
	case isConnectionError(err):
		return fail(Interrupted, fmt.Errorf("the target went away: %w", err), "start it, then run the same command again to resume")
	default:
		return err
	}
}

// isConnectionError tells a lost server from errors of our own.
func isConnectionError(err error) bool {
	var ne *net.OpError
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, mysql.ErrInvalidConn) || errors.As(err, &ne) ||
		errors.Is(err, io.EOF) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) ||
		dbconn.Number(err) != 0 && dbconn.Classify(err) == dbconn.Connection
}
