package bench

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/repository/store"
	"github.com/lifeboat-db/lifeboat/internal/server"
)

// RestoreConfig says how a whole restore is compared: from what backup and
// archive have left to a server that has been shut down on the source's end
// state.
type RestoreConfig struct {
	Common
	Transactions int // behind the backup
}

// DefaultRestore is the published comparison: a database of 5 GB.
func DefaultRestore() RestoreConfig {
	c := RestoreConfig{Common: defaults(), Transactions: 100_000}
	c.Distributions, c.TableSize = []string{"mariadb-10.11"}, 5_000_000
	return c
}

// QuickRestore shows that it runs at all.
func QuickRestore() RestoreConfig {
	c := DefaultRestore()
	c.TableSize, c.Transactions, c.Results = 1000, 500, ""
	return c
}

// Validate says what is wrong with the configuration.
func (c RestoreConfig) Validate() error {
	if err := errors.Join(c.validate(), c.needLifeboat()); err != nil {
		return err
	}
	if c.Transactions < 1 {
		return fmt.Errorf("out of range: %d transactions", c.Transactions)
	}
	return nil
}

// The ways to restore.
const (
	copyBack   = "copy-back + mysqlbinlog" // mariadb-backup --prepare, --copy-back; mysqlbinlog | mysql
	copyReplay = "copy-back + lifeboat"    // the same, with lifeboat replay
	restored   = "lifeboat restore"
)

// RunRestore compares on every distribution, which must be a MariaDB: MySQL has
// no tool of its own that would do it.
func RunRestore(ctx context.Context, c RestoreConfig) (reports []RestoreReport, err error) {
	err = c.each(ctx, c.Validate(), func(d server.Distribution) error {
		if d.Flavor != server.MariaDB {
			return errors.New("restore: there is no tool of the vendor to compare with")
		}
		r, err := c.compareRestores(ctx, d)
		if err != nil {
			return fmt.Errorf("restore: %w", err)
		}
		reports = append(reports, r)
		return c.publish(r, r.page(), r.problem())
	})
	return reports, err
}

// vault is what is left of a source, in the cache: a backup by the vendor's tool
// (raw), its binary logs (log), lifeboat's repository with the same (repository).
type vault struct {
	dir string

	Spec       restoreSpec       `json:"spec"`
	Position   string            `json:"position"` // FILE:POS of both backups
	Logs       []string          `json:"logs"`
	LogBytes   int64             `json:"log_bytes"`
	DataBytes  int64             `json:"data_bytes"`
	Stored     int64             `json:"stored_bytes"` // of the repository
	Checksums  map[string]string `json:"checksums"`
	BackupTime [2]float64        `json:"backup_seconds"` // mariadb-backup's, lifeboat's
}

// restoreRecipe is raised when what a vault holds changes, and what lifeboat
// stores in it.
const restoreRecipe = 2

type restoreSpec struct {
	Recipe       int    `json:"recipe"`
	Distribution string `json:"distribution"`
	Version      string `json:"version"`
	Tables       int    `json:"tables"`
	TableSize    int    `json:"table_size"`
	Transactions int    `json:"transactions"`
}

func (v *vault) raw() string        { return filepath.Join(v.dir, "raw") }        // of mariadb-backup, not prepared
func (v *vault) repository() string { return filepath.Join(v.dir, "repository") } // backup and log
func (v *vault) logPaths() (paths []string) {
	for _, name := range v.Logs {
		paths = append(paths, filepath.Join(v.dir, "log", name))
	}
	return paths
}

// openVault makes what is restored from, unless the cache has it.
func (c RestoreConfig) openVault(ctx context.Context, d server.Distribution) (*vault, error) {
	spec := restoreSpec{restoreRecipe, d.Name, d.Version, c.Tables, c.TableSize, c.Transactions}
	v := &vault{dir: filepath.Join(c.dataDir(), fmt.Sprintf("restore-%s-%dx%d", d.Name, c.Tables, c.TableSize))}
	text, err := os.ReadFile(filepath.Join(v.dir, "vault.json"))
	if err == nil {
		if err := json.Unmarshal(text, v); err != nil {
			return nil, err
		}
		if v.Spec == spec {
			return v, nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	*v = vault{dir: v.dir, Spec: spec}
	if err := errors.Join(os.RemoveAll(v.dir), os.MkdirAll(filepath.Join(v.dir, "log"), 0o755)); err != nil {
		return nil, err
	}
	m := &vaultMaker{c: c, v: v, dist: d}
	if err := m.make(ctx); err != nil {
		return nil, fmt.Errorf("make the backups: %w", err)
	}
	if text, err = json.MarshalIndent(v, "", "  "); err != nil {
		return nil, err
	}
	return v, os.WriteFile(filepath.Join(v.dir, "vault.json"), append(text, '\n'), 0o644)
}

// vaultMaker fills a server, backs it up twice, lets it go on and archives that.
type vaultMaker struct {
	c        RestoreConfig
	v        *vault
	dist     server.Distribution
	source   *server.Instance
	sysbench sysbench
}

func (m *vaultMaker) make(ctx context.Context) (err error) {
	program, err := findSysbench(m.c.Cache)
	if err != nil {
		return err
	}
	m.sysbench = sysbench{program, m.c.Tables, m.c.TableSize}
	data := filepath.Join(m.v.dir, "source")
	if err := m.fill(ctx, data); err != nil {
		return err
	}
	if m.source, err = server.Start(ctx, m.dist, server.Options{DataDir: data, SkipNetworking: true,
		Args: sourceSettings(m.dist.Flavor, filepath.Join(m.v.dir, "log", "binlog"), 1<<30)}); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, m.source.Kill(), m.source.Stop(context.WithoutCancel(ctx)), os.RemoveAll(data))
	}()
	if err := m.backups(ctx); err != nil {
		return err
	}
	m.c.logf("\trun %d transactions", m.c.Transactions)
	if err := m.sysbench.work(ctx, m.source, findWorkload("write_only"), m.c.Transactions); err != nil {
		return err
	}
	return m.finish(ctx)
}

// fill makes the tables, without a binary log.
func (m *vaultMaker) fill(ctx context.Context, data string) (err error) {
	m.c.logf("%s: fill %d tables with %d rows each", m.dist.Name, m.c.Tables, m.c.TableSize)
	i, err := server.Start(ctx, m.dist, server.Options{DataDir: data, SkipNetworking: true,
		Args: []string{"--innodb-buffer-pool-size=1G", "--innodb-log-file-size=1G", "--innodb-flush-log-at-trx-commit=0"}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, i.Kill(), i.Stop(context.WithoutCancel(ctx))) }()
	if err := execute(ctx, i, "CREATE DATABASE "+schemaName); err != nil {
		return err
	}
	if err := m.sysbench.prepare(ctx, i); err != nil {
		return err
	}
	return i.Shutdown(ctx)
}

// backups takes one by the vendor's tool and one by lifeboat, of the same state.
func (m *vaultMaker) backups(ctx context.Context) error {
	var at position
	err := withDB(m.source, func(db *sql.DB) (err error) {
		at, err = readPosition(ctx, db, m.dist.Flavor)
		return err
	})
	if err != nil {
		return err
	}
	m.v.Position = fmt.Sprintf("%s:%d", at.file, at.offset)
	tool, err := m.dist.Tool("mariabackup")
	if err != nil {
		return err
	}
	m.c.logf("\tback up, by mariadb-backup and by lifeboat")
	began := time.Now()
	if err := command(ctx, tool, "--no-defaults", "--backup", "--user=root", "--socket="+m.source.Socket(), "--target-dir="+m.v.raw(),
		"--parallel=2", "--datadir="+m.source.DataDir()); err != nil {
		return err
	}
	m.v.BackupTime[0] = time.Since(began).Seconds()
	where := repository.Location{Name: "bench", Options: store.Options{URL: m.v.repository()}}
	if _, err := repository.Create(ctx, where, nil); err != nil {
		return err
	}
	began = time.Now()
	if err := command(ctx, m.c.Lifeboat, append(m.flags("backup"), "--server1-dsn="+m.source.DSN(""), "--tool=mariadb-backup="+tool)...); err != nil {
		return err
	}
	m.v.BackupTime[1] = time.Since(began).Seconds()
	return nil
}

func (m *vaultMaker) flags(command ...string) []string {
	return append(command, "--set="+archiveSet, "--repo1-url="+m.v.repository())
}

// finish archives the log, and notes what the source has at its end.
func (m *vaultMaker) finish(ctx context.Context) error {
	if err := m.archive(ctx); err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	paths, err := m.source.BinaryLogs(ctx)
	if err != nil {
		return err
	}
	for _, p := range paths {
		m.v.Logs = append(m.v.Logs, filepath.Base(p))
	}
	if m.v.LogBytes, err = totalSize(paths); err != nil {
		return err
	}
	if m.v.Stored, err = treeSize(m.v.repository()); err != nil {
		return err
	}
	if m.v.DataBytes, err = treeSize(m.source.DataDir()); err != nil {
		return err
	}
	return withDB(m.source, func(db *sql.DB) (err error) {
		m.v.Checksums, err = checksums(ctx, db)
		return err
	})
}

func (m *vaultMaker) archive(ctx context.Context) error {
	repo, err := repository.Open(ctx, repository.Location{Name: "bench", Options: store.Options{URL: m.v.repository()}})
	if err != nil {
		return err
	}
	run := &archiveRun{c: ArchiveConfig{Common: m.c.Common}, dir: m.v.dir, place: m.v.dir, source: m.source, repo: repo}
	t, err := run.lifeboat(ctx)
	if err != nil {
		return err
	}
	err = run.upToDate(ctx)
	_, stopped := run.stop(t, ours)
	return errors.Join(err, stopped)
}

// treeSize adds up the files below a directory.
func treeSize(dir string) (sum int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			sum += info.Size()
		}
		return err
	})
	return sum, err
}

// command runs a program to its end.
func command(ctx context.Context, program string, args ...string) error {
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(program), err, lastLines(out, 15))
	}
	return nil
}

// compareRestores runs all ways, each into a directory of its own.
func (c RestoreConfig) compareRestores(ctx context.Context, d server.Distribution) (r RestoreReport, err error) {
	if err := os.MkdirAll(c.dataDir(), 0o755); err != nil {
		return r, err
	}
	v, err := c.openVault(ctx, d)
	if err != nil {
		return r, err
	}
	r = RestoreReport{Head: newHead("restore", d.Name, d.Version, c.Tables, c.TableSize), Transactions: c.Transactions,
		DataBytes: v.DataBytes, LogBytes: v.LogBytes, Stored: v.Stored, Backups: v.BackupTime}
	r.Lifeboat = toolVersion(ctx, c.Lifeboat)
	for _, way := range []string{restored, copyReplay, copyBack} {
		run := &restoreRun{c: c, v: v, dist: d}
		result, err := run.measure(ctx, way)
		if ctx.Err() != nil {
			return r, ctx.Err()
		}
		if err != nil {
			result.Error = err.Error()
		}
		c.logf("\t%s: %.1f s, %v %s", way, result.Seconds, result.Steps, result.Error)
		r.Ways = append(r.Ways, result)
	}
	return r, nil
}

// restoreRun is one way to restore.
type restoreRun struct {
	c    RestoreConfig
	v    *vault
	dist server.Distribution
	dir  string
}

func (run *restoreRun) data() string { return filepath.Join(run.dir, "data") }

func (run *restoreRun) measure(ctx context.Context, way string) (r RestoreResult, err error) {
	r.Way = way
	if run.dir, err = os.MkdirTemp(run.c.dataDir(), ".run-"); err != nil {
		return r, err
	}
	if run.c.Keep {
		run.c.logf("\tkept in %s", run.dir)
	} else {
		defer func() { err = errors.Join(err, os.RemoveAll(run.dir)) }()
	}
	prepared := filepath.Join(run.dir, "raw")
	if way != restored { // prepare changes the backup in its place
		if err := command(ctx, "cp", "-a", run.v.raw(), prepared); err != nil {
			return r, err
		}
	}
	if err := run.rest(way, prepared); err != nil {
		return r, err
	}
	r.Load = loadAverage()
	began := time.Now()
	if way == restored {
		r.Steps, err = run.lifeboat(ctx)
	} else {
		r.Steps, err = run.byHand(ctx, prepared, way)
	}
	r.Seconds = time.Since(began).Seconds()
	if err != nil {
		return r, err
	}
	r.Different, err = run.compare(ctx)
	r.Equal = err == nil && len(r.Different) == 0
	return r, err
}

// rest writes out what is in memory, and reads what the way begins with once:
// every way finds it in the page cache, if it fits.
func (run *restoreRun) rest(way, prepared string) error {
	if err := syncFileSystem(run.dir); err != nil {
		return err
	}
	from := append(run.v.logPaths(), prepared)
	if way == restored {
		from = []string{run.v.repository()}
	}
	for _, path := range from {
		err := filepath.WalkDir(path, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			return readOnce(path)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// lifeboat runs lifeboat restore.
func (run *restoreRun) lifeboat(ctx context.Context) (steps []RestoreStep, err error) {
	mysqld, err := run.dist.Tool("mysqld")
	if err != nil {
		return nil, err
	}
	args := []string{"restore", "--set=" + archiveSet, "--repo1-url=" + run.v.repository(), "--dir=" + run.data(), "--mysqld=" + mysqld, "--json"}
	for name, path := range run.dist.Tools() {
		args = append(args, "--tool="+name+"="+path)
	}
	var out, log bytes.Buffer
	cmd := exec.CommandContext(ctx, run.c.Lifeboat, args...)
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("lifeboat restore: %w\n%s", err, lastLines(append(log.Bytes(), out.Bytes()...), 15))
	}
	var report struct {
		Steps []RestoreStep `json:"steps"`
	}
	return report.Steps, json.Unmarshal(out.Bytes(), &report)
}

// byHand is what the vendor's manual says.
func (run *restoreRun) byHand(ctx context.Context, prepared, way string) (steps []RestoreStep, err error) {
	tool, err := run.dist.Tool("mariabackup")
	if err != nil {
		return nil, err
	}
	step := func(name string, do func() error) {
		if err != nil {
			return
		}
		began := time.Now()
		err = do()
		steps = append(steps, RestoreStep{name, time.Since(began).Seconds()})
	}
	step("prepare", func() error {
		return command(ctx, tool, "--no-defaults", "--prepare", "--use-memory=512M", "--target-dir="+prepared)
	})
	step("copy-back", func() error {
		return command(ctx, tool, "--no-defaults", "--copy-back", "--parallel=2", "--target-dir="+prepared, "--datadir="+run.data())
	})
	var i *server.Instance
	step("start", func() (err error) {
		i, err = server.Start(ctx, run.dist, server.Options{DataDir: run.data(), Args: targetSettings(run.dist.Flavor), SkipNetworking: true})
		return err
	})
	if i != nil {
		defer func() { err = errors.Join(err, i.Kill(), i.Stop(context.WithoutCancel(ctx))) }()
	}
	step("replay", func() error { return run.replay(ctx, i, way) })
	step("shutdown", func() error { return i.Shutdown(ctx) })
	return steps, err
}

func (run *restoreRun) replay(ctx context.Context, i *server.Instance, way string) error {
	ds := &dataset{dir: run.v.dir, Logs: run.v.Logs, Position: run.v.Position, logDir: "log"}
	if way == copyReplay {
		_, err := lifeboat{ds: ds, program: run.c.Lifeboat, args: []string{"--finalize"}}.replay(ctx, i, filepath.Join(run.dir, "output"))
		return err
	}
	_, err := serial{ds: ds}.replay(ctx, i, filepath.Join(run.dir, "output"))
	return err
}

// compare starts a server on what was restored.
func (run *restoreRun) compare(ctx context.Context) (names []string, err error) {
	i, err := server.Start(ctx, run.dist, server.Options{DataDir: run.data(), SkipNetworking: true, Args: append(targetSettings(run.dist.Flavor), "--skip-grant-tables")})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, i.Kill(), i.Stop(context.WithoutCancel(ctx))) }()
	return names, withDB(i, func(db *sql.DB) error {
		sums, err := checksums(ctx, db)
		names = different(run.v.Checksums, sums)
		return err
	})
}
