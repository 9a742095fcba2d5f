package afterwards

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// disaster is a source that is gone: what is left of it.
type disaster struct {
	d        server.Distribution
	backup   string // data directory, cold
	position string // of the backup: FILE:POSITION
	logs     []string
	rows     int // in shop.orders at the end
}

// gtids are the options of a server that can take part in replication.
func gtids(d server.Distribution, id int) []string {
	args := []string{"--log-bin=binlog", "--binlog-format=ROW", fmt.Sprintf("--server-id=%d", id)}
	if d.Flavor == server.MySQL {
		args = append(args, "--gtid-mode=ON", "--enforce-gtid-consistency=ON")
	}
	return args
}

// strike makes a source with a backup and traffic behind it, and kills it.
func strike(t *testing.T, d server.Distribution) disaster {
	t.Helper()
	dir := t.TempDir()
	data := filepath.Join(dir, "source")
	src := servertest.StartWith(t, d, server.Options{DataDir: data, Args: gtids(d, 1)})
	db := servertest.Open(t, src, "")
	servertest.Exec(t, db,
		"CREATE DATABASE shop",
		"CREATE TABLE shop.orders (id INT PRIMARY KEY AUTO_INCREMENT, customer VARCHAR(40) NOT NULL UNIQUE, amount INT)",
		"INSERT INTO shop.orders (customer, amount) VALUES ('Ada', 1), ('Grace', 2), ('Edsger', 3)")
	_ = db.Close()
	ctx := t.Context()
	if err := src.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	w := disaster{d: d, backup: filepath.Join(dir, "backup")}
	if err := server.Copy(ctx, data, w.backup); err != nil {
		t.Fatal(err)
	}
	if err := src.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	db = servertest.Open(t, src, "")
	w.position = position(t, db)
	servertest.Exec(t, db, "USE shop", "UPDATE orders SET amount = amount * 10")
	for i := range 200 {
		servertest.Exec(t, db, fmt.Sprintf("INSERT INTO shop.orders (customer, amount) VALUES ('customer %d', %d)", i, i))
	}
	servertest.Exec(t, db, "FLUSH LOGS", "ALTER TABLE shop.orders ADD COLUMN note TEXT", "DELETE FROM shop.orders WHERE id % 7 = 0")
	if err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM shop.orders").Scan(&w.rows); err != nil {
		t.Fatal(err)
	}
	w.logs = saveLogs(t, src, filepath.Join(dir, "archive"))
	_ = db.Close()
	if err := src.Kill(); err != nil {
		t.Fatal(err)
	}
	return w
}

func position(t *testing.T, db *sql.DB) string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "SHOW MASTER STATUS")
	if err != nil {
		rows, err = db.QueryContext(t.Context(), "SHOW BINARY LOG STATUS")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	cols, err := rows.Columns()
	if err != nil || !rows.Next() {
		t.Fatal("no binary log status", err, rows.Err())
	}
	cells := make([]sql.NullString, len(cols))
	ptrs := make([]any, len(cols))
	for i := range cells {
		ptrs[i] = &cells[i]
	}
	if err := rows.Scan(ptrs...); err != nil {
		t.Fatal(err)
	}
	return cells[0].String + ":" + cells[1].String
}

func saveLogs(t *testing.T, src *server.Instance, dir string) (saved []string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	files, err := src.BinaryLogs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, filepath.Base(f))
		if err := os.WriteFile(to, b, 0o600); err != nil {
			t.Fatal(err)
		}
		saved = append(saved, to)
	}
	return saved
}

// restore starts a server on a copy of the backup.
func (w disaster) restore(t *testing.T, args ...string) *server.Instance {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "target")
	if err := server.Copy(t.Context(), w.backup, dir); err != nil {
		t.Fatal(err)
	}
	// The backup brought the source's binary log along; a restored server
	// begins its own.
	old, _ := filepath.Glob(filepath.Join(dir, "binlog.*"))
	for _, f := range old {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	return servertest.StartWith(t, w.d, server.Options{DataDir: dir, Args: args})
}

func count(ctx context.Context, t *testing.T, db *sql.DB, query string) (n int) {
	t.Helper()
	if err := db.QueryRowContext(ctx, query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
