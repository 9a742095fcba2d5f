package applier

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/dbconn"
)

// A server goes on with what a dead client has sent: a COMMIT that waits for
// the disk happens after kill -9 of the client that asked for it. A new run
// that has read the checkpoint before that would do the work again. So each
// session holds a user lock, which the server frees when the session has ended
// for good, and a new run waits until all of them are free before it looks at
// anything.

// MaxSessions bounds how many sessions a run may have at once.
const MaxSessions = 1024

func sessionLock(n int) string { return fmt.Sprintf("lifeboat.session.%d", n) }

// takeLock takes the session's lock.
func (s *Session) takeLock(ctx context.Context, n int) error {
	if n >= MaxSessions {
		return fmt.Errorf("more than %d sessions", MaxSessions)
	}
	var got sql.NullInt64
	if err := s.conn.QueryRowContext(ctx, "SELECT GET_LOCK('"+sessionLock(n)+"', 10)").Scan(&got); err != nil {
		return fmt.Errorf("mark the session: %w", err)
	}
	if got.Int64 != 1 {
		return fmt.Errorf("mark the session: %s is held by another", sessionLock(n))
	}
	return nil
}

// patience is how long a session of an earlier run that executes something may
// go on before it is ended.
const patience = 10 * time.Second

// AwaitOthers waits until no session of an earlier run is left. Those that only
// sleep are ended (their client is gone, which a server behind a cut network
// does not notice for hours); those that execute something are given time, and
// a statement that must not be cut short, such as DDL, as much as it takes.
func AwaitOthers(ctx context.Context, q dbconn.Querier, letFinish bool) error {
	began := time.Now()
	for {
		held, err := holders(ctx, q)
		if err != nil || len(held) == 0 {
			return err
		}
		for id, command := range held {
			if command == "Sleep" || !letFinish && time.Since(began) > patience {
				_, _ = q.ExecContext(ctx, fmt.Sprintf("KILL %d", id)) // it may be gone by now
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// holders finds the connections that hold session locks, and what they do.
func holders(ctx context.Context, q dbconn.Querier) (map[int64]string, error) {
	var b strings.Builder
	for n := range MaxSessions {
		if n > 0 {
			b.WriteByte(',')
		}
		b.WriteString("IS_USED_LOCK('" + sessionLock(n) + "')")
	}
	var ids string
	if err := q.QueryRowContext(ctx, "SELECT COALESCE(CONCAT_WS(',',"+b.String()+"),'')").Scan(&ids); err != nil {
		return nil, fmt.Errorf("look for sessions of an earlier run: %w", err)
	}
	if ids == "" {
		return nil, nil
	}
	held := map[int64]string{}
	for _, s := range strings.Split(ids, ",") {
		var id int64
		if _, err := fmt.Sscan(s, &id); err != nil {
			return nil, err
		}
		held[id] = "Query"
	}
	rows, err := q.QueryContext(ctx, "SELECT ID, COMMAND FROM information_schema.PROCESSLIST WHERE ID IN ("+ids+")")
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var id int64
		var command string
		if err := rows.Scan(&id, &command); err != nil {
			return nil, err
		}
		held[id] = command
	}
	return held, rows.Err()
}
