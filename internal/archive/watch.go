package archive

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/stream"
)

// watch asks a server again and again where its log ends, beside the streams:
// one that stands still does not say so itself. A server that does not answer
// is the followers' to tell.
func watch(ctx context.Context, source func() (string, error), every time.Duration, tell func(at binlog.Position, asked time.Time)) {
	for ctx.Err() == nil {
		if dsn, err := source(); err == nil {
			_ = watchOnce(ctx, dsn, every, tell)
		}
		select {
		case <-ctx.Done():
		case <-time.After(max(every, again)):
		}
	}
}

// again is how long a server that does not answer is left alone.
const again = time.Second

// watchOnce asks over one connection.
func watchOnce(ctx context.Context, dsn string, every time.Duration, tell func(at binlog.Position, asked time.Time)) error {
	return withServer(ctx, dsn, func(db *sql.DB, who dbconn.Server) error {
		for {
			asked := time.Now()
			end, err := logEnd(ctx, db, who)
			if err != nil {
				return err
			}
			tell(end, asked)
			took := time.Since(asked)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(max(every-took, asking*took)):
			}
		}
	})
}

// asking bounds what it takes of the server: after an answer nothing is asked for
// so many times as long as it took. (MySQL writes out all its GTIDs for it, under
// a lock that commits wait for: sql/rpl_source.cc, show_binary_log_status.)
const asking = 50

// withServer connects and asks who the server is.
func withServer(ctx context.Context, dsn string, do func(*sql.DB, dbconn.Server) error) (err error) {
	cfg, err := dbconn.Config(dsn)
	if err != nil {
		return fault.New(fault.Usage, fmt.Errorf("archive: %w", err), "")
	}
	db, err := dbconn.Open(cfg)
	if err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	short, cancel := context.WithTimeout(ctx, answerTime)
	who, err := dbconn.Identify(short, db)
	cancel()
	if err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	return do(db, who)
}

// answerTime bounds one question: a server that hangs, or whose host is gone,
// does not say so.
const answerTime = 10 * time.Second

// logEnd asks where the server's log ends now; the zero Position: it has none.
func logEnd(ctx context.Context, db *sql.DB, who dbconn.Server) (at binlog.Position, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	said, err := dbconn.LogStatus(ctx, db, who)
	if err != nil {
		return at, fmt.Errorf("archive: ask where the log ends: %w", err)
	}
	if said == nil {
		return at, nil
	}
	at.File = said["File"]
	at.Offset, err = strconv.ParseInt(said["Position"], 10, 64)
	return at, err
}

// Denied reports whether a server has refused the account: its password or its
// privileges. Trying again does not help.
func Denied(err error) bool {
	if errors.Is(err, stream.ErrDenied) || dbconn.Classify(err) == dbconn.Privilege {
		return true
	}
	switch dbconn.Number(err) {
	case errNoPassword, errLockedMySQL, errLockedMariaDB, errExpired:
		return true
	}
	return false
}

// Numbers of errors at login (both vendors' errmsg files) that are about the
// account.
const (
	errNoPassword    = 1698 // ER_ACCESS_DENIED_NO_PASSWORD_ERROR
	errExpired       = 1862 // ER_MUST_CHANGE_PASSWORD_LOGIN
	errLockedMySQL   = 3118 // ER_ACCOUNT_HAS_BEEN_LOCKED
	errLockedMariaDB = 4151 // ER_ACCOUNT_HAS_BEEN_LOCKED
)
