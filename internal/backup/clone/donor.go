package clone

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
)

// donor is an ordinary connection to the server, beside those of the clone.
type donor struct {
	db       *sql.DB
	silence  time.Duration // of one question
	version  string
	settings map[string]string
	start    Point     // where its history was when it was greeted
	held     *sql.Conn // has the lock that commits wait for; nil: they do not
	since    time.Time // commits have waited
}

// settingNames are what a server on the copy must agree with, beside what the
// donor says in RES_CONFIG.
var settingNames = []string{"innodb_data_file_path", "lower_case_table_names", "server_uuid", "gtid_mode"}

// greet asks the server what it is, and refuses now what could not be cloned after
// hours.
func greet(ctx context.Context, o Options) (_ *donor, err error) {
	cfg, err := dbconn.Config(o.DSN)
	if err != nil {
		return nil, err
	}
	db, err := dbconn.Open(cfg)
	if err != nil {
		return nil, err
	}
	d := &donor{db: db, silence: o.Silence, settings: map[string]string{}}
	if err := d.identify(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return d, nil
}

// Supports says why a server of this vendor and version cannot be cloned.
func Supports(s dbconn.Server) error {
	switch {
	case s.Flavor != gtid.MySQL:
		return unsupported("back it up with mariadb-backup", "%s has no clone plugin", s)
	case !s.AtLeast(8, 4):
		return unsupported("use a server of 8.4 or later, or back it up another way", "cloning %s", s)
	default:
		return nil
	}
}

func (d *donor) identify(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, d.silence)
	defer cancel()
	server, err := dbconn.Identify(ctx, d.db)
	if err != nil {
		return denied(err)
	}
	if err := Supports(server); err != nil {
		return err
	}
	d.version = server.Version
	for _, name := range settingNames {
		if d.settings[name], err = dbconn.Variable(ctx, d.db, name); err != nil {
			return err
		}
	}
	if err := d.unencrypted(ctx); err != nil {
		return err
	}
	d.start, err = d.executed(ctx)
	return err
}

// unencrypted refuses an encrypted redo log, which would show only at the end.
func (d *donor) unencrypted(ctx context.Context) error {
	switch v, err := dbconn.Variable(ctx, d.db, "innodb_redo_log_encrypt"); {
	case err != nil:
		return err
	case v == "ON":
		return unsupported(encryptedHint, "the redo log is encrypted (innodb_redo_log_encrypt)")
	default:
		return nil
	}
}

func (d *donor) close() error { return errors.Join(d.letGo(), d.db.Close()) }

// after is a point that all has been committed of.
func (d *donor) after(ctx context.Context) (Point, error) {
	ctx, cancel := context.WithTimeout(ctx, d.silence)
	defer cancel()
	return d.executed(ctx)
}

// until is a point that has all that has been committed. What InnoDB has
// committed is owned by its session for a moment before it is executed.
func (d *donor) until(ctx context.Context) (Point, error) {
	ctx, cancel := context.WithTimeout(ctx, d.silence)
	defer cancel()
	var owned string
	if err := d.db.QueryRowContext(ctx, "SELECT @@GLOBAL.gtid_owned").Scan(&owned); err != nil {
		return Point{}, fmt.Errorf("ask for the GTIDs of open transactions: %w", err)
	}
	p, err := d.executed(ctx) // after the other, so that none is in neither
	if err != nil {
		return p, err
	}
	open, err := parseOwned(owned)
	if err != nil {
		return p, err
	}
	return p, p.GTIDs.Union(open)
}

var owner = regexp.MustCompile(`#[0-9]+`)

// parseOwned reads @@gtid_owned, a GTID set with the owner's number behind each
// transaction: UUID:5#12:7#13.
func parseOwned(s string) (gtid.Set, error) {
	return gtid.ParseSet(gtid.MySQL, owner.ReplaceAllString(s, ""))
}

// executed is where the server's history is now.
func (d *donor) executed(ctx context.Context) (Point, error) {
	var p Point
	var do, ignore, set string
	row := d.db.QueryRowContext(ctx, "SHOW BINARY LOG STATUS")
	switch err := row.Scan(&p.Position.File, &p.Position.Offset, &do, &ignore, &set); {
	case errors.Is(err, sql.ErrNoRows): // no binary log
		p.Position = binlog.Position{}
		if err := d.db.QueryRowContext(ctx, "SELECT @@GLOBAL.gtid_executed").Scan(&set); err != nil {
			return p, fmt.Errorf("ask for the GTIDs: %w", err)
		}
	case err != nil:
		return p, denied(fmt.Errorf("SHOW BINARY LOG STATUS: %w", err))
	}
	var err error
	p.GTIDs, err = gtid.ParseSet(gtid.MySQL, set)
	return p, err
}

// kill ends connections of ours. An account may always kill its own.
func (d *donor) kill(ctx context.Context, connections ...uint32) {
	for _, id := range connections {
		_, _ = d.db.ExecContext(ctx, fmt.Sprintf("KILL %d", id)) // it may have ended
	}
}

// denied finds in an error of the Go driver that the account lacks a privilege.
func denied(err error) error {
	var e *mysql.MySQLError
	if !errors.As(err, &e) {
		return err
	}
	switch e.Number {
	case 1044, 1045, 1227, accountLocked:
		return hinted(fault.Storage, ErrDenied, err, deniedHint)
	default:
		return err
	}
}
