package clone_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/backup/clone"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/test/compare"
)

var (
	gtids     = []string{"--gtid-mode=ON", "--enforce-gtid-consistency=ON"}
	anonymous = []string{"--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"}
)

// donor starts a server that can be cloned.
func donor(t *testing.T, args ...string) *server.Instance {
	t.Helper()
	args = append(append([]string{"--log-bin=bin", "--server-id=7"}, gtids...), args...)
	i := servertest.Start(t, servertest.Of(t, server.MySQL), args...)
	servertest.Exec(t, servertest.Open(t, i, ""), "INSTALL PLUGIN clone SONAME 'mysql_clone.so'")
	return i
}

func take(ctx context.Context, i *server.Instance, w io.Writer) (clone.Taken, error) {
	return clone.Take(ctx, clone.Options{DSN: i.DSN("")}, w)
}

// recipient unpacks a stream and starts a server on it.
func recipient(t *testing.T, stream []byte, args ...string) *server.Instance {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	if err := clone.Unpack(t.Context(), bytes.NewReader(stream), dir); err != nil {
		t.Fatal(err)
	}
	return servertest.StartWith(t, servertest.Of(t, server.MySQL), server.Options{DataDir: dir, Args: append(append([]string{"--server-id=8"}, gtids...), args...)})
}

func ask(t *testing.T, db *sql.DB, query string) (answer string) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), query).Scan(&answer); err != nil {
		t.Fatalf("%v\n\t%s", err, query)
	}
	return answer
}

// checkTables has the server check every table that it has.
func checkTables(t *testing.T, db *sql.DB) {
	t.Helper()
	tables := servertest.Column(t, db, "SELECT CONCAT('`', TABLE_SCHEMA, '`.`', TABLE_NAME, '`') FROM information_schema.TABLES WHERE TABLE_TYPE = 'BASE TABLE' AND TABLE_SCHEMA NOT IN ('performance_schema')")
	for _, name := range tables {
		var table, op, kind, text string
		if err := db.QueryRowContext(t.Context(), "CHECK TABLE "+name+" EXTENDED").Scan(&table, &op, &kind, &text); err != nil {
			t.Fatal(err)
		}
		if text != "OK" && !strings.Contains(text, "doesn't support check") {
			t.Errorf("%s: %s: %s", name, kind, text)
		}
	}
	if len(tables) < 30 {
		t.Errorf("only %d tables", len(tables))
	}
}

// same compares all that two servers hold.
func same(t *testing.T, got, want *server.Instance) {
	t.Helper()
	var states [2]compare.State
	for n, i := range []*server.Instance{got, want} {
		var err error
		if states[n], err = compare.Take(t.Context(), servertest.Open(t, i, "")); err != nil {
			t.Fatal(err)
		}
	}
	if diff := compare.Diff(states[0], states[1], "copy", "source", compare.AtMost); diff != "" {
		t.Errorf("the copy is not the source:\n%s", diff)
	}
}

// The states in which InnoDB's snapshots are, by number.
const (
	fileCopy = 2
	pageCopy = 3
	redoCopy = 4
	done     = 5
)

// tap looks at a stream while it is written, and may hold it up: the donor waits,
// since its data is not read.
type tap struct {
	w     io.Writer
	kind  byte // of the record that is being written; 0: the next bytes are a record's head
	begin func(state uint32)
	end   func(state uint32) // nothing is sent until it returns
	data  func() error
}

func (p *tap) Write(b []byte) (int, error) {
	switch {
	case p.kind == 0 && len(b) == 9:
		p.kind = b[0]
	case p.kind != 0:
		if err := p.look(p.kind, b); err != nil {
			return 0, err
		}
		p.kind = 0
	}
	return p.w.Write(b)
}

func (p *tap) look(kind byte, b []byte) error {
	if kind == 3 && p.data != nil {
		return p.data()
	}
	if isState := kind == 2 && len(b) == 46 && binary.BigEndian.Uint32(b[8:]) == 3; !isState {
		return nil
	}
	hear := p.end
	if b[45] == 1 {
		hear = p.begin
	}
	if hear != nil {
		hear(binary.BigEndian.Uint32(b[12:]))
	}
	return nil
}

// traffic is what goes on at a server until it is stopped.
type traffic struct {
	t      *testing.T
	cancel context.CancelFunc
	ended  chan error
	done   atomic.Int64 // steps
}

// write has workers commit transactions, one after the other, of what step says
// for the n-th of worker w.
func write(t *testing.T, i *server.Instance, workers int, step func(w, n int) []string) *traffic {
	t.Helper()
	db := servertest.Open(t, i, "")
	return stir(t, workers, func(w, n int) error { return commit(db, step(w, n)) })
}

// stir has workers do steps, one after the other.
func stir(t *testing.T, workers int, step func(w, n int) error) *traffic {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	x := &traffic{t: t, cancel: cancel, ended: make(chan error, workers)}
	for w := range workers {
		go func() { x.ended <- x.work(ctx, w, step) }()
	}
	return x
}

func (x *traffic) work(ctx context.Context, w int, step func(w, n int) error) error {
	for n := 0; ctx.Err() == nil; n++ {
		if err := step(w, n); err != nil {
			return fmt.Errorf("worker %d, step %d: %w", w, n, err)
		}
		x.done.Add(1)
	}
	return nil
}

// commit runs a transaction, again as long as it is the victim of a deadlock.
func commit(db *sql.DB, statements []string) error {
	for {
		tx, err := db.BeginTx(context.Background(), nil)
		if err != nil {
			return err
		}
		for _, s := range statements {
			if _, err = tx.ExecContext(context.Background(), s); err != nil {
				break
			}
		}
		if err == nil {
			err = tx.Commit()
		}
		_ = tx.Rollback()
		if err == nil || !strings.Contains(err.Error(), "Deadlock") {
			return err
		}
	}
}

// pass returns when n more steps have been done.
func (x *traffic) pass(n int64) {
	for until := x.done.Load() + n; x.done.Load() < until; {
		select {
		case err := <-x.ended:
			x.t.Errorf("traffic has ended: %v", err)
			x.ended <- err
			return
		case <-time.After(time.Millisecond):
		}
	}
}

func (x *traffic) stop() {
	x.cancel()
	for range cap(x.ended) {
		if err := <-x.ended; err != nil {
			x.t.Error(err)
		}
	}
}

// errorLog is what a server has said.
func errorLog(t *testing.T, i *server.Instance) string {
	t.Helper()
	b, err := os.ReadFile(i.ErrorLog())
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// contents is a server's tables with their checksums, as text.
func contents(t *testing.T, db *sql.DB) string {
	t.Helper()
	var b strings.Builder
	for _, name := range servertest.Column(t, db, "SELECT CONCAT('`', TABLE_SCHEMA, '`.`', TABLE_NAME, '`') FROM information_schema.TABLES WHERE TABLE_TYPE = 'BASE TABLE' AND TABLE_SCHEMA NOT IN ('mysql', 'sys', 'performance_schema') ORDER BY 1") {
		var table, sum string
		if err := db.QueryRowContext(t.Context(), "CHECKSUM TABLE "+name).Scan(&table, &sum); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s %s\n", name, sum)
	}
	return b.String()
}
