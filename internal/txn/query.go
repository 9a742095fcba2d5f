package txn

import (
	"bytes"
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
		if second, _ := word(rest); second == "TO" || second == "WORK" {
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

func skipBlank(sql []byte) []byte {
	for {
		sql = bytes.TrimLeft(sql, " \t\r\n\v\f(;")
		switch {
		case bytes.HasPrefix(sql, []byte("/*!")), bytes.HasPrefix(sql, []byte("/*M!")):
			sql = bytes.TrimLeft(sql[3:], "!0123456789")
		case bytes.HasPrefix(sql, []byte("/*")):
			sql = cutAfter(sql, "*/")
		case bytes.HasPrefix(sql, []byte("*/")):
			sql = sql[2:]
		case bytes.HasPrefix(sql, []byte("#")), bytes.HasPrefix(sql, []byte("-- ")):
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
