package bench

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/repository/store"
	"github.com/lifeboat-db/lifeboat/internal/server"
)

// ArchiveConfig says how it is measured what archiving costs the source, and
// how fast an archive catches up.
type ArchiveConfig struct {
	Common
	Rounds  int // turns of each way
	Settle  int // most seconds in which an archiver catches up with what came in the others' turns; they do not count
	Seconds int // of a turn that count
	Behind  int // seconds of writes that are then caught up with
	// Together: all processes share all processors. Else the source has one for
	// itself, and workload and archivers another one, as if each were on a
	// machine of its own.
	Together bool
	Place    string // directory for what is archived; it should not be on the source's disk
}

// DefaultArchive is the published measurement.
func DefaultArchive() ArchiveConfig {
	return ArchiveConfig{Common: defaults(), Rounds: 40, Settle: 20, Seconds: 3, Behind: 60, Place: "/dev/shm"}
}

// QuickArchive shows that it runs at all.
func QuickArchive() ArchiveConfig {
	c := ArchiveConfig{Common: defaults(), Rounds: 1, Settle: 20, Seconds: 1, Behind: 2, Place: os.TempDir()}
	c.TableSize, c.Results = 1000, ""
	return c
}

// Validate says what is wrong with the configuration.
func (c ArchiveConfig) Validate() error {
	if err := errors.Join(c.validate(), c.needLifeboat()); err != nil {
		return err
	}
	if info, err := os.Stat(c.Place); err != nil || !info.IsDir() {
		return fmt.Errorf("%s, where archives are to go, is no directory", c.Place)
	}
	if c.Rounds < 1 || c.Settle < 1 || c.Seconds < 1 || c.Behind < 1 {
		return fmt.Errorf("out of range: %d rounds of %d + %d s, %d s to catch up with", c.Rounds, c.Settle, c.Seconds, c.Behind)
	}
	return nil
}

// The archivers that are compared.
const (
	nobody      = "none"
	mysqlbinlog = "mysqlbinlog" // --raw --stop-never: no checks, no compression, no sync
	ours        = "lifeboat"    // archive run, into a directory
)

var archivers = []string{nobody, mysqlbinlog, ours}

// RunArchive measures on every distribution.
func RunArchive(ctx context.Context, c ArchiveConfig) (reports []ArchiveReport, err error) {
	err = c.each(ctx, c.Validate(), func(d server.Distribution) error {
		r, err := c.measure(ctx, d)
		if err != nil {
			return fmt.Errorf("archive: %w", err)
		}
		reports = append(reports, r)
		return c.publish(r, r.page(), nil)
	})
	return reports, err
}

// archiveRun is the measurement on one server.
type archiveRun struct {
	c        ArchiveConfig
	dir      string // of the source
	place    string // of what is archived
	source   *server.Instance
	sysbench sysbench
	repo     *repository.Repository
}

const archiveSet = "bench"

// The processors that are used when not all of them are shared.
const (
	processorOfSource = 0
	processorOfOthers = 1
)

func (run *archiveRun) pin(pid, processor int) error {
	if run.c.Together {
		return nil
	}
	return pin(pid, processor)
}

func (c ArchiveConfig) measure(ctx context.Context, d server.Distribution) (r ArchiveReport, err error) {
	program, err := findSysbench(c.Cache)
	if err != nil {
		return r, err
	}
	if err := os.MkdirAll(c.dataDir(), 0o755); err != nil {
		return r, err
	}
	run := &archiveRun{c: c, sysbench: sysbench{program, c.Tables, c.TableSize}}
	if run.dir, err = os.MkdirTemp(c.dataDir(), ".archive-"); err != nil {
		return r, err
	}
	if run.place, err = os.MkdirTemp(c.Place, "lifeboat-bench-"); err != nil {
		return r, errors.Join(err, os.RemoveAll(run.dir))
	}
	if c.Keep {
		c.logf("\tkept in %s and %s", run.dir, run.place)
	} else {
		defer func() { err = errors.Join(err, os.RemoveAll(run.dir), os.RemoveAll(run.place)) }()
	}
	if err := os.Mkdir(filepath.Join(run.dir, "log"), 0o755); err != nil {
		return r, err
	}
	run.source, err = server.Start(ctx, d, server.Options{DataDir: filepath.Join(run.dir, "source"), SkipNetworking: true,
		Args: append(sourceSettings(d.Flavor, filepath.Join(run.dir, "log", "binlog"), 1<<30), largeRedo(d.Flavor))})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, run.source.Kill(), run.source.Stop(context.WithoutCancel(ctx))) }()
	if err := run.pin(run.source.PID(), processorOfSource); err != nil {
		return r, err
	}
	r = ArchiveReport{Head: newHead("archive", d.Name, d.Version, c.Tables, c.TableSize), Seconds: c.Seconds, Together: c.Together}
	r.Lifeboat = toolVersion(ctx, c.Lifeboat)
	return r, run.all(ctx, &r)
}

// largeRedo keeps a source from waiting for its checkpoints: by default it stands
// still for seconds, now and then, whoever archives.
func largeRedo(f server.Flavor) string {
	if f == server.MariaDB {
		return "--innodb-log-file-size=4G"
	}
	return "--innodb-redo-log-capacity=4G"
}

func (run *archiveRun) all(ctx context.Context, r *ArchiveReport) (err error) {
	if err := run.fill(ctx); err != nil {
		return err
	}
	where := repository.Location{Name: archiveSet, Options: store.Options{URL: filepath.Join(run.place, "repository")}}
	if run.repo, err = repository.Create(ctx, where, nil); err != nil {
		return err
	}
	if err := run.turns(ctx, r); err != nil {
		return err
	}
	if r.CatchUp, err = run.catchUp(ctx); err != nil {
		return fmt.Errorf("catch up: %w", err)
	}
	run.c.logf("\tcaught up with %.0f MB in %.1f s", megabytes(r.CatchUp.Bytes), r.CatchUp.Seconds)
	return run.compare(ctx)
}

// fill makes the tables, and a log that begins behind them.
func (run *archiveRun) fill(ctx context.Context) error {
	run.c.logf("%s: fill %d tables with %d rows each", run.source.Distribution().Name, run.c.Tables, run.c.TableSize)
	if err := execute(ctx, run.source, "CREATE DATABASE "+schemaName); err != nil {
		return err
	}
	if err := run.sysbench.prepare(ctx, run.source); err != nil {
		return err
	}
	if _, err := run.sysbench.timed(ctx, run.source, findWorkload("write_only"), run.c.Seconds); err != nil { // to warm up
		return err
	}
	reset := "RESET BINARY LOGS AND GTIDS"
	if run.source.Distribution().Flavor == server.MariaDB {
		reset = "RESET MASTER"
	}
	return execute(ctx, run.source, reset)
}

func (run *archiveRun) lifeboat(ctx context.Context) (*tool, error) {
	cmd := exec.CommandContext(ctx, run.c.Lifeboat, "archive", "run", "--set="+archiveSet,
		"--server1-dsn="+run.source.DSN(""), "--repo1-url="+filepath.Join(run.place, "repository"))
	return run.launch(cmd, ours)
}

// mysqlbinlog starts one that writes files of the server's names into the
// directory raw.
func (run *archiveRun) mysqlbinlog(ctx context.Context) (*tool, error) {
	program, err := run.source.Distribution().Tool("mysqlbinlog")
	if err != nil {
		return nil, err
	}
	var at position
	err = withDB(run.source, func(db *sql.DB) error {
		if _, err := db.ExecContext(ctx, "FLUSH BINARY LOGS"); err != nil {
			return err
		}
		at, err = readPosition(ctx, db, run.source.Distribution().Flavor)
		return err
	})
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(run.place, "raw")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	t, err := run.launch(exec.CommandContext(ctx, program, "--no-defaults", "--read-from-remote-server", "--user=root", "--socket="+run.source.Socket(),
		"--raw", "--stop-never", "--result-file="+dir+"/", at.file), mysqlbinlog)
	if err != nil {
		return nil, err
	}
	for { // it opens the file when the server has sent the first event
		if _, err := os.Stat(filepath.Join(dir, at.file)); err == nil {
			return t, nil
		}
		if err := pause(ctx); err != nil {
			return t, err
		}
	}
}

func (run *archiveRun) launch(cmd *exec.Cmd, name string) (*tool, error) {
	log, err := os.OpenFile(filepath.Join(run.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	tools, err := start([]*exec.Cmd{cmd}, log)
	if err != nil {
		return nil, err
	}
	return tools[0], run.pin(cmd.Process.Pid, processorOfOthers)
}

// stop ends an archiver as its manual says.
func (run *archiveRun) stop(t *tool, way string) (Use, error) {
	if err := t.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return Use{}, err
	}
	use, err := t.wait()
	if err != nil && way == ours {
		text, _ := os.ReadFile(filepath.Join(run.dir, way+".log"))
		return use, fmt.Errorf("%w\n%s", err, lastLines(text, 15))
	}
	return use, nil
}

// poll is how often the repository is looked at: not so often that it is felt.
const poll = 50 * time.Millisecond

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(poll):
		return nil
	}
}

// upToDate waits until the repository has all that the server has.
func (run *archiveRun) upToDate(ctx context.Context) error {
	at, err := run.end(ctx)
	if err != nil {
		return err
	}
	for {
		has, err := run.has(ctx, ours, at)
		if err != nil || has >= at.offset {
			return err
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

// catchUp lets the source write while nobody archives, and measures how long
// the archive takes for it.
func (run *archiveRun) catchUp(ctx context.Context) (c CatchUp, err error) {
	before, err := run.logBytes(ctx)
	if err != nil {
		return c, err
	}
	began := time.Now()
	if _, err := run.sysbench.timed(ctx, run.source, findWorkload("write_only"), run.c.Behind); err != nil {
		return c, err
	}
	c.WriteSeconds = time.Since(began).Seconds()
	after, err := run.logBytes(ctx)
	if err != nil {
		return c, err
	}
	if err := syncFileSystem(run.dir); err != nil {
		return c, err
	}
	c.Bytes, c.Load = after-before, loadAverage()
	began = time.Now()
	t, err := run.lifeboat(ctx)
	if err != nil {
		return c, err
	}
	err = run.upToDate(ctx)
	c.Seconds = time.Since(began).Seconds()
	use, stopErr := run.stop(t, ours)
	c.Archiver = use
	return c, errors.Join(err, stopErr)
}

// logBytes is the size of the server's log.
func (run *archiveRun) logBytes(ctx context.Context) (int64, error) {
	paths, err := run.source.BinaryLogs(ctx)
	if err != nil {
		return 0, err
	}
	return totalSize(paths)
}

// compare reads back what is archived: the same bytes as the server's files.
func (run *archiveRun) compare(ctx context.Context) error {
	logs, err := archive.Load(ctx, run.repo, archiveSet)
	if err != nil {
		return err
	}
	paths, err := run.source.BinaryLogs(ctx)
	if err != nil {
		return err
	}
	if len(logs) != 1 || len(logs[0].Files) != len(paths) {
		return fmt.Errorf("the archive is WRONG: it has %d logs, the first of %d files; the server has %d files", len(logs), len(logs[0].Files), len(paths))
	}
	dir := filepath.Join(run.place, "fetched")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for n, f := range logs[0].Files {
		path, err := archive.Fetch(ctx, run.repo, f, dir)
		if err != nil {
			return err
		}
		if err := sameBytes(path, paths[n]); err != nil {
			return fmt.Errorf("the archive is WRONG: %s: %w", f.File, err)
		}
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return nil
}

// sameBytes compares two files. The first bit of the flags in a file's first
// event says whether the server has it open (LOG_EVENT_BINLOG_IN_USE_F): the
// server clears it when it closes the file, and sends it cleared.
func sameBytes(a, b string) error {
	x, err := readMasked(a)
	if err != nil {
		return err
	}
	y, err := readMasked(b)
	if err != nil {
		return err
	}
	if !bytes.Equal(x, y) {
		return fmt.Errorf("%d bytes of it are not the server's %d", len(x), len(y))
	}
	return nil
}

func readMasked(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(f)
	const flags = 4 + 17
	if len(text) > flags {
		text[flags] &^= 1
	}
	return text, errors.Join(err, f.Close())
}
