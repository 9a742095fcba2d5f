package txn

import (
	"bytes"
	"iter"
	"strings"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
)

// Verb is the statement's first keyword in upper case, or the first two where
// one does not tell what it is (XA, ROLLBACK TO, CREATE and DROP, …). Leading
// comments and blanks do not count.
func Verb(sql []byte) string {
	first, rest := word(sql)
	switch first {
	case "XA", "RELEASE", "CREATE", "DROP", "ALTER", "LOAD":
		second, _ := word(rest)
		return first + " " + second
	case "ROLLBACK":
		second, rest := word(rest)
		if second == "WORK" {
			second, _ = word(rest)
		}
		if second == "TO" {
			return first + " " + second
		}
	}
	return first
}

// word cuts the next word of SQL text, in upper case; versioned comments such
// as /*!40005 TEMPORARY */ count as their contents.
func word(sql []byte) (string, []byte) {
	sql = skipBlank(sql)
	n := 0
	for n < len(sql) && isWord(sql[n]) {
		n++
	}
	return strings.ToUpper(string(sql[:n])), sql[n:]
}

func isWord(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}

const blanks = " \t\r\n\v\f"

func skipBlank(sql []byte) []byte { return skip(sql, blanks+"(;") }

// skip passes over characters of a set and over comments.
func skip(sql []byte, set string) []byte {
	for {
		sql = bytes.TrimLeft(sql, set)
		switch {
		case bytes.HasPrefix(sql, []byte("/*!")), bytes.HasPrefix(sql, []byte("/*M!")):
			sql = bytes.TrimLeft(sql[3:], "!0123456789")
		case bytes.HasPrefix(sql, []byte("/*")):
			sql = cutAfter(sql, "*/")
		case bytes.HasPrefix(sql, []byte("*/")):
			sql = sql[2:]
		case bytes.HasPrefix(sql, []byte("#")), bytes.HasPrefix(sql, []byte("--")) && (len(sql) == 2 || sql[2] <= ' '):
			sql = cutAfter(sql, "\n")
		default:
			return sql
		}
	}
}

func cutAfter(b []byte, sep string) []byte {
	_, rest, _ := bytes.Cut(b, []byte(sep))
	return rest
}

func queryTime(ev binlog.Event, q binlog.Query) time.Time {
	t := time.Unix(int64(ev.Timestamp), 0)
	if c, err := ParseContext(q.Status); err == nil {
		t = t.Add(time.Duration(c.Microseconds) * time.Microsecond)
	}
	return t
}

// Queries are the transaction's statements, in order; of one that cannot be
// decoded the error.
func (t *Transaction) Queries() iter.Seq2[binlog.Query, error] {
	return func(yield func(binlog.Query, error) bool) {
		for i := range t.Events {
			if t.Events[i].Type == binlog.QueryEvent && !yield(binlog.DecodeQuery(t.Events[i].Body, 0)) {
				return
			}
		}
	}
}

// CreatesTable reports whether the transaction is a CREATE TABLE … SELECT:
// MySQL from 8.0.21 on logs CREATE TABLE … START TRANSACTION, rows and a commit,
// MariaDB CREATE TABLE, rows and a commit, of which the first commits by itself.
func (t *Transaction) CreatesTable() bool {
	if t.Kind != Statements {
		return false
	}
	for q, err := range t.Queries() {
		if err == nil && IsCreateTable(q.SQL) {
			return true
		}
	}
	return false
}

// Piecewise reports whether the transaction is a statement on several objects
// that a crash can leave half done (MariaDB drops a database table by table),
// and that can be executed again, if it is no error that pieces are done.
func (t *Transaction) Piecewise() bool {
	if t.Kind != DDL || len(t.Events) == 0 {
		return false
	}
	q, err := binlog.DecodeQuery(t.Events[len(t.Events)-1].Body, 0)
	if err != nil {
		return false
	}
	switch Verb(q.SQL) {
	case "DROP DATABASE", "DROP SCHEMA", "DROP TABLE", "DROP TABLES", "DROP VIEW", "DROP SEQUENCE",
		"CREATE USER", "DROP USER", "ALTER USER", "CREATE ROLE", "DROP ROLE", "GRANT", "REVOKE":
		return true
	default:
		return false
	}
}

// CheckContext reports the first statement whose session state is not
// understood, so that it is refused before anything is executed.
func (t *Transaction) CheckContext() error {
	for q, err := range t.Queries() {
		if err != nil {
			return err
		}
		if _, err := ParseContext(q.Status); err != nil {
			return err
		}
	}
	return nil
}

// IsCreateTable reports whether the statement makes a table that is not temporary.
func IsCreateTable(sql []byte) bool {
	verb := Verb(sql)
	created, _ := TemporaryTables(sql, "")
	return verb == "CREATE TABLE" || verb == "CREATE OR" && created == nil
}

// TemporaryTables finds the names of temporary tables that a statement makes
// or drops, qualified with their database.
func TemporaryTables(sql []byte, database string) (created, dropped []string) {
	var first, second, third string
	var rest []byte
	first, rest = word(sql)
	second, rest = word(rest)
	if second == "OR" { // CREATE OR REPLACE
		_, rest = word(rest)
		second, rest = word(rest)
	}
	if second != "TEMPORARY" && (first != "CREATE" || second != "TEMPORARY") {
		return nil, nil
	}
	if third, rest = word(rest); third != "TABLE" && third != "TABLES" && third != "SEQUENCE" {
		return nil, nil
	}
	names := tableNames(rest, database)
	switch {
	case first == "CREATE" && len(names) > 0:
		return names[:1], nil
	case first == "DROP":
		return nil, names
	default:
		return nil, nil
	}
}

// tableNames reads a list of table names, behind IF [NOT] EXISTS if that is
// there.
func tableNames(sql []byte, database string) []string {
	for {
		w, rest := word(sql)
		if w != "IF" && w != "NOT" && w != "EXISTS" {
			break
		}
		sql = rest
	}
	var names []string
	for {
		var name string
		var ok bool
		if name, sql, ok = tableName(sql, database); !ok {
			return names
		}
		names = append(names, name)
		if sql = skipBlank(sql); len(sql) == 0 || sql[0] != ',' {
			return names
		}
		sql = sql[1:]
	}
}

func tableName(sql []byte, database string) (name string, rest []byte, ok bool) {
	part, rest, ok := identifier(skipBlank(sql))
	if !ok {
		return "", nil, false
	}
	if next := skipBlank(rest); len(next) > 0 && next[0] == '.' {
		if table, r, ok := identifier(skipBlank(next[1:])); ok {
			return part + "." + table, r, true
		}
	}
	return database + "." + part, rest, true
}

func identifier(sql []byte) (name string, rest []byte, ok bool) {
	if len(sql) > 0 && (sql[0] == '`' || sql[0] == '"') {
		quote := sql[:1]
		for i := 1; i < len(sql); i++ {
			if sql[i] == quote[0] && i+1 < len(sql) && sql[i+1] == quote[0] {
				i++
			} else if sql[i] == quote[0] {
				return string(bytes.ReplaceAll(sql[1:i], bytes.Repeat(quote, 2), quote)), sql[i+1:], true
			}
		}
		return "", nil, false
	}
	n := 0
	for n < len(sql) && (isWord(sql[n]) || sql[n] == '$' || sql[n] >= 0x80) {
		n++
	}
	return string(sql[:n]), sql[n:], n > 0
}
