package backup

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
)

// mariaBackup is the driver of mariadb-backup: the files of a running MariaDB,
// in the format of mbstream. It runs on the server's host, as a user that may
// read the data directory.
//
// The state is that at which the tool holds BACKUP STAGE BLOCK_COMMIT: it reads
// there the binary log's position and gtid_current_pos (10.11
// extra/mariabackup/backup_mysql.cc, write_binlog_info), and of tables without
// transactions it copies the rest under the same lock. Both stand in
// xtrabackup_info, as binlog_pos; from 11.1 on it is called mariadb_backup_info.
// The LSNs stand in xtrabackup_checkpoints or mariadb_backup_checkpoints. The
// tool writes them into --extra-lsndir as well, so that the stream need not be
// understood.
type mariaBackup struct{}

func (mariaBackup) Name() string { return MariaDBBackup }

func (mariaBackup) tool(ctx context.Context, configured map[string]string) (tool, error) {
	return findTool(ctx, configured, "mariadb-backup", "mariabackup")
}

// Check wants a MariaDB on this host and the tool of its series.
func (d mariaBackup) Check(ctx context.Context, s Source) error {
	return withServer(ctx, s.DSN, func(db *sql.DB) error {
		server, err := identify(ctx, db)
		if err != nil {
			return err
		}
		if server.Flavor != gtid.MariaDB {
			return fault.New(fault.Usage, fmt.Errorf("the server is %s", server), "use another driver for it")
		}
		t, err := d.tool(ctx, s.Tools)
		if err != nil {
			return err
		}
		if series(t.version) != series(server.Version) {
			return fault.New(fault.Storage, fmt.Errorf("%s is for another series than %s", t.version, server), "install the one of the server's version")
		}
		if err := checkGrants(ctx, db, "RELOAD", "PROCESS", "BINLOG MONITOR"); err != nil {
			return err
		}
		return checkDataDir(ctx, db)
	})
}

// stage notes, from what the tool says, whether it has others wait: from BACKUP
// STAGE BLOCK_DDL to END (10.11.18 extra/mariabackup/backup_mysql.cc; versions that
// do not say so are not known to).
func stage(line string, h holder) {
	switch {
	case strings.Contains(line, "BACKUP STAGE BLOCK_"):
		h.holds(true)
	case strings.Contains(line, "BACKUP STAGE END"):
		h.holds(false)
	}
}

// waiters are those that wait for BACKUP STAGE BLOCK_DDL and BLOCK_COMMIT: their
// state is that of MDL's namespace BACKUP (10.11 sql/mdl.cc).
func (mariaBackup) waiters(ctx context.Context, db *sql.DB) (n int, err error) {
	err = db.QueryRowContext(ctx, "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE = 'Waiting for backup lock'").Scan(&n)
	return n, err
}

// checkDataDir looks whether the server's data can be read here. The tool asks by
// access(2) whether it may write ibdata1 as well (10.11 os_file_get_status), which
// it does not do then; of an account that is not root access does not count
// capabilities, unless its secure bits say so (capabilities(7)).
func checkDataDir(ctx context.Context, db *sql.DB) error {
	dir, err := dbconn.Variable(ctx, db, "datadir")
	if err != nil {
		return fmt.Errorf("ask for the data directory: %w", err)
	}
	file := filepath.Join(dir, "ibdata1")
	err = unix.Access(file, unix.R_OK|unix.W_OK)
	if errors.Is(err, fs.ErrNotExist) { // innodb_data_file_path may say otherwise
		file, err = dir, unix.Access(dir, unix.R_OK|unix.X_OK)
	}
	if err != nil {
		return fault.New(fault.Storage, fmt.Errorf("the server's data: %s: %w", file, err), "run this on the server's host, as a user that may read and write them, which mariadb-backup demands")
	}
	return nil
}

// Size is that of the files in the data directory.
func (mariaBackup) Size(ctx context.Context, s Source) int64 {
	var size int64
	_ = withServer(ctx, s.DSN, func(db *sql.DB) (err error) { // it is only an estimate
		size, err = dataSize(ctx, db)
		return err
	})
	return size
}

// dataSize adds up the files of the data directory but binary logs, which are
// not backed up. What vanishes meanwhile does not count.
func dataSize(ctx context.Context, db *sql.DB) (int64, error) {
	dir, err := dbconn.Variable(ctx, db, "datadir")
	if err != nil {
		return 0, err
	}
	logs, err := dbconn.Variable(ctx, db, "log_bin_basename")
	if err != nil {
		return 0, err
	}
	var sum int64
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || logs != "" && strings.HasPrefix(path, filepath.Clean(logs)+".") {
			return nil
		}
		if info, err := e.Info(); err == nil {
			sum += info.Size()
		}
		return nil
	})
	return sum, err
}

// Take runs mariadb-backup --backup.
func (d mariaBackup) Take(ctx context.Context, s Source, parent *Manifest, w io.Writer) (taken Taken, err error) {
	c, err := newScratch(s, gtid.MariaDB)
	if err != nil {
		return Taken{}, err
	}
	defer func() { err = errors.Join(err, c.remove()) }()
	t, err := d.tool(ctx, s.Tools)
	if err != nil {
		return Taken{}, err
	}
	if parent != nil {
		if err := checkHistory(ctx, s.DSN, parent); err != nil {
			return Taken{}, err
		}
	}
	run := command{tool: t, args: takeArgs(c, s.Threads, parent), env: c.env(), out: w, mark: "completed OK!"}
	if h, ok := w.(holder); ok {
		run.said = func(line string) { stage(line, h) }
	}
	if err := run.run(ctx); err != nil {
		return Taken{}, err
	}
	taken, err = readInfo(c.dir, parent)
	taken.Tool = t.version
	taken.DataBytes = d.Size(ctx, s)
	return taken, err
}

func takeArgs(c scratch, threads int, parent *Manifest) []string {
	args := []string{"--defaults-file=" + c.defaults, "--backup", "--stream=mbstream", "--target-dir=" + c.dir, "--extra-lsndir=" + c.dir}
	if threads > 0 {
		args = append(args, "--parallel="+strconv.Itoa(threads))
	}
	if parent != nil {
		args = append(args, "--incremental-lsn="+strconv.FormatUint(parent.ToLSN, 10))
	}
	return args
}

// checkHistory sees whether the server still has what it had at the parent: if
// not, it has been restored to an earlier state, and pages of the parent may be
// of a history that has not happened. One that has come beyond the parent again
// is not found.
func checkHistory(ctx context.Context, dsn string, parent *Manifest) error {
	return withServer(ctx, dsn, func(db *sql.DB) error {
		var name, text string
		if err := db.QueryRowContext(ctx, "SHOW GLOBAL STATUS LIKE 'Innodb_lsn_current'").Scan(&name, &text); err != nil {
			return fmt.Errorf("ask for the LSN: %w", err)
		}
		lsn, err := strconv.ParseUint(text, 10, 64)
		if err != nil || lsn < parent.ToLSN {
			return another(parent, fmt.Errorf("its LSN is %s, at the parent it was %d", text, parent.ToLSN))
		}
		text, err = dbconn.Variable(ctx, db, "gtid_current_pos")
		if err != nil {
			return err
		}
		now, err := gtid.ParseSet(gtid.MariaDB, text)
		if err != nil {
			return err
		}
		then, err := gtid.ParseSet(gtid.MariaDB, parent.GTIDs)
		if err != nil || !now.ContainsSet(then) {
			return another(parent, fmt.Errorf("it has the transactions %s, at the parent it had %s", now, parent.GTIDs))
		}
		return nil
	})
}

func another(parent *Manifest, err error) error {
	return fault.New(fault.Failed, fmt.Errorf("the server is not what it was at backup %s: %w: %w", parent.ID, err, ErrNoParent), "take a full one")
}

// readInfo reads what the tool has put into --extra-lsndir.
func readInfo(dir string, parent *Manifest) (Taken, error) {
	checkpoints, err := readPairs(dir, "xtrabackup_checkpoints", "mariadb_backup_checkpoints")
	if err != nil {
		return Taken{}, err
	}
	info, err := readPairs(dir, "xtrabackup_info", "mariadb_backup_info")
	if err != nil {
		return Taken{}, err
	}
	taken, err := parseInfo(checkpoints, info)
	if err != nil {
		return Taken{}, err
	}
	if parent != nil && taken.FromLSN != parent.ToLSN {
		return Taken{}, fmt.Errorf("it goes on from LSN %d, the parent ends at %d", taken.FromLSN, parent.ToLSN)
	}
	return taken, nil
}

// readPairs reads a file of lines KEY = VALUE, under the first name that is
// there.
func readPairs(dir string, names ...string) (pairs map[string]string, err error) {
	var text []byte
	for _, name := range names {
		if text, err = os.ReadFile(filepath.Join(dir, name)); err == nil {
			break
		}
	}
	pairs = map[string]string{}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, " = ")
		pairs[strings.TrimSpace(key)] = strings.TrimSpace(value)
	}
	return pairs, err
}

// positionPattern is binlog_pos, as write_binlog_info prints it; GTIDs only if
// there are any.
var positionPattern = regexp.MustCompile(`^filename '([^']+)', position '([0-9]+)'(?:, GTID of the last change '([^']*)')?$`)

// parseInfo understands the two files. A server without a binary log has an
// empty binlog_pos.
func parseInfo(checkpoints, info map[string]string) (Taken, error) {
	from, err1 := strconv.ParseUint(checkpoints["from_lsn"], 10, 64)
	to, err2 := strconv.ParseUint(checkpoints["to_lsn"], 10, 64)
	if err := errors.Join(err1, err2); err != nil || to == 0 {
		return Taken{}, fmt.Errorf("LSNs %q to %q: %w", checkpoints["from_lsn"], checkpoints["to_lsn"], errNotUnderstood)
	}
	taken := Taken{FromLSN: from, ToLSN: to}
	text, ok := info["binlog_pos"]
	if !ok {
		return Taken{}, fmt.Errorf("binlog_pos is missing: %w", errNotUnderstood)
	}
	if text == "" {
		return taken, nil
	}
	m := positionPattern.FindStringSubmatch(text)
	if m == nil {
		return Taken{}, fmt.Errorf("binlog_pos %q: %w", text, errNotUnderstood)
	}
	taken.File = m[1]
	taken.Offset, err1 = strconv.ParseInt(m[2], 10, 64)
	set, err2 := gtid.ParseSet(gtid.MariaDB, m[3])
	taken.GTIDs = set.String()
	return taken, errors.Join(err1, err2)
}

var errNotUnderstood = errors.New("the tool's answer is not understood")

// Unpack extracts the full backup and prepares it, and then each increment on
// top of it.
func (d mariaBackup) Unpack(ctx context.Context, chain []Stream, dir string, o UnpackOptions) error {
	u := unpacking{UnpackOptions: o, dir: dir}
	var err error
	if u.prepare, err = d.tool(ctx, o.Tools); err != nil {
		return err
	}
	if u.extract.path, err = lookUp(o.Tools, "mbstream"); err != nil { // it does not tell its version
		return err
	}
	if want := chain[0].Manifest.ServerVersion; series(u.prepare.version) != series(want) {
		return fault.New(fault.Storage, fmt.Errorf("%s is for another series than the backup, %s", u.prepare.version, want), "install the one of the backup's version")
	}
	for i, s := range chain {
		if i == 0 {
			err = u.full(ctx, s)
		} else {
			err = u.increment(ctx, s)
		}
		if err != nil {
			return fmt.Errorf("backup %s: %w", s.Manifest.ID, err)
		}
	}
	return u.tidy()
}

// unpacking is a chain being unpacked.
type unpacking struct {
	UnpackOptions
	dir              string
	prepare, extract tool
}

func (u *unpacking) full(ctx context.Context, s Stream) error {
	if err := u.stream(ctx, s, u.dir); err != nil {
		return err
	}
	return u.apply(ctx)
}

func (u *unpacking) increment(ctx context.Context, s Stream) (err error) {
	parent := u.Dir
	if parent == "" {
		parent = filepath.Dir(u.dir)
	}
	delta, err := os.MkdirTemp(parent, "lifeboat-increment-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(delta)) }()
	if err := u.stream(ctx, s, delta); err != nil {
		return err
	}
	return u.apply(ctx, "--incremental-dir="+delta)
}

// stream extracts a stream into a directory.
func (u *unpacking) stream(ctx context.Context, s Stream, dir string) error {
	args := []string{"-x", "-C", dir}
	if u.Threads > 0 {
		args = append(args, "--parallel="+strconv.Itoa(u.Threads))
	}
	return command{tool: u.extract, args: args, in: s}.run(ctx)
}

// apply runs mariadb-backup --prepare: afterwards the files are those of a
// server that was shut down. It stays possible to apply increments to them.
func (u *unpacking) apply(ctx context.Context, more ...string) error {
	// What the files need to be read, such as innodb_page_size, the tool has left there.
	defaults := "--defaults-file=" + filepath.Join(u.dir, "backup-my.cnf")
	if _, err := os.Stat(filepath.Join(u.dir, "backup-my.cnf")); err != nil {
		defaults = "--no-defaults"
	}
	args := append([]string{defaults, "--prepare", "--target-dir=" + u.dir}, more...)
	if u.Memory > 0 {
		args = append(args, "--use-memory="+strconv.FormatInt(u.Memory, 10))
	}
	return command{tool: u.prepare, args: args, mark: "completed OK!"}.run(ctx)
}

// tidy removes what is the tool's own, and the links to files elsewhere.
//
// A table with a DATA DIRECTORY has a NAME.isl, which says where its file was on
// the source. The tool has put the file into dir. A server that is started here,
// on the source's host, looks at both, and if the source's own file is whole, it
// opens neither: "found in multiple places; will not open" (10.11 and 11.8).
// Without the link it takes the one in dir.
//
// backup-my.cnf stays: it has the options without which a server cannot use the
// files, such as innodb_page_size.
func (u *unpacking) tidy() error {
	return filepath.WalkDir(u.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		own := filepath.Dir(path) == u.dir && (strings.HasPrefix(e.Name(), "xtrabackup_") || strings.HasPrefix(e.Name(), "mariadb_backup_"))
		if own || filepath.Ext(path) == ".isl" {
			return os.Remove(path)
		}
		return nil
	})
}
