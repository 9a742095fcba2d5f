// Package threeway_test records histories of real servers and replays them in
// several ways: serially by the vendors' own tools, and by Lifeboat with one
// worker and with many. All must end where the source ended.
package threeway_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/test/compare"
)

// world is what a source leaves behind: a cold copy of its start, the binary
// logs since, and the state at their end.
type world struct {
	server   server.Distribution
	args     []string // of mysqld, for source and targets
	cold     string   // a data directory, never started
	files    []string // binary logs, oldest first
	position int64    // in the first file: where the cold copy was taken
	end      compare.State
}

// play does something to a server.
type play func(ctx context.Context, db *sql.DB) error

// arguments are for source and targets alike.
func arguments(d server.Distribution, gtid bool) []string {
	args := []string{
		"--max-allowed-packet=256M", "--local-infile=ON", "--skip-networking",
		"--log-bin-trust-function-creators=1", "--innodb-buffer-pool-size=96M",
	}
	if d.Flavor == server.MySQL {
		mode := "OFF" // 9.7 has it on unless told
		if gtid {
			mode = "ON"
		}
		args = append(args, "--gtid-mode="+mode, "--enforce-gtid-consistency="+mode)
	}
	return args
}

// record makes a world: set up, stop, copy, go on, take the end state.
func record(t *testing.T, d server.Distribution, gtid bool, setUp, load play) world {
	t.Helper()
	w := world{server: d, args: arguments(d, gtid), cold: filepath.Join(t.TempDir(), "cold")}
	logs := t.TempDir()
	source := servertest.Start(t, d, append([]string{
		"--log-bin=" + filepath.Join(logs, "bin"), "--server-id=1", "--binlog-format=ROW",
		"--event-scheduler=OFF", // or events fire between the copy and the position
	}, w.args...)...)
	run(t, source, setUp)
	must(t, source.Shutdown(t.Context()))
	must(t, server.Copy(t.Context(), source.DataDir(), w.cold))
	must(t, source.Restart(t.Context()))

	var first string
	run(t, source, func(_ context.Context, db *sql.DB) error {
		first, w.position = logPosition(t, db, d)
		return nil
	})
	run(t, source, load)
	files, err := source.BinaryLogs(t.Context())
	must(t, err)
	for _, file := range files {
		if filepath.Base(file) >= first {
			w.files = append(w.files, file)
		}
	}
	w.end = state(t, source)
	must(t, source.Shutdown(t.Context()))
	return w
}

func state(t *testing.T, i *server.Instance) (s compare.State) {
	t.Helper()
	run(t, i, func(ctx context.Context, db *sql.DB) (err error) {
		s, err = compare.Take(ctx, db)
		return err
	})
	return s
}

func run(t *testing.T, i *server.Instance, do play) {
	t.Helper()
	db, err := i.Open("")
	must(t, err)
	defer func() { _ = db.Close() }()
	must(t, do(t.Context(), db))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// logPosition is where the server writes next.
func logPosition(t *testing.T, db *sql.DB, d server.Distribution) (file string, position int64) {
	t.Helper()
	query := "SHOW MASTER STATUS"
	if d.Flavor == server.MySQL {
		query = "SHOW BINARY LOG STATUS"
	}
	rows, err := db.QueryContext(t.Context(), query)
	must(t, err)
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	must(t, err)
	targets := make([]any, len(columns))
	for i := range targets {
		targets[i] = new(any)
	}
	targets[0], targets[1] = &file, &position
	if !rows.Next() {
		t.Fatalf("%s: nothing, %v", query, rows.Err())
	}
	must(t, rows.Scan(targets...))
	must(t, rows.Err())
	return file, position
}

// replayed starts a target from the cold copy, replays the logs in one way and
// returns the state it ends in, and what the replay said about itself.
func (w world) replayed(t *testing.T, way way) (end compare.State, said string, err error) {
	t.Helper()
	data := filepath.Join(t.TempDir(), "data")
	must(t, server.Copy(t.Context(), w.cold, data))
	target, err := server.Start(t.Context(), w.server, server.Options{DataDir: data, Args: append(w.args, way.args...)})
	must(t, err)
	defer func() {
		if err := target.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	if said, err = way.replay(t.Context(), target, w); err != nil {
		return compare.State{}, said, err
	}
	return state(t, target), said, nil
}
