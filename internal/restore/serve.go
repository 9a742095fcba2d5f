package restore

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/atomicfile"
	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/backup/clone"
	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/checkpoint"
	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/server"
)

// account is the user that a restore works as. It is made when the private
// server starts and gone when the restore is done; its password stays the same,
// since replay takes a change of accounts for one of the log's.
const account = "lifeboat_restore"

// tell is called by what runs at the same time, too.
func (r *runner) tell(s Step) {
	r.telling.Lock()
	defer r.telling.Unlock()
	if s.Seconds > 0 {
		r.rep.Steps = append(r.rep.Steps, s)
	}
	if r.Step != nil {
		r.Step(s)
	}
}

// serve brings the target to the wanted state, by a private server.
func (r *runner) serve(ctx context.Context) error {
	if r.j.State == Unpacking {
		// A dump has the accounts, too: ours is made anew by the next start.
		if err := r.with(ctx, r.load); err != nil {
			return r.whyNotRead(ctx, err)
		}
		if err := r.reach(Unpacked); err != nil {
			return err
		}
	}
	if err := r.with(ctx, r.goOn); err != nil {
		return err
	}
	return r.finish()
}

// with does something with a private server on the target.
func (r *runner) with(ctx context.Context, do func(context.Context, *server.Instance) error) error {
	i, err := r.start(ctx)
	if err != nil {
		return err
	}
	err = do(ctx, i)
	return errors.Join(err, r.step("stop the server", 0, func() error {
		// A canceled restore, too, leaves a clean data directory.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
		defer cancel()
		return i.Stop(ctx)
	}))
}

// goOn brings what was unpacked to the wanted state.
func (r *runner) goOn(ctx context.Context, i *server.Instance) error {
	if err := r.checkZone(ctx, i); err != nil {
		return err
	}
	if r.j.Inexact {
		if err := r.learnBase(); err != nil {
			return err
		}
	}
	if err := r.replayAll(ctx, i); err != nil {
		return err
	}
	return r.leave(ctx, i)
}

// leave lets the caller look, and removes our account.
func (r *runner) leave(ctx context.Context, i *server.Instance) error {
	db, err := i.Open("")
	if err != nil {
		return err
	}
	if r.j.State == Replayed && r.Only == "" { // a part says in its place what it is
		err = checkpoint.Drop(ctx, db)
	}
	if err == nil && r.Prove != nil {
		err = r.step("prove it", 0, func() error { return r.Prove(ctx, db) })
	}
	if err == nil {
		err = r.untouched(ctx, db)
	}
	if err == nil {
		_, err = db.ExecContext(ctx, "DROP USER "+account+"@localhost")
	}
	return errors.Join(err, db.Close())
}

// learnBase reads which state the server has found that has recovered a clone,
// and plans the log from there: its files are here from an earlier one on.
func (r *runner) learnBase() error {
	at, err := clone.Recovered(r.w.target)
	if err != nil {
		return fmt.Errorf("restore: %w: %w", errTorn, err)
	}
	if at, err = settle(r.j.Base, r.j.Latest, at); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	r.j.Base.File, r.j.Base.Offset, r.j.Base.GTIDs = at.Position.File, at.Position.Offset, at.GTIDs.String()
	r.j.Inexact = false
	if err := r.w.write(r.j); err != nil {
		return err
	}
	p, err := MakePlan(r.inv, r.request())
	if err != nil {
		return err
	}
	r.rep.Plan.Base, r.rep.Plan.Legs, r.rep.Plan.LogBytes = p.Base, p.Legs, p.LogBytes
	return nil
}

// errTorn: the machine went down when a server was first started on a clone. The
// server syncs what it writes about it later than the removal of what makes it
// write, and does not begin anew (storage/innobase/clone/clone0api.cc, tried).
var errTorn = errors.New("the first start on a clone was cut off")

// settle says which point a clone is of that may be of any between two: see
// Taken.Settle. Of one that goes by its position GTIDs say nothing. Of version 1,
// without until, only those that the server has found are known.
func settle(after Base, until *backup.Until, found clone.Point) (clone.Point, error) {
	t := clone.Taken{After: clone.Point{Position: binlog.Position{File: after.File, Offset: after.Offset}}}
	if until == nil {
		t.Until.GTIDs = found.GTIDs
		return t.Settle(found)
	}
	t.Until.Position = binlog.Position{File: until.File, Offset: until.Offset}
	if until.ByPosition {
		found.GTIDs = gtid.Set{}
		return t.Settle(found)
	}
	var errs [2]error
	t.After.GTIDs, errs[0] = gtid.ParseSet(gtid.MySQL, after.GTIDs)
	t.Until.GTIDs, errs[1] = gtid.ParseSet(gtid.MySQL, until.GTIDs)
	if err := errors.Join(errs[0], errs[1]); err != nil {
		return clone.Point{}, err
	}
	return t.Settle(found)
}

// stopTime bounds a clean shutdown: it writes every dirty page.
const stopTime = 10 * time.Minute

func (r *runner) start(ctx context.Context) (i *server.Instance, err error) {
	init, err := r.initFile()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.Remove(init)) }()
	recorded, err := recordedOptions(filepath.Join(r.w.target, "backup-my.cnf"))
	if err != nil {
		return nil, err
	}
	args := append(recorded,
		fmt.Sprintf("--innodb-buffer-pool-size=%d", max(r.Memory/2, min(available()/4, sizeOf(r.w.target)))),
		"--max-allowed-packet=1G", // a row of the log may be as large
		"--event-scheduler=OFF", "--loose-skip-slave-start", "--loose-skip-replica-start",
		"--loose-clone=OFF",                  // the plugin would take what learnBase reads
		"--loose-persisted-globals-load=OFF", // what the source has set by SET PERSIST: it may be read-only
		"--init-file="+init,
	)
	args = append(args, withoutPasswordRules[r.dist.Flavor]...)
	if r.j.State != Unpacking { // what is loaded counts once the server has ended; a replay's last commit counts at once
		args = append(args, "--innodb-flush-log-at-trx-commit=1")
	}
	for name, value := range r.j.Settings {
		args = append(args, "--loose-"+strings.ReplaceAll(name, "_", "-")+"="+value)
	}
	if r.dist.Flavor == server.MySQL && r.rep.Plan.Base.GTIDs != "" {
		args = append(args, "--gtid-mode=ON", "--enforce-gtid-consistency=ON")
	}
	err = r.step("start a private server", 0, func() error {
		i, err = server.Start(ctx, r.dist, server.Options{DataDir: r.w.target, Args: append(args, r.ServerArgs...), Env: r.env(), SkipNetworking: true,
			User: account, Password: r.j.Password, Timeout: startTime})
		return r.whyNotStarted(err)
	})
	return i, err
}

// env has the private server be in the time zone that the source's system is in.
func (r *runner) env() []string {
	if r.TimeZone != "" {
		return []string{"TZ=" + r.TimeZone}
	}
	if r.j.Zone == nil {
		return nil
	}
	tz := r.j.Zone.TZ()
	if tz == "" {
		return nil // perhaps our own is it: checkZone knows
	}
	return []string{"TZ=" + tz}
}

// checkZone refuses to replay in another time zone than the source's.
func (r *runner) checkZone(ctx context.Context, i *server.Instance) error {
	if r.j.Zone == nil || r.TimeZone != "" || len(r.rep.Plan.Legs) == 0 {
		return nil
	}
	db, err := i.Open("")
	if err != nil {
		return err
	}
	zone, err := backup.ReadZone(ctx, db, r.j.Zone.At)
	if err == nil && !zone.Same(*r.j.Zone) {
		err = fault.New(fault.Usage, fmt.Errorf("restore: the source's system is in the time zone %s, and this machine has none that goes like it", r.j.Zone),
			"install the time zones (Debian's tzdata); or name it with --time-zone")
	}
	return errors.Join(err, db.Close())
}

// withoutPasswordRules turns off what a source has installed to refuse passwords, and
// so our account: it comes with the tables, and a MySQL from Oracle's packages has it
// from the start. (A component cannot be turned off.)
var withoutPasswordRules = map[server.Flavor][]string{
	server.MySQL: {
		"--loose-validate_password.policy=LOW", "--loose-validate_password.length=8", "--loose-validate_password.check_user_name=OFF",
		"--loose-validate-password=OFF", // the plugin
	},
	server.MariaDB: {"--loose-simple-password-check=OFF", "--loose-cracklib-password-check=OFF", "--loose-password-reuse-check=OFF"},
}

// whyNotStarted: a server that ends for want of space says so in many ways, in
// its error log.
func (r *runner) whyNotStarted(err error) error {
	if err == nil {
		return nil
	}
	for _, sign := range []string{"error 28", "rror: 28", "rrno: 28", "o space left", "isk is full", "OS errno 28"} {
		if strings.Contains(err.Error(), sign) {
			return fault.New(fault.NoSpace, fmt.Errorf("restore: %w", err), "free some space, then run it again")
		}
	}
	return fmt.Errorf("restore: %w", err)
}

// startTime bounds a server's start: it applies what is left of the redo log.
const startTime = time.Hour

// initFile holds statements that the server executes when it starts, as a user
// that may do anything: nobody knows the passwords in the backup.
func (r *runner) initFile() (string, error) {
	path := filepath.Join(r.w.dir, "init.sql")
	text := ""
	if r.j.Log == nil && len(r.j.Replayed) == 0 { // one in the backup is of another restore
		text = "DROP USER IF EXISTS " + account + "@localhost;\n"
	}
	text += fmt.Sprintf("CREATE USER IF NOT EXISTS %[1]s@localhost IDENTIFIED BY '%[2]s';\nGRANT ALL ON *.* TO %[1]s@localhost WITH GRANT OPTION;\n", account, r.j.Password)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return "", fault.FromOS(fmt.Errorf("restore: %w", err))
	}
	return path, nil
}

// recordedOptions are those that the data need: the [mysqld] group of the file
// that mariadb-backup leaves in the data directory. None: there is no such file.
func recordedOptions(path string) (args []string, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.FromOS(fmt.Errorf("restore: %w", err))
	}
	defer func() { _ = f.Close() }() // only read
	group := ""
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		switch {
		case strings.HasPrefix(line, "["):
			group = line
		case group == "[mysqld]" && line != "" && line[0] != '#':
			args = append(args, "--loose-"+line)
		}
	}
	return args, nil
}

// load executes a dump on the server, which is empty.
func (r *runner) load(_ context.Context, i *server.Instance) error {
	p := r.rep.Plan
	return r.step(stepLoad, p.BackupBytes, func() error {
		scratch, err := os.MkdirTemp(r.w.dir, "dump-*")
		if err != nil {
			return fault.FromOS(err)
		}
		defer func() { _ = os.RemoveAll(scratch) }()
		return backup.Unpack(r.held, r.Repository, p.Backups, filepath.Join(scratch, "d"), backup.UnpackOptions{Tools: r.tools(), Workers: r.Workers,
			Load: func(ctx context.Context, sql io.Reader) error { return r.client(ctx, i, sql) }})
	})
}

// client runs the vendor's client over statements.
func (r *runner) client(ctx context.Context, i *server.Instance, sql io.Reader) error {
	path := r.tools()["mysql"]
	if path == "" {
		return fault.New(fault.Usage, errors.New("the client mysql is not beside the server and not in PATH"), "install it, or name it")
	}
	cnf := filepath.Join(r.w.dir, "client.cnf")
	text := fmt.Sprintf("[client]\nuser=%s\npassword=%s\nsocket=%s\n", account, r.j.Password, i.Socket())
	if err := os.WriteFile(cnf, []byte(text), 0o600); err != nil {
		return fault.FromOS(err)
	}
	defer func() { _ = os.Remove(cnf) }()
	c := exec.CommandContext(ctx, path, "--defaults-file="+cnf, "--binary-mode", "--max-allowed-packet=1G")
	c.Stdin = sql
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(path), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// countWrites notes how many rows have been written on the server when the last
// one of the log was read back.
func (r *runner) countWrites(ctx context.Context, i *server.Instance) error {
	db, err := i.Open("")
	if err != nil {
		return err
	}
	n, err := writes(ctx, db, r.dist.Flavor)
	r.written = &n
	return errors.Join(err, db.Close())
}

// untouched checks that nothing has been written since: what was read back is
// what is handed over.
func (r *runner) untouched(ctx context.Context, db *sql.DB) error {
	if r.written == nil {
		return nil
	}
	n, err := writes(ctx, db, r.dist.Flavor)
	if err == nil && n != *r.written {
		return fault.New(fault.VerifyFailed, fmt.Errorf("restore: %d rows have been written on the private server after the log was replayed", n-*r.written),
			"find out who was on it; restore into a new directory")
	}
	return err
}

// writes is the number of rows that were inserted, updated and deleted on a
// server since it was started. What it does for itself is not in it (tried on
// MySQL 9.7, MariaDB 10.11 and 11.8: MariaDB has no other counters, and counts
// temporary tables apart; MySQL does not, and counts InnoDB's rows apart from
// those of its dictionary).
func writes(ctx context.Context, db *sql.DB, flavor server.Flavor) (n int64, err error) {
	names := "'Handler_write', 'Handler_update', 'Handler_delete'"
	if flavor == server.MySQL {
		names = "'Innodb_rows_inserted', 'Innodb_rows_updated', 'Innodb_rows_deleted'"
	}
	counters, err := dbconn.Pairs(ctx, db, "SHOW GLOBAL STATUS WHERE Variable_name IN ("+names+")")
	if err != nil || len(counters) != 3 {
		return 0, fmt.Errorf("restore: count what was written: %d of 3 counters: %w", len(counters), err)
	}
	for name, text := range counters {
		count, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("restore: count what was written: %s: %w", name, err)
		}
		n += count
	}
	return n, nil
}

// reach writes down what a server has done that has ended: not all that it wrote
// need be on disk.
func (r *runner) reach(s State) error {
	if err := atomicfile.SyncTree(r.w.target); err != nil {
		return fault.FromOS(fmt.Errorf("restore: %w", err))
	}
	r.j.State = s
	return r.w.write(r.j)
}

// finish writes down what was reached.
func (r *runner) finish() error {
	reached := r.j.Base
	r.j.Reached = &reached
	if err := r.reach(Done); err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(r.w.log()), os.MkdirAll(r.w.log(), 0o700)); err != nil {
		return fault.FromOS(fmt.Errorf("restore: %w", err))
	}
	r.rep.Reached, r.rep.Finished = &reached, true
	return nil
}
