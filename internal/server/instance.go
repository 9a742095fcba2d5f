package server

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-sql-driver/mysql"
)

// Options say how to start a server. The zero value is a good test server.
type Options struct {
	// DataDir is the data directory. One that is missing or empty becomes a
	// fresh one; one that holds a server's data is used as it is. Empty: a
	// new one, removed by Stop.
	DataDir string

	// Args are further options of mysqld. They come after ours and so
	// overrule them. The binary log is off unless one of them is --log-bin.
	Args []string

	// Port to listen on at 127.0.0.1. Zero: one that is free.
	Port int

	// SkipNetworking leaves the Unix socket as the only way in.
	SkipNetworking bool

	// Env is added to the environment that the server inherits, as NAME=VALUE.
	Env []string

	// User and Password are whose connections Open and DSN make. Empty: root,
	// without one.
	User, Password string

	// Timeout is how long the server may take until it answers, crash
	// recovery included. Zero: two minutes.
	Timeout time.Duration
}

// Instance is one private server. Its methods are not safe for concurrent
// use, except those that only return a value.
type Instance struct {
	dist    Distribution
	args    []string
	env     []string
	timeout time.Duration

	user     string
	password string

	run     *runDir
	dataDir string
	ownData bool // dataDir is ours to remove
	port    int  // 0: no networking
	ownPort bool // port was chosen by us

	proc *process // nil when the server is not running
}

// process is a started mysqld. err is valid once done is closed.
type process struct {
	pid  int
	done chan struct{}
	err  error
}

// Start starts a server and returns when it answers. If it does not come up,
// the error has the end of its error log.
func Start(ctx context.Context, d Distribution, o Options) (*Instance, error) {
	i := &Instance{
		dist: d, args: slices.Clone(o.Args), env: slices.Clone(o.Env), timeout: o.Timeout,
		dataDir: o.DataDir, ownData: o.DataDir == "", port: o.Port,
		user: o.User, password: o.Password,
	}
	if i.user == "" {
		i.user = "root"
	}
	if i.timeout == 0 {
		i.timeout = 2 * time.Minute
	}
	if err := i.start(ctx, o.SkipNetworking); err != nil {
		return nil, errors.Join(fmt.Errorf("server: start %s: %w", d.Name, err), i.remove())
	}
	return i, nil
}

func (i *Instance) start(ctx context.Context, skipNetworking bool) error {
	run, err := newRunDir()
	if err != nil {
		return err
	}
	i.run = run
	if err := i.prepareDataDir(ctx); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	if skipNetworking {
		i.port = 0
		return i.launch(ctx)
	}
	if i.port != 0 {
		return i.launch(ctx)
	}
	i.ownPort = true
	return i.launchOnFreePort(ctx)
}

// launchOnFreePort tries again when somebody took the port between our
// choosing it and the server's binding it.
func (i *Instance) launchOnFreePort(ctx context.Context) error {
	for attempt := 1; ; attempt++ {
		port, err := freePort(ctx)
		if err != nil {
			return err
		}
		i.port = port
		err = i.launch(ctx)
		if err == nil || attempt == 5 || !strings.Contains(err.Error(), portInUse) {
			return err
		}
	}
}

// portInUse is what both vendors write to the error log (sql/conn_handler/
// socket_connection.cc, sql/mysqld.cc).
const portInUse = "Do you already have another"

func freePort(ctx context.Context) (int, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err := errors.Join(err, l.Close()); err != nil {
		return 0, err
	}
	return strconv.Atoi(port)
}

func (i *Instance) prepareDataDir(ctx context.Context) (err error) {
	if i.dataDir == "" {
		i.dataDir = filepath.Join(i.run.path, "data")
	}
	if i.dataDir, err = filepath.Abs(i.dataDir); err != nil {
		return err
	}
	empty, err := isEmpty(i.dataDir)
	if err != nil {
		return err
	}
	if empty {
		fresh, err := template(ctx, i.dist, birth(i.args))
		if err != nil {
			return err
		}
		return copyDir(ctx, fresh, i.dataDir)
	}
	if _, err := os.Stat(filepath.Join(i.dataDir, "mysql")); err != nil {
		return fmt.Errorf("%s is neither empty nor a server's: %w", i.dataDir, err)
	}
	return nil
}

// defaults are the options every server gets: right for tests on two cores,
// where a server may be killed but the machine stays up.
func defaults(d Distribution) []string {
	args := []string{
		"--no-defaults",
		"--innodb-buffer-pool-size=32M", // a larger one takes longer to set up than most tests need it
		"--innodb-flush-log-at-trx-commit=2",
		"--sync-binlog=0",
		"--performance-schema=OFF",
		"--secure-file-priv=",
		"--skip-name-resolve",
	}
	switch d.Flavor {
	case MariaDB:
		args = append(args, "--innodb-log-file-size=48M")
	case MySQL:
		args = append(args, "--loose-mysqlx=OFF")
	}
	if os.Geteuid() == 0 {
		args = append(args, "--user=root") // both vendors refuse root unasked
	}
	return args
}

// arguments are mysqld's, our own before the caller's.
func (i *Instance) arguments() []string {
	args := append(defaults(i.dist),
		"--datadir="+i.dataDir,
		"--socket="+i.Socket(),
		"--pid-file="+filepath.Join(i.run.path, "pid"),
		"--tmpdir="+filepath.Join(i.run.path, "tmp"),
	)
	if i.port == 0 {
		args = append(args, "--skip-networking")
	} else {
		args = append(args, "--bind-address=127.0.0.1", "--port="+strconv.Itoa(i.port))
	}
	if !slices.ContainsFunc(i.args, asksForBinlog) {
		args = append(args, "--skip-log-bin") // MySQL has it on
	}
	return append(args, i.args...)
}

func asksForBinlog(arg string) bool {
	name, _, _ := strings.Cut(arg, "=")
	return strings.ReplaceAll(name, "_", "-") == "--log-bin"
}

// launch starts the process and waits until it answers.
func (i *Instance) launch(ctx context.Context) error {
	// The size tells this start's messages from those of earlier ones.
	logStart := fileSize(i.ErrorLog())
	proc, err := spawn(ctx, i.dist.mysqld, i.arguments(), i.env, i.ErrorLog(), i.run.lock)
	if err != nil {
		return err
	}
	i.proc = proc
	if err := i.awaitReady(ctx); err != nil {
		return errors.Join(fmt.Errorf("%w\n%s", err, i.logTail(logStart)), i.Kill())
	}
	return nil
}

// spawn starts a program with its output appended to a log file. It inherits
// the lock, which so is held until it ends.
//
// The kernel sends the signal that ties the server's life to ours when the
// thread that started it ends, not the process; so that thread belongs to the
// server until the server is gone.
func spawn(ctx context.Context, program string, args, env []string, logFile string, lock *os.File) (*process, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return nil, err
	}
	p := &process{done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer func() { _ = log.Close() }()
		// Not bound to ctx: the server outlives the call that starts it.
		cmd := exec.CommandContext(context.WithoutCancel(ctx), program, args...)
		cmd.Stdout, cmd.Stderr = log, log
		cmd.Env = append(os.Environ(), env...)
		cmd.ExtraFiles = []*os.File{lock}
		cmd.SysProcAttr = childAttributes()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		p.pid = cmd.Process.Pid
		started <- nil
		p.err = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// awaitReady waits until the server answers on its socket or has ended.
func (i *Instance) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, i.timeout,
		fmt.Errorf("no answer within %v", i.timeout))
	defer cancel()
	db, err := i.quietly()
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	denied := time.Time{} // since when it answers, and does not let us in
	for {
		select {
		case <-i.proc.done:
			return fmt.Errorf("mysqld ended: %w", exitError(i.proc.err))
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
		err := db.PingContext(ctx)
		var refusal *mysql.MySQLError
		switch {
		case err == nil:
			return nil
		case !errors.As(err, &refusal) || refusal.Number != accessDenied:
			denied = time.Time{}
		case denied.IsZero():
			denied = time.Now()
		case time.Since(denied) > deniedTime: // it has executed its init-file before it listens
			return err
		}
	}
}

// accessDenied is ER_ACCESS_DENIED_ERROR.
const accessDenied = 1045

// deniedTime is how long a server may refuse our account until no more is waited for.
const deniedTime = 2 * time.Second

// quietly opens a pool whose driver does not write a message to the standard
// error for each connection that fails: while a server starts many do.
func (i *Instance) quietly() (*sql.DB, error) {
	c := i.config("")
	c.Logger = &mysql.NopLogger{}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

func exitError(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

func fileSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// logTail returns the end of the error log after an offset.
func (i *Instance) logTail(from int64) string {
	text, err := os.ReadFile(i.ErrorLog())
	if err != nil {
		return "\t" + err.Error()
	}
	return lastLines(text[min(from, int64(len(text))):], 30)
}

// Distribution returns what the server is.
func (i *Instance) Distribution() Distribution { return i.dist }

// Socket returns the path of the Unix socket.
func (i *Instance) Socket() string { return filepath.Join(i.run.path, "s") }

// Port returns the port at 127.0.0.1, or 0 without networking.
func (i *Instance) Port() int { return i.port }

// DataDir returns the absolute path of the data directory.
func (i *Instance) DataDir() string { return i.dataDir }

// ErrorLog returns the path of the server's error log. Stop removes it.
func (i *Instance) ErrorLog() string { return filepath.Join(i.run.path, "error.log") }

// PID returns the server's process id, or 0 when it is not running.
func (i *Instance) PID() int {
	if !i.running() {
		return 0
	}
	return i.proc.pid
}

func (i *Instance) running() bool {
	if i.proc == nil {
		return false
	}
	select {
	case <-i.proc.done:
		return false
	default:
		return true
	}
}

// DSN returns a data source name for the Go MySQL driver, over the Unix socket:
// root without password, or the user of the options. The database may be empty.
func (i *Instance) DSN(database string) string {
	return i.config(database).FormatDSN()
}

func (i *Instance) config(database string) *mysql.Config {
	c := mysql.NewConfig()
	c.User, c.Passwd, c.Net, c.Addr, c.DBName = i.user, i.password, "unix", i.Socket(), database
	return c
}

// Open opens a pool of connections to the server.
func (i *Instance) Open(database string) (*sql.DB, error) {
	return sql.Open("mysql", i.DSN(database))
}

// Shutdown shuts the server down cleanly and waits until it is gone. Data
// directory, socket and port stay for Restart. When ctx ends first, the server
// is killed and an error returned. Close your connections before: MySQL gives
// each that is open two seconds to end.
func (i *Instance) Shutdown(ctx context.Context) error {
	if !i.running() {
		return nil
	}
	if err := syscall.Kill(i.proc.pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("server: shut down %s: %w", i.dist.Name, err)
	}
	select {
	case <-i.proc.done:
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("server: shut down %s: killed it: %w", i.dist.Name, ctx.Err()), i.Kill())
	}
	if i.proc.err != nil {
		return fmt.Errorf("server: shut down %s: %w\n%s", i.dist.Name, i.proc.err, i.logTail(0))
	}
	return nil
}

// Kill kills the server as a crash would, and waits until it is gone. The
// data directory stays as it is.
func (i *Instance) Kill() error {
	if !i.running() {
		return nil
	}
	if err := syscall.Kill(i.proc.pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("server: kill %s: %w", i.dist.Name, err)
	}
	<-i.proc.done
	return nil
}

// Restart starts the server again on the same data directory, socket and
// port, after a clean shutdown if it is still running.
func (i *Instance) Restart(ctx context.Context) error {
	if err := i.Shutdown(ctx); err != nil {
		return err
	}
	if err := i.launch(ctx); err != nil {
		return fmt.Errorf("server: restart %s: %w", i.dist.Name, err)
	}
	return nil
}

// Stop stops the server, waits until it is gone and removes whatever Start
// made: the data directory only if the caller did not name one. A data
// directory that stays is left as a clean shutdown leaves it; a server whose
// data goes with it is killed, which saves a second. The instance cannot be
// used afterwards.
func (i *Instance) Stop(ctx context.Context) error {
	if i.ownData {
		return errors.Join(i.Kill(), i.remove())
	}
	return errors.Join(i.Shutdown(ctx), i.remove())
}

func (i *Instance) remove() error {
	if i.run == nil {
		return nil // Start got nowhere
	}
	return i.run.remove()
}

// BinaryLogs returns the absolute paths of the binary logs, oldest first. The
// server must be running.
func (i *Instance) BinaryLogs(ctx context.Context) ([]string, error) {
	logs, err := i.binaryLogs(ctx)
	if err != nil {
		return nil, fmt.Errorf("server: binary logs of %s: %w", i.dist.Name, err)
	}
	return logs, nil
}

func (i *Instance) binaryLogs(ctx context.Context) (paths []string, err error) {
	db, err := i.Open("")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var base string
	if err := db.QueryRowContext(ctx, "SELECT @@log_bin_basename").Scan(&base); err != nil {
		return nil, err
	}
	if !filepath.IsAbs(base) {
		base = filepath.Join(i.dataDir, base)
	}
	names, err := firstColumn(ctx, db, "SHOW BINARY LOGS")
	for _, name := range names {
		paths = append(paths, filepath.Join(filepath.Dir(base), name))
	}
	return paths, err
}

// firstColumn reads the first column of a result whose number of columns
// depends on the server's version.
func firstColumn(ctx context.Context, db *sql.DB, query string) ([]string, error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	cells := make([]sql.RawBytes, len(columns))
	targets := make([]any, len(columns))
	for n := range cells {
		targets[n] = &cells[n]
	}
	var values []string
	for rows.Next() {
		if err := rows.Scan(targets...); err != nil {
			return nil, err
		}
		values = append(values, string(cells[0]))
	}
	return values, rows.Err()
}
