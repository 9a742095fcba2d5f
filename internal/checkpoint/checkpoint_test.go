package checkpoint_test

import (
	"errors"
	"maps"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/checkpoint"
	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

func TestCheckpoint(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		i := servertest.Start(t, d)
		cfg, err := dbconn.Config(i.DSN(""))
		if err != nil {
			t.Fatal(err)
		}
		db, err := dbconn.Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		ctx := t.Context()
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}

		if _, err := checkpoint.Load(ctx, db); !errors.Is(err, checkpoint.ErrNotFound) {
			t.Errorf("nothing there: %v", err)
		}
		must(checkpoint.Create(ctx, db))
		must(checkpoint.Create(ctx, db)) // again
		if _, err := checkpoint.Load(ctx, db); !errors.Is(err, checkpoint.ErrNotFound) {
			t.Errorf("tables, but no row: %v", err)
		}

		full := fill(t)
		for _, s := range []checkpoint.State{{}, full} {
			must(checkpoint.Save(ctx, db, s))
			got, err := checkpoint.Load(ctx, db)
			must(err)
			if !reflect.DeepEqual(got, s) {
				t.Errorf("saved %+v, loaded %+v", s, got)
			}
		}

		// Sessions as the log may have left them.
		for _, set := range []string{"SET sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'", "SET NAMES latin1", "SET NAMES binary", "SET character_set_connection = ucs2"} {
			conn, err := db.Conn(ctx)
			must(err)
			_, err = conn.ExecContext(ctx, set)
			must(err)
			must(checkpoint.Save(ctx, conn, full))
			got, err := checkpoint.Load(ctx, db)
			must(err)
			if !reflect.DeepEqual(got, full) {
				t.Errorf("%s: loaded %+v", set, got)
			}
			_, _ = conn.ExecContext(ctx, "SET NAMES utf8mb4, sql_mode = DEFAULT")
			must(conn.Close())
		}

		// It belongs to the transaction it is saved in.
		tx, err := db.BeginTx(ctx, nil)
		must(err)
		must(checkpoint.Save(ctx, tx, checkpoint.State{From: "not committed"}))
		_, err = tx.ExecContext(ctx, checkpoint.ChunkDone(5, 1))
		must(err)
		must(tx.Rollback())
		if got, err := checkpoint.Load(ctx, db); err != nil || got.From != full.From {
			t.Errorf("after a rollback: %+v %v", got, err)
		}

		// Chunks.
		for _, c := range []struct {
			window int64
			chunk  uint32
		}{{1, 0}, {2, 0}, {2, 7}, {2, math.MaxUint32}, {math.MaxInt64, 3}} {
			_, err := db.ExecContext(ctx, checkpoint.ChunkDone(c.window, c.chunk))
			must(err)
		}
		if _, err := db.ExecContext(ctx, checkpoint.ChunkDone(2, 7)); dbconn.Classify(err) != dbconn.Conflict {
			t.Errorf("a chunk that is done twice: %v", err)
		}
		must(checkpoint.Forget(ctx, db, 2))
		for window, want := range map[int64]map[uint32]bool{1: {}, 2: {0: true, 7: true, math.MaxUint32: true}, 3: {}, 5: {}, math.MaxInt64: {3: true}} {
			if got, err := checkpoint.Chunks(ctx, db, window); err != nil || !maps.Equal(got, want) {
				t.Errorf("window %d: %v %v, want %v", window, got, err, want)
			}
		}

		// Settings: the first value stays, and none is cut short.
		must(checkpoint.Remember(ctx, db, "sync_binlog", "1"))
		must(checkpoint.Remember(ctx, db, "sync_binlog", "0"))
		must(checkpoint.Remember(ctx, db, "init_connect", "SET x='é'"))
		if err := checkpoint.Remember(ctx, db, "long", strings.Repeat("x", 5000)); err == nil {
			t.Error("a value that does not fit was taken")
		}
		if got, err := checkpoint.Remembered(ctx, db); err != nil || !maps.Equal(got, map[string]string{"sync_binlog": "1", "init_connect": "SET x='é'"}) {
			t.Errorf("%v %v", got, err)
		}

		// A newer version, of which nothing is understood.
		_, err = db.ExecContext(ctx, "UPDATE lifeboat.checkpoint SET version = 2, state = 'something else'")
		must(err)
		if s, err := checkpoint.Load(ctx, db); !errors.Is(err, checkpoint.ErrNewer) || fault.ClassOf(err) != fault.Storage || !strings.Contains(err.Error(), "go on with that version") {
			t.Errorf("%+v %v", s, err)
		}
		_, err = db.ExecContext(ctx, "UPDATE lifeboat.checkpoint SET version = 1")
		must(err)
		if s, err := checkpoint.Load(ctx, db); err == nil || errors.Is(err, checkpoint.ErrNotFound) {
			t.Errorf("%+v %v", s, err)
		}

		must(checkpoint.Drop(ctx, db))
		must(checkpoint.Drop(ctx, db))
		if _, err := checkpoint.Load(ctx, db); !errors.Is(err, checkpoint.ErrNotFound) {
			t.Errorf("dropped: %v", err)
		}
	})
}

// fill gives every field of a State a value, so that one without a place in the
// stored form is noticed.
func fill(t *testing.T) checkpoint.State {
	t.Helper()
	s := checkpoint.State{
		From: `log.000001:4 "quoted" \ 'both' größe`, Skip: "0-1-5", Next: binlog.Position{File: "log.000001", Offset: 1 << 40},
		Phase: checkpoint.Window, End: binlog.Position{File: "log.000002", Offset: 4}, Window: math.MaxInt64, Verbatim: []string{"d.t", "d.größe"},
		ChunkLen: 1, Before: "x", GTIDs: strings.Repeat("0-1-5,", 5000), Counts: checkpoint.Counts{Transactions: 1, Changes: 2, NetRows: 3, Windows: 4, Barriers: 5, Bytes: 6},
		Finished: true, Until: "log.000002:4", TempTabs: []string{"d.x"},
		Only: "d,größe.t", Emptied: true, Dropped: true,
		LeaveOut: "0-1-5,log.000001:4", Unlike: true,
		Suspects: []checkpoint.Suspect{{Database: "d", Name: "größe", How: checkpoint.Filled, By: binlog.Position{File: "log.000001", Offset: 4}}, {How: checkpoint.Defined}},
	}
	v := reflect.ValueOf(s)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Errorf("field %s of State has no value in this test", v.Type().Field(i).Name)
		}
	}
	return s
}
