package demo

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// run runs a demo that has a directory for temporary files of its own, and
// returns what it printed and what it left there.
func run(t *testing.T, ctx context.Context, opt Options) (rep *Report, out string, left []string, err error) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	var b strings.Builder
	if opt.Out == nil {
		opt.Out = &b
	}
	if opt.Transactions == 0 {
		opt.Transactions = 400
	}
	rep, err = Run(ctx, opt)
	entries, rerr := os.ReadDir(dir)
	if rerr != nil {
		t.Fatal(rerr)
	}
	for _, e := range entries {
		left = append(left, filepath.Join(dir, e.Name()))
	}
	return rep, b.String(), left, err
}

func TestEverythingComesBack(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		rep, out, left, err := run(t, t.Context(), Options{Distribution: d.Name, Compare: d.Flavor == server.MySQL})
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if len(left) > 0 {
			t.Errorf("files are left: %v", left)
		}
		// Those of the backup, and two that the traffic made.
		if n := len(rep.Tables); n != len(definitions)+2 || !rep.Equal || unequal(rep.Tables) != 0 {
			t.Errorf("%d tables, equal: %v\n%v", n, rep.Equal, rep.Tables)
		}
		if got := rep.Replay.Transactions; got < 400 {
			t.Errorf("%d transactions replayed, of 400", got)
		}
		if !rep.Replay.Finished || !rep.Replay.Finalized {
			t.Errorf("finished: %v, finalized: %v", rep.Replay.Finished, rep.Replay.Finalized)
		}
		if strings.Contains(out, "\033") {
			t.Errorf("terminal codes in a file:\n%q", out)
		}
		if rep.Serial == nil == (d.Flavor == server.MySQL) {
			t.Errorf("serial: %v", rep.Serial)
		}
	})
}

func TestSpoiledRowIsFound(t *testing.T) {
	d := servertest.Of(t, server.MariaDB)
	spoil := func(ctx context.Context, db *sql.DB) error {
		_, err := db.ExecContext(ctx, "UPDATE orders SET placed = placed + INTERVAL 1 MICROSECOND LIMIT 1")
		return err
	}
	rep, out, left, err := run(t, t.Context(), Options{Distribution: d.Name, sabotage: spoil})
	if fault.ClassOf(err) != fault.VerifyFailed {
		t.Fatalf("error is %v\n%s", err, out)
	}
	if len(left) > 0 {
		t.Errorf("files are left: %v", left)
	}
	for _, c := range rep.Tables {
		if c.Equal == (c.Table == "orders") {
			t.Errorf("%s: equal: %v", c.Table, c.Equal)
		}
	}
	if rep.Equal || !strings.Contains(out, "DIFFERENT: other values") || !strings.Contains(out, "1 of 10 tables did NOT come back") {
		t.Errorf("equal: %v\n%s", rep.Equal, out)
	}
}

// interrupter calls a function a moment after a text is written.
type interrupter struct {
	out  strings.Builder
	text string
	then func()
}

func (i *interrupter) Write(p []byte) (int, error) {
	if strings.Contains(string(p), i.text) {
		time.AfterFunc(100*time.Millisecond, i.then)
	}
	return i.out.Write(p)
}

func TestInterruptedLeavesNothing(t *testing.T) {
	d := servertest.Of(t, server.MariaDB)
	for _, after := range []string{"(removed", "Full backup:", "DISASTER:", "Restored the"} {
		t.Run(after, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			out := &interrupter{text: after, then: cancel}
			_, _, left, err := run(t, ctx, Options{Distribution: d.Name, Transactions: 5000, Out: out})
			if err == nil || !strings.Contains(err.Error(), "interrupted; its servers are stopped, and nothing is left of it") {
				t.Errorf("error is %v\n%s", err, out.out.String())
			}
			if len(left) > 0 {
				t.Errorf("files are left: %v", left)
			}
		})
	}
}

func TestKeep(t *testing.T) {
	d := servertest.Of(t, server.MariaDB)
	rep, out, left, err := run(t, t.Context(), Options{Distribution: d.Name, Transactions: 3, Keep: true})
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if len(left) != 1 || left[0] != rep.Kept || !strings.Contains(out, "Kept in "+rep.Kept) {
		t.Fatalf("kept %s, left %v\n%s", rep.Kept, left, out)
	}
	i := servertest.StartWith(t, d, server.Options{DataDir: filepath.Join(rep.Kept, "restored")})
	after, err := takeState(t.Context(), i)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range rep.Tables {
		if after[c.Table].Checksum != c.Before {
			t.Errorf("%s was not kept", c.Table)
		}
	}
	if logs, err := os.ReadDir(filepath.Join(rep.Kept, "archive")); err != nil || len(logs) != rep.Log.Files {
		t.Errorf("archive: %d files, want %d (%v)", len(logs), rep.Log.Files, err)
	}
}

func TestChoice(t *testing.T) {
	t.Setenv("LIFEBOAT_MYSQLD", "")
	_, err := Run(t.Context(), Options{Cache: t.TempDir()})
	if !errors.Is(err, server.ErrNoServer) || !strings.Contains(err.Error(), "make servers") {
		t.Errorf("without a server the error is %v", err)
	}
	_, err = Run(t.Context(), Options{Distribution: "oracle-23"})
	if fault.ClassOf(err) != fault.Failed || !strings.Contains(err.Error(), "make servers") {
		t.Errorf("with a server that is not there the error is %v", err)
	}
	for _, opt := range []Options{{Flavor: "postgres"}, {Transactions: -1}, {Workers: -1}} {
		if _, err := Run(t.Context(), opt); fault.ClassOf(err) != fault.Usage {
			t.Errorf("%+v: error is %v", opt, err)
		}
	}
}
