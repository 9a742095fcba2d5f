package threeway_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/test/compare"
)

// TestCases replays the histories that are written down, each a directory of
// test/cases:
//
//	setup.sql  what is in the backup
//	load.sql   what is in the log
//	flavor     optional: mysql, mariadb, anonymous (MySQL without GTIDs)
//
// A statement ends at a line that ends in the delimiter. If load.sql begins
// with a comment that says that errors are expected, the server may refuse
// statements; else that fails the test. Each case has a schema of its own
// name.
//
// All cases are replayed as one log; with LIFEBOAT_CASE=NAME that case is
// alone, with LIFEBOAT_CASE=all each is.
func TestCases(t *testing.T) {
	all := cases(t)
	wanted := os.Getenv("LIFEBOAT_CASE")
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		if wanted != "" {
			replayAlone(t, d, all, wanted)
			return
		}
		var together, rest []testCase
		for _, c := range all {
			if c.fits(d, true) {
				together = append(together, c)
			} else {
				rest = append(rest, c)
			}
		}
		if !t.Run("together", func(t *testing.T) { replayCases(t, d, true, together) }) {
			t.Log("LIFEBOAT_CASE=all replays each case alone")
		}
		replayAlone(t, d, rest, "all")
	})
}

func replayAlone(t *testing.T, d server.Distribution, all []testCase, wanted string) {
	for _, c := range all {
		gtid := c.flavor != "anonymous"
		if (wanted == "all" || wanted == c.name) && c.fits(d, gtid) {
			t.Run(c.name, func(t *testing.T) { replayCases(t, d, gtid, []testCase{c}) })
		}
	}
}

// testCase is one directory.
type testCase struct{ name, flavor, setUp, load string }

func cases(t *testing.T) (list []testCase) {
	t.Helper()
	files, err := filepath.Glob("../cases/*/load.sql")
	must(t, err)
	for _, file := range files {
		dir := filepath.Dir(file)
		list = append(list, testCase{
			name: filepath.Base(dir), flavor: strings.TrimSpace(text(t, filepath.Join(dir, "flavor"), true)),
			setUp: text(t, filepath.Join(dir, "setup.sql"), false), load: text(t, file, false),
		})
	}
	return list
}

// fits says whether a case is for a distribution with or without GTIDs.
func (c testCase) fits(d server.Distribution, gtid bool) bool {
	switch c.flavor {
	case "":
		return true
	case "anonymous":
		return !gtid || d.Flavor == server.MariaDB
	default:
		return c.flavor == string(d.Flavor)
	}
}

func replayCases(t *testing.T, d server.Distribution, gtid bool, list []testCase) {
	each := func(part func(c testCase) string) play {
		return func(ctx context.Context, db *sql.DB) error {
			for _, c := range list {
				if err := script(part(c))(ctx, db); err != nil {
					return fmt.Errorf("%s: %w", c.name, err)
				}
			}
			return nil
		}
	}
	w := record(t, d, gtid, each(func(c testCase) string { return c.setUp }), each(func(c testCase) string { return c.load }))
	w.compareAll(t, ways(false), compare.Exact)
}

func text(t *testing.T, path string, optional bool) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil && (!optional || !os.IsNotExist(err)) {
		t.Fatal(err)
	}
	return string(b)
}

// script runs statements on one connection, which nobody gets after it.
func script(text string) play {
	first, _, _ := strings.Cut(text, "\n")
	tolerant := strings.HasPrefix(first, "-- errors are expected")
	return func(ctx context.Context, db *sql.DB) error {
		db.SetMaxIdleConns(-1)
		conn, err := db.Conn(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		for _, statement := range statements(text) {
			_, err := conn.ExecContext(ctx, statement)
			var refused *mysql.MySQLError
			if err != nil && (!tolerant || !errors.As(err, &refused)) {
				return fmt.Errorf("%w\n\t%s", err, statement)
			}
		}
		return nil
	}
}

// statements splits a script as the mysql client does, but only at ends of
// lines.
func statements(text string) (list []string) {
	delimiter, statement := ";", ""
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		switch {
		case statement == "" && (trimmed == "" || strings.HasPrefix(trimmed, "--")):
		case strings.HasPrefix(trimmed, "DELIMITER "):
			delimiter = strings.TrimPrefix(trimmed, "DELIMITER ")
		case strings.HasSuffix(trimmed, delimiter):
			list = append(list, statement+strings.TrimSuffix(trimmed, delimiter))
			statement = ""
		default:
			statement += line
		}
	}
	return list
}
