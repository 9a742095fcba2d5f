// Package servertest gives tests real servers that are gone when the test is.
package servertest

import (
	"bytes"
	"context"
	"database/sql"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/installed"
	"github.com/lifeboat-db/lifeboat/internal/server"
)

// All returns every installed server. Without any the test fails: a test of
// this project that needs a server is never skipped.
func All(t testing.TB) []server.Distribution {
	t.Helper()
	found, err := server.Find(installed.Dir())
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Of returns one installed server of a flavor, the first that Find names.
func Of(t testing.TB, flavor server.Flavor) server.Distribution {
	t.Helper()
	for _, d := range All(t) {
		if d.Flavor == flavor {
			return d
		}
	}
	t.Fatalf("no %s server among those found: run `make servers`", flavor)
	return server.Distribution{}
}

// Each runs a subtest on every installed server, one after the other.
func Each(t *testing.T, test func(t *testing.T, d server.Distribution)) {
	t.Helper()
	for _, d := range All(t) {
		t.Run(d.Name, func(t *testing.T) { test(t, d) })
	}
}

// Start starts a server with these options of mysqld and stops it when the
// test ends.
func Start(t testing.TB, d server.Distribution, args ...string) *server.Instance {
	t.Helper()
	return StartWith(t, d, server.Options{Args: args})
}

// StartWith is Start with all options.
func StartWith(t testing.TB, d server.Distribution, o server.Options) *server.Instance {
	t.Helper()
	i, err := server.Start(t.Context(), d, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The test's own context has ended by now.
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := i.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return i
}

// Open opens a pool of connections that is closed when the test ends.
func Open(t testing.TB, i *server.Instance, database string) *sql.DB {
	t.Helper()
	db, err := i.Open(database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// Exec runs statements one after the other on one connection, so that USE and
// SET hold for those that follow.
func Exec(t testing.TB, db *sql.DB, statements ...string) {
	t.Helper()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	for _, s := range statements {
		if _, err := conn.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%v\n\t%s", err, s)
		}
	}
}

// Column returns the one column of a query's answer.
func Column(t testing.TB, db *sql.DB, query string) (list []string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatalf("%v\n\t%s", err, query)
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		list = append(list, s)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return list
}

// Encrypting is a server that encrypts its binary log on disk, and the arguments
// with which it does. MySQL's looks for its keys beside its program: it is a copy.
func Encrypting(t testing.TB, d server.Distribution) (server.Distribution, []string) {
	t.Helper()
	dir := t.TempDir()
	keys := filepath.Join(dir, "keys")
	if d.Flavor == server.MariaDB {
		write(t, keys, "1;"+strings.Repeat("0123456789abcdef", 4)+"\n")
		return d, []string{"--plugin-load-add=file_key_management", "--loose-file-key-management-filename=" + keys, "--encrypt-binlog=ON"}
	}
	from, to := filepath.Join(installed.Dir(), "servers", d.Name), filepath.Join(dir, "server")
	if err := exec.CommandContext(t.Context(), "cp", "-a", "--link", from, to).Run(); err != nil { // another filesystem
		if out, err := exec.CommandContext(t.Context(), "cp", "-a", from, to).CombinedOutput(); err != nil {
			t.Fatalf("copy the server: %v: %s", err, out)
		}
	}
	write(t, filepath.Join(to, "root/usr/sbin/mysqld.my"), `{"components": "file://component_keyring_file"}`)
	write(t, filepath.Join(to, "root/usr/lib/mysql/plugin/component_keyring_file.cnf"), `{"path": "`+keys+`", "read_only": false}`)
	copied, err := server.At(filepath.Join(to, "bin/mysqld"), installed.Dir())
	if err != nil {
		t.Fatal(err)
	}
	return copied, []string{"--binlog-encryption=ON"}
}

// encryptionHeader is what an encrypted file of MySQL has before its first byte.
const encryptionHeader = 512

// LogBytes is how many bytes of log a file has whose bytes, on disk, are given: MySQL
// puts something before those that it encrypts.
func LogBytes(file []byte) int {
	if bytes.HasPrefix(file, []byte("\xfdbin")) {
		return len(file) - encryptionHeader
	}
	return len(file)
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
