package archive_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// sent waits until the server has sent its whole log to a follower.
func (w *world) sent() {
	w.t.Helper()
	db := servertest.Open(w.t, w.i, "")
	for !strings.Contains(w.sessions(db), "has sent all binlog") {
		if w.t.Context().Err() != nil {
			w.t.Fatal("the server does not send its log")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (w *world) sessions(db *sql.DB) string {
	w.t.Helper()
	rows, err := db.QueryContext(w.t.Context(), "SHOW PROCESSLIST")
	if err != nil {
		w.t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		w.t.Fatal(err)
	}
	var text []string
	for rows.Next() {
		cells, into := make([]sql.NullString, len(columns)), make([]any, len(columns))
		for i := range cells {
			into[i] = &cells[i]
		}
		if err := rows.Scan(into...); err != nil {
			w.t.Fatal(err)
		}
		text = append(text, fmt.Sprint(cells))
	}
	if err := rows.Err(); err != nil {
		w.t.Fatal(err)
	}
	return strings.Join(text, "\n")
}

// TestLastWords: what a server has sent before it died is stored, however long
// it would have waited for more: perhaps the server is gone for good.
func TestLastWords(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		w := newWorld(t, d)
		o := w.options()
		o.Flush = time.Hour
		waiting := make(chan error, 100)
		o.Listener.Waiting = func(err error, _ time.Duration) { waiting <- err }
		stop := w.follow(o)
		w.traffic(20, seeded(t))
		w.sent()
		want := w.files()
		if err := w.i.Kill(); err != nil {
			t.Fatal(err)
		}
		t.Log(<-waiting)
		got := map[string]int64{}
		for _, f := range w.log().Files {
			got[f.File] = f.End
		}
		for name, data := range want {
			if got[name] != int64(len(data)) {
				t.Errorf("%s: %d bytes are archived, want %d", name, got[name], len(data))
			}
		}
		stop()
	})
}

// TestRequestedEnd: what has been received when the end is asked for is stored.
func TestRequestedEnd(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		w := newWorld(t, d)
		o := w.options()
		o.Flush = time.Hour
		w.traffic(20, seeded(t))
		connected := make(chan struct{}, 1)
		o.Listener.Connected = func(string, binlog.Position) { connected <- struct{}{} }
		for round := range 100 { // nobody can tell what has been received: more and more
			stop := w.follow(o)
			<-connected
			time.Sleep(time.Duration(round) * 5 * time.Millisecond)
			stop()
			logs, err := archive.Load(t.Context(), w.repo, "s")
			if err != nil {
				t.Fatal(err)
			}
			if len(logs) > 0 && logs[0].Files[len(logs[0].Files)-1].End == int64(len(w.files()[w.last()])) {
				w.same()
				return
			}
		}
		t.Error("nothing of the last file is ever stored")
	})
}

// TestEndWithoutPlace: an end that loses something that was received is not
// silent.
func TestEndWithoutPlace(t *testing.T) {
	d := servertest.All(t)[0]
	w := newWorld(t, d)
	o := w.options()
	o.Flush, o.MaxWait = time.Hour, time.Hour
	waiting := make(chan error, 1)
	o.Listener.Waiting = func(err error, _ time.Duration) { waiting <- err }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- archive.Follow(ctx, o) }()
	w.sent()
	if err := os.RemoveAll(filepath.Join(w.dir, "repository")); err != nil {
		t.Fatal(err)
	}
	if err := w.i.Kill(); err != nil { // all that it has sent is received
		t.Fatal(err)
	}
	t.Log(<-waiting)
	cancel()
	err := <-done
	if fault.ClassOf(err) != fault.Interrupted || !strings.Contains(fmt.Sprint(err), "not all that was received is stored") {
		t.Errorf("it ended with %v", err)
	}
	if errors.Is(err, context.Canceled) {
		t.Errorf("the cause is hidden: %v", err)
	}
}
