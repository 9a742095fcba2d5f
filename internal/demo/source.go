package demo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/go-sql-driver/mysql"

	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/units"
)

func (d *demo) path(name string) string { return filepath.Join(d.dir, name) }

// settings are those of all servers here: a redo log that is larger than what
// is replayed by default, so that nobody has to make it larger.
func (d *demo) settings() []string {
	if d.dist.Flavor == server.MySQL {
		return []string{"--loose-innodb-redo-log-capacity=128M", "--gtid-mode=ON", "--enforce-gtid-consistency=ON"}
	}
	return []string{"--innodb-log-file-size=128M"}
}

// sourceArgs make a server that keeps a log to recover from.
func (d *demo) sourceArgs() []string {
	return append(d.settings(),
		"--server-id=1",
		"--log-bin="+filepath.Join(d.path("logs"), "binlog"),
		"--binlog-format=ROW",
		"--max-binlog-size=16M",
	)
}

// startSource makes the shop.
func (d *demo) startSource(ctx context.Context) error {
	var rows int64
	return d.screen.step("Starting a server and filling its tables", func() (string, error) {
		if err := os.Mkdir(d.path("logs"), 0o700); err != nil {
			return "", err
		}
		var err error
		if d.source, err = d.start(ctx, "source", d.sourceArgs()); err != nil {
			return "", err
		}
		err = withDB(d.source, "", func(db *sql.DB) error {
			rows, err = openShop(ctx, db)
			return err
		})
		return fmt.Sprintf("Started a %s server and filled %d tables with %s rows.", d.rep.Server, len(definitions), units.Count(rows)), err
	})
}

// backup is what a full backup has to remember beside the data.
type backup struct {
	position string // FILE:POSITION of the log that follows
	file     string // the first log file that a recovery needs
}

// takeBackup is the simplest backup there is: a copy of the files of a server
// that was shut down cleanly.
func (d *demo) takeBackup(ctx context.Context) error {
	return d.screen.step("Full backup: shutting the server down, copying its files", func() (string, error) {
		if err := withDB(d.source, "", func(db *sql.DB) error { return d.backup.read(ctx, db) }); err != nil {
			return "", err
		}
		if err := d.source.Shutdown(ctx); err != nil {
			return "", err
		}
		if err := server.Copy(ctx, d.source.DataDir(), d.path("backup")); err != nil {
			return "", err
		}
		size, err := treeSize(d.path("backup"))
		if err != nil {
			return "", err
		}
		d.rep.Backup = Backup{Position: d.backup.position, Bytes: size}
		return fmt.Sprintf("Full backup: shut the server down, copied its data directory (%s), started it again. What happens from now on is only in the server and its binary log, from %s.",
			units.Bytes(size), d.backup.position), d.source.Restart(ctx)
	})
}

// read asks the server where its log ends.
func (b *backup) read(ctx context.Context, db *sql.DB) error {
	who, err := dbconn.Identify(ctx, db)
	if err != nil {
		return fmt.Errorf("position of the binary log: %w", err)
	}
	said, err := dbconn.LogStatus(ctx, db, who)
	if err != nil {
		return fmt.Errorf("position of the binary log: %w", err)
	}
	if said == nil {
		return errors.New("position of the binary log: the server has none")
	}
	b.file, b.position = said["File"], said["File"]+":"+said["Position"]
	return nil
}

// offset is the position in the first file.
func (b *backup) offset() int64 {
	n, _ := strconv.ParseInt(b.position[len(b.file)+1:], 10, 64) // as the server wrote it
	return n
}

func (d *demo) takeChecksums(ctx context.Context) error {
	return d.screen.step("Taking checksums of all tables", func() (string, error) {
		var err error
		d.before, err = takeState(ctx, d.source)
		return fmt.Sprintf("Took checksums of all %d tables, %s rows: what comes back must equal them.", len(d.before), units.Count(d.before.rows())), err
	})
}

// archiveLogs copies the logs from the backup's on away from the server.
func (d *demo) archiveLogs(ctx context.Context) error {
	return d.screen.step("Copying the binary logs away", func() (string, error) {
		logs, err := d.source.BinaryLogs(ctx)
		if err != nil {
			return "", err
		}
		first := slices.IndexFunc(logs, func(path string) bool { return filepath.Base(path) == d.backup.file })
		if first < 0 {
			return "", fmt.Errorf("binary log %s is not among %v", d.backup.file, logs)
		}
		if err := os.Mkdir(d.path("archive"), 0o700); err != nil {
			return "", err
		}
		for _, from := range logs[first:] {
			to := filepath.Join(d.path("archive"), filepath.Base(from))
			n, err := copyFile(from, to)
			if err != nil {
				return "", err
			}
			d.archive = append(d.archive, to)
			d.rep.Log.Bytes += n
		}
		d.rep.Log.Files = len(d.archive)
		return fmt.Sprintf("Copied the binary logs away: %d files, %s. In real life they are archived by then: lifeboat archive run.",
			len(d.archive), units.Bytes(d.rep.Log.Bytes)), nil
	})
}

// disaster leaves nothing of the source.
func (d *demo) disaster(context.Context) error {
	return d.screen.step("Disaster", func() (string, error) {
		err := errors.Join(d.source.Kill(), os.RemoveAll(d.path("source")), os.RemoveAll(d.path("logs")))
		return "DISASTER: killed the server (kill -9) and deleted its data directory and its logs.", err
	})
}

// withDB opens a pool of connections for one function. A text of several
// statements is one round trip.
func withDB(i *server.Instance, database string, do func(*sql.DB) error) error {
	cfg, err := mysql.ParseDSN(i.DSN(database))
	if err != nil {
		return err
	}
	cfg.MultiStatements = true
	cfg.Logger = &mysql.NopLogger{} // errors are returned as well
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	return errors.Join(do(db), db.Close())
}

func copyFile(from, to string) (int64, error) {
	in, err := os.Open(from)
	if err != nil {
		return 0, err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	n, err := out.ReadFrom(in)
	return n, errors.Join(err, out.Close())
}

func treeSize(dir string) (sum int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
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
