package txn_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/txn"
	"github.com/lifeboat-db/lifeboat/test/reallog"
)

// sessions are states of a session that a statement may depend on, and how the
// statement's context must show them. only names the vendor or series that has
// them.
var sessions = []struct {
	only, set, statement string
	check                func(c txn.Context) bool
}{
	{"", "SET foreign_key_checks = 0", "", func(c txn.Context) bool { return c.NoForeignKeys && !c.NoUniqueChecks && c.NoAutoIsNull }},
	{"", "SET unique_checks = 0", "", func(c txn.Context) bool { return c.NoUniqueChecks && !c.NoForeignKeys }},
	{"", "SET sql_auto_is_null = 1", "", func(c txn.Context) bool { return !c.NoAutoIsNull }},
	{"", "SET autocommit = 0", "", func(c txn.Context) bool { return c.HasFlags }}, // no server logs it
	{"", "SET sql_mode = ''", "", func(c txn.Context) bool { return c.HasSQLMode && c.SQLMode == 0 }},
	{"", "SET sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'", "", func(c txn.Context) bool { return c.SQLMode == 4|1<<20 }},
	{"", "SET auto_increment_increment = 5, auto_increment_offset = 3", "INSERT INTO ai VALUES (NULL, 1)", func(c txn.Context) bool { return c.AutoIncrement == 5 && c.AutoIncrementOffset == 3 }},
	{"", "SET NAMES latin1 COLLATE latin1_german1_ci", "", func(c txn.Context) bool { return c.HasCharset && c.ClientCharset == 5 && c.Connection == 5 }},
	{"", "SET collation_server = 'latin1_bin'", "", func(c txn.Context) bool { return c.ServerColl == 47 }},
	{"", "SET collation_database = 'latin1_bin'", "INSERT INTO ai VALUES (NULL, 1)", func(c txn.Context) bool { return c.HasDatabaseCollation && c.DatabaseCollation == 47 }},
	{"", "SET time_zone = '+05:30'", "UPDATE ai SET b = NOW()", func(c txn.Context) bool { return c.TimeZone == "+05:30" }},
	{"", "SET lc_time_names = 'de_DE'", "UPDATE ai SET b = LENGTH(MONTHNAME('2024-01-01'))", func(c txn.Context) bool { return c.HasTimeNames && c.TimeNames == 4 }},
	{"", "SET timestamp = 1700000000.123456", "UPDATE ai SET b = NOW(6)", func(c txn.Context) bool { return c.HasMicroseconds && c.Microseconds == 123456 }},
	{"", "SET @x = 1", "CREATE TEMPORARY TABLE x (a INT)", func(txn.Context) bool { return true }},
	{"mysql", "SET explicit_defaults_for_timestamp = 0", "CREATE TABLE x (a TIMESTAMP)", func(c txn.Context) bool { return c.HasExplicitDefaults && c.ExplicitDefaults == 0 }},
	{"mysql", "SET explicit_defaults_for_timestamp = 1", "CREATE TABLE x (a TIMESTAMP)", func(c txn.Context) bool { return c.HasExplicitDefaults && c.ExplicitDefaults == 1 }},
	{"mysql", "SET default_collation_for_utf8mb4 = utf8mb4_general_ci", "CREATE TABLE x (a INT)", func(c txn.Context) bool { return c.HasDefaultUTF8MB4Collation && c.DefaultUTF8MB4Collation == 45 }},
	{"mysql", "SET sql_require_primary_key = 1", "CREATE TABLE x (a INT PRIMARY KEY)", func(c txn.Context) bool { return c.HasRequirePrimaryKey && c.RequirePrimaryKey == 1 }},
	{"mysql", "SET default_table_encryption = 0", "CREATE DATABASE e", func(c txn.Context) bool { return c.HasDefEncryption && c.DefaultEncryption == 0 }},
	{"mysql", "SET @x = 1", "UPDATE d.ai, e.u SET ai.b = 1, u.b = 1", func(txn.Context) bool { return true }},
	{"mariadb-10.11", "SET check_constraint_checks = 0", "", func(c txn.Context) bool { return c.NoCheckConstraint }},
	{"mariadb", "SET sql_if_exists = 1", "DROP TABLE no_such_table", func(c txn.Context) bool { return c.IfExists }},
	{"mariadb", "SET explicit_defaults_for_timestamp = 1", "CREATE TABLE x (a TIMESTAMP)", func(c txn.Context) bool { return c.MariaExplicit }},
	{"mariadb", "SET explicit_defaults_for_timestamp = 0", "CREATE TABLE x (a TIMESTAMP)", func(c txn.Context) bool { return !c.MariaExplicit }},
	{"mariadb-11.8", "SET character_set_collations = 'utf8mb4=utf8mb4_bin,latin1=latin1_bin'", "CREATE TABLE x (a VARCHAR(10) CHARACTER SET utf8mb4)", func(c txn.Context) bool {
		return len(c.CharacterSetCollations) == 2 && fmt.Sprint(c.CharacterSetCollations) == "[{8 47} {45 46}]" || fmt.Sprint(c.CharacterSetCollations) == "[{45 46} {8 47}]"
	}},
}

// testContext: what a session sets stands in the context of its statements.
func testContext(t *testing.T, d server.Distribution, src *reallog.Source) {
	if d.Flavor == server.MySQL {
		src.Exec(t, "SET GLOBAL binlog_transaction_compression = OFF")
	}
	src.Exec(t, append(list("CREATE DATABASE e"), "CREATE TABLE e.u (a INT PRIMARY KEY, b INT)", "REPLACE INTO d.ai VALUES (1, 1)")...)
	for _, s := range sessions {
		if !strings.HasPrefix(d.Name, s.only) {
			continue
		}
		statement := s.statement
		if statement == "" {
			statement = "UPDATE ai SET b = b + 1"
		}
		src.Exec(t, "SET sql_log_bin = 0", "DROP TABLE IF EXISTS d.x", "DROP VIEW IF EXISTS d.v")
		if strings.HasPrefix(statement, "CREATE DATABASE") {
			src.Exec(t, "SET sql_log_bin = 0", "DROP DATABASE e")
		}
		path := src.Record(t, "USE d", "SET binlog_format = STATEMENT", s.set, statement, "COMMIT")
		c := contextOf(t, path, statement)
		if !s.check(c) {
			t.Errorf("%s; %s:\n\t%+v", s.set, statement, c)
		}
		if strings.HasPrefix(statement, "CREATE DATABASE") {
			src.Exec(t, "CREATE TABLE e.u (a INT PRIMARY KEY, b INT)")
		}
	}
}

// contextOf is the context of the only statement that begins like this one.
func contextOf(t *testing.T, path, statement string) (c txn.Context) {
	t.Helper()
	f, err := binlog.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	sc := txn.NewScanner(f, 0, &binlog.Inflater{})
	verb, found := txn.Verb([]byte(statement)), 0
	for {
		g, ok, err := sc.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		for _, ev := range g.Events {
			if ev.Type != binlog.QueryEvent {
				continue
			}
			q, err := binlog.DecodeQuery(ev.Body, 0)
			if err != nil {
				t.Fatal(err)
			}
			if txn.Verb(q.SQL) != verb {
				continue
			}
			found++
			if c, err = txn.ParseContext(q.Status); err != nil {
				t.Fatalf("%s: status %x: %v", statement, q.Status, err)
			}
			for n := range q.Status { // cut off anywhere: an error, or less
				_, _ = txn.ParseContext(q.Status[:n])
			}
		}
	}
	if found != 1 {
		t.Errorf("%d statements like %s in the log", found, statement)
	}
	return c
}

func TestContextRefused(t *testing.T) {
	for _, test := range []struct {
		name   string
		status []byte
		want   error
	}{
		{"nothing", nil, nil},
		{"an unknown variable", []byte{77}, binlog.ErrUnsupported},
		{"an unknown variable behind a known one", []byte{13, 1, 2, 3, 200}, binlog.ErrUnsupported},
		{"flags cut off", []byte{0, 1, 2, 3}, binlog.ErrCorrupt},
		{"time zone longer than the variables", []byte{5, 9, 'U', 'T', 'C'}, binlog.ErrCorrupt},
		{"databases", []byte{12, 2, 'a', 0, 'b', 0}, nil},
		{"too many databases to name", []byte{12, 254}, nil},
		{"databases cut off", []byte{12, 2, 'a', 0, 'b'}, binlog.ErrCorrupt},
		{"collations cut off", []byte{131, 2, 1, 0, 2, 0}, binlog.ErrCorrupt},
		{"an old catalog", []byte{2, 3, 's', 't', 'd', 0, 13, 1, 0, 0}, nil},
		{"ALTER in two phases", []byte{130, 4, 0, 1, 2, 3, 4, 5, 6, 7, 8}, nil},
	} {
		if c, err := txn.ParseContext(test.status); !errors.Is(err, test.want) {
			t.Errorf("%s: %+v %v, want %v", test.name, c, err, test.want)
		}
	}
}

// TestInvoker: servers log CURRENT_USER() where a definition needs it, which
// depends on the version.
func TestInvoker(t *testing.T) {
	c, err := txn.ParseContext([]byte("\x0b\x04root\x09localhost\x0d\x40\xe2\x01"))
	if err != nil || !c.HasInvoker || c.User != "root" || c.Host != "localhost" || c.Microseconds != 123456 {
		t.Errorf("%+v %v", c, err)
	}
}

func FuzzParseContext(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0, 1, 0, 0, 160, 0, 0, 0, 0, 0, 6, 3, 's', 't', 'd', 4, 45, 0, 45, 0, 255, 0})
	f.Add([]byte{12, 2, 'a', 0, 'b', 0, 13, 1, 2, 3, 131, 1, 1, 0, 2, 0})
	f.Fuzz(func(t *testing.T, status []byte) {
		c, err := txn.ParseContext(status)
		if err == nil && len(c.CharacterSetCollations)*4 > len(status) {
			t.Errorf("%+v", c)
		}
	})
}
