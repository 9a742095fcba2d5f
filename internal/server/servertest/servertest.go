// Package servertest gives tests real servers that are gone when the test is.
package servertest

import (
	"context"
	"database/sql"
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
