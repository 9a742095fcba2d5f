package rig

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/test/compare"
)

// World is what a source leaves behind.
type World struct {
	Server server.Distribution
	Args   []string // of mysqld, for source and targets
	Cold   string   // data directory of the start, never started
	Logs   []string // binary logs, oldest first
	First  string   // base name of the log file that the start lies in
	Offset int64    // of the start in it
	GTIDs  string   // of the source at the start
	End    compare.State
}

// Start is where a replay of the world begins: FILE:POSITION.
func (w *World) Start() string { return fmt.Sprintf("%s:%d", w.First, w.Offset) }

// Plan says how to record a world.
type Plan struct {
	Dir   string   // where cold copy and logs stay
	Args  []string // of mysqld, for source and targets
	Only  []string // of mysqld, for the source alone
	SetUp func(t testing.TB, db *sql.DB)
	Load  func(t testing.TB, source *server.Instance)
}

// GTIDs are the options that give a server GTIDs, or none.
func GTIDs(d server.Distribution, on bool) []string {
	switch {
	case d.Flavor == server.MariaDB: // always has them; replays need not make its log larger, which takes seconds
		return []string{"--innodb-log-file-size=64M"}
	case on:
		return []string{"--gtid-mode=ON", "--enforce-gtid-consistency=ON"}
	default:
		return []string{"--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"}
	}
}

// Record sets a source up, copies it cold, and records what follows.
func Record(t testing.TB, d server.Distribution, p Plan) *World {
	t.Helper()
	Track(t)
	w := &World{Server: d, Args: p.Args, Cold: filepath.Join(p.Dir, "cold")}
	source, err := server.Start(t.Context(), d, server.Options{Args: append(append([]string{
		"--log-bin=" + filepath.Join(p.Dir, "bin"), "--server-id=1", "--binlog-format=ROW",
	}, p.Args...), p.Only...)})
	must(t, err)
	defer func() { must(t, source.Stop(context.WithoutCancel(t.Context()))) }()
	with(t, source, p.SetUp)
	must(t, source.Shutdown(t.Context()))
	must(t, server.Copy(t.Context(), source.DataDir(), w.Cold))
	must(t, source.Restart(t.Context()))
	with(t, source, func(t testing.TB, db *sql.DB) { w.First, w.Offset, w.GTIDs = LogPosition(t, db, d) })
	p.Load(t, source)
	files, err := source.BinaryLogs(t.Context())
	must(t, err)
	for _, file := range files {
		if filepath.Base(file) >= w.First {
			w.Logs = append(w.Logs, file)
		}
	}
	w.End = State(t, source)
	must(t, source.Shutdown(t.Context()))
	return w
}

// Target starts a server on a copy of the cold start. It is gone when the
// test ends.
func (w *World) Target(t testing.TB, dir string, args ...string) *server.Instance {
	t.Helper()
	data := filepath.Join(dir, "data")
	must(t, server.Copy(t.Context(), w.Cold, data))
	target := servertest.StartWith(t, w.Server, server.Options{DataDir: data, Args: append(append([]string{}, w.Args...), args...)})
	t.Cleanup(func() { must(t, target.Kill()) }) // nobody needs its data any more
	return target
}

// Diff compares a target with the end of the world; empty if they are equal.
// Counters of AUTO_INCREMENT may be lower: what was drawn and rolled back is
// in no log.
func (w *World) Diff(t testing.TB, target *server.Instance) string {
	t.Helper()
	text := compare.Diff(w.End, State(t, target), "source", "target", compare.AtMost)
	if len(text) > 4000 {
		text = text[:4000] + "\n…"
	}
	return text
}

// State takes the state of a server.
func State(t testing.TB, i *server.Instance) (s compare.State) {
	t.Helper()
	with(t, i, func(t testing.TB, db *sql.DB) {
		var err error
		s, err = compare.Take(t.Context(), db)
		must(t, err)
	})
	return s
}

// Do runs a function with a pool of connections to a server.
func Do(t testing.TB, i *server.Instance, do func(db *sql.DB)) {
	t.Helper()
	with(t, i, func(_ testing.TB, db *sql.DB) { do(db) })
}

func with(t testing.TB, i *server.Instance, do func(t testing.TB, db *sql.DB)) {
	t.Helper()
	db, err := sql.Open("mysql", i.DSN("")+"?multiStatements=true&interpolateParams=true")
	must(t, err)
	defer func() { _ = db.Close() }()
	do(t, db)
}

// LogPosition is where the server writes next, and its GTIDs.
func LogPosition(t testing.TB, db *sql.DB, d server.Distribution) (file string, offset int64, gtids string) {
	t.Helper()
	show, ids := "SHOW MASTER STATUS", "SELECT @@gtid_current_pos"
	if d.Flavor == server.MySQL {
		show, ids = "SHOW BINARY LOG STATUS", "SELECT @@gtid_executed"
	}
	must(t, db.QueryRowContext(t.Context(), ids).Scan(&gtids))
	rows, err := db.QueryContext(t.Context(), show)
	must(t, err)
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	must(t, err)
	cells := make([]any, len(columns))
	for i := range cells {
		cells[i] = new(any)
	}
	cells[0], cells[1] = &file, &offset
	if !rows.Next() {
		t.Fatalf("%s: nothing (%v)", show, rows.Err())
	}
	must(t, rows.Scan(cells...))
	return file, offset, strings.ReplaceAll(gtids, "\n", "")
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
