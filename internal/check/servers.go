package check

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/fault"
)

// serverFacts are what a server says of itself, and what it lets us do.
type serverFacts struct {
	name string
	dsn  string
	err  error // why it cannot be asked; nothing below is known then

	who       dbconn.Server
	id        string            // dbconn.ServerName
	variables map[string]string // global ones; those that it does not have are missing
	xa        int64             // XA statements since its start
	filters   string            // databases that are written to the log, or are not; empty: all are
	clock     clock

	source    archive.Source
	asked     error // why it does not say which log it has
	received  error // why its log cannot be received
	backup    bool  // this host takes backups of it
	driver    string
	notBacked error // why none can be taken
}

// clock is a clock that was looked at between two moments of ours.
type clock struct{ there, before, after time.Time }

// ahead is by how much the other clock is ahead at least; negative: behind. grain
// is what it rounds down to.
func (c clock) ahead(grain time.Duration) time.Duration {
	switch {
	case c.there.After(c.after):
		return c.there.Sub(c.after)
	case c.there.Add(grain).Before(c.before):
		return c.there.Add(grain).Sub(c.before)
	}
	return 0
}

// answerTime bounds all that a server is asked.
const answerTime = 30 * time.Second

func (o *Options) server(ctx context.Context, s Server) (f serverFacts) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	f.name = s.Name
	if f.dsn, f.err = s.DSN(); f.err != nil {
		return f
	}
	if f.err = f.ask(ctx); f.err != nil {
		return f
	}
	if f.source, f.asked = archive.Ask(ctx, f.dsn); f.asked == nil && !f.source.End.IsZero() {
		f.received = f.source.Try(ctx, f.dsn)
	}
	if f.backup = s.Name == o.BackupOf; f.backup {
		source := o.Source
		source.DSN = f.dsn
		f.driver, f.notBacked = backup.Ready(ctx, source, o.Driver)
	}
	return f
}

// ask asks for what any account may know, and for the filters of the log.
func (f *serverFacts) ask(ctx context.Context) error {
	cfg, err := dbconn.Config(f.dsn)
	if err != nil {
		return fault.New(fault.Usage, err, "")
	}
	db, err := dbconn.Open(cfg)
	if err != nil {
		return err
	}
	defer db.Close()
	if f.who, err = dbconn.Identify(ctx, db); err != nil {
		return err
	}
	if f.id, err = dbconn.ServerName(ctx, db, f.who); err != nil {
		return err
	}
	if f.variables, err = variables(ctx, db); err != nil {
		return err
	}
	if f.clock, err = askClock(ctx, db); err != nil {
		return err
	}
	if f.xa, err = xaTransactions(ctx, db); err != nil {
		return err
	}
	f.filters = filters(ctx, db, f.who)
	return nil
}

func askClock(ctx context.Context, db *sql.DB) (c clock, err error) {
	var text string
	c.before = time.Now()
	if err := db.QueryRowContext(ctx, "SELECT DATE_FORMAT(UTC_TIMESTAMP(6), '%Y-%m-%dT%H:%i:%s.%fZ')").Scan(&text); err != nil {
		return c, fmt.Errorf("ask for the time: %w", err)
	}
	c.after = time.Now()
	c.there, err = time.Parse(time.RFC3339Nano, text)
	return c, err
}

func variables(ctx context.Context, db *sql.DB) (map[string]string, error) {
	all, err := dbconn.Pairs(ctx, db, "SHOW GLOBAL VARIABLES")
	if err != nil {
		return nil, fmt.Errorf("ask for the settings: %w", err)
	}
	return all, nil
}

// xaTransactions is how many XA transactions clients have prepared or committed since
// the server was started.
func xaTransactions(ctx context.Context, db *sql.DB) (n int64, err error) {
	counts, err := dbconn.Pairs(ctx, db, "SHOW GLOBAL STATUS WHERE Variable_name IN ('Com_xa_prepare', 'Com_xa_commit')")
	if err != nil {
		return 0, fmt.Errorf("ask what it has done: %w", err)
	}
	for _, text := range counts {
		count, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("ask what it has done: %w", err)
		}
		n += count
	}
	return n, nil
}

// filters reads what is in no variable. That the account may not ask is told
// elsewhere.
func filters(ctx context.Context, db *sql.DB, who dbconn.Server) string {
	said, err := dbconn.LogStatus(ctx, db, who)
	if err != nil {
		return ""
	}
	switch do, ignore := said["Binlog_Do_DB"], said["Binlog_Ignore_DB"]; {
	case do != "":
		return "only changes of " + do + " (binlog_do_db)"
	case ignore != "":
		return "no changes of " + ignore + " (binlog_ignore_db)"
	}
	return ""
}
