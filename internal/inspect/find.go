package inspect

import (
	"bytes"
	"slices"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/txn"
)

// maxFound is how many transactions are listed; of more the last ones.
const maxFound = 1000

// Found are the transactions that Options.Find has found.
type Found struct {
	Text         string  `json:"text"`
	Count        int64   `json:"count"`
	Transactions []Match `json:"transactions"` // the last ones, in the order of the log
}

// Match is a transaction with a table, or a statement, in whose name or text
// Options.Find is.
type Match struct {
	Position  string       `json:"position"` // a replay --until it stops before the transaction
	End       string       `json:"end_position"`
	GTID      string       `json:"gtid,omitempty"`
	Committed time.Time    `json:"committed,omitzero"`
	Rows      int64        `json:"rows"`                // row changes, of all tables
	Tables    []TableCount `json:"tables"`              // of those rows
	Database  string       `json:"database,omitempty"`  // the default one of the statement
	Statement string       `json:"statement,omitempty"` // the first one that has it: its beginning, white space folded
}

// finder looks for a text, and, if it is DATABASE.TABLE, for that table in
// statements for which the database is the default one. nil: for nothing.
type finder struct {
	text            []byte // folded
	database, table []byte // empty: it is none
}

func newFinder(text string) *finder {
	if text == "" {
		return nil
	}
	f := &finder{text: folded([]byte(text))}
	if db, table, ok := bytes.Cut(f.text, []byte(".")); ok && !bytes.ContainsAny(table, ". ") && !bytes.Contains(db, []byte(" ")) {
		f.database, f.table = db, table
	}
	return f
}

// folded is a text in lower case, without backquotes, with single blanks.
func folded(text []byte) []byte {
	return bytes.Join(bytes.Fields(bytes.ToLower(bytes.ReplaceAll(text, []byte("`"), nil))), []byte(" "))
}

func (f *finder) inName(name string) bool { return bytes.Contains(folded([]byte(name)), f.text) }

func (f *finder) inStatement(q *binlog.Query) bool {
	text := folded(q.SQL)
	return bytes.Contains(text, f.text) || len(f.table) > 0 && bytes.Equal(folded([]byte(q.Database)), f.database) && hasWord(text, f.table)
}

// hasWord reports whether a text has a word, which is not a part of another one.
func hasWord(text, word []byte) bool {
	for {
		i := bytes.Index(text, word)
		if i < 0 {
			return false
		}
		end := i + len(word)
		if (i == 0 || !isWord(text[i-1])) && (end == len(text) || !isWord(text[end])) {
			return true
		}
		text = text[i+1:]
	}
}

// isWord reports whether a byte may be in a name that is not quoted.
func isWord(c byte) bool {
	return c >= 0x80 || c == '_' || c == '$' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z'
}

// find looks at a transaction whose tables are mapped.
func (s *scan) find(t *txn.Transaction) {
	if s.r.find == nil {
		return
	}
	database, said, inSaid := s.saying(t)
	if !inSaid && !s.touches(t) {
		return
	}
	s.total.found.add(Match{
		Position: t.Position().String(), End: t.EndPosition().String(), GTID: idText(t), Committed: t.Committed,
		Rows: s.rows, Tables: append([]TableCount{}, s.tablesOf(t)...), Database: database, Statement: said,
	})
}

// saying is the first statement that has the text.
func (s *scan) saying(t *txn.Transaction) (database, said string, found bool) {
	for q, err := range t.Queries() {
		if err == nil && s.r.find.inStatement(&q) {
			return string(q.Database), excerpt(q.SQL), true
		}
	}
	return "", "", false
}

// touches reports whether a table has the text in its name.
func (s *scan) touches(t *txn.Transaction) bool {
	return slices.ContainsFunc(t.Events, func(ev binlog.Event) bool {
		if ev.Type != binlog.TableMapEvent {
			return false
		}
		m := s.maps[binlog.TableID(ev.Body)]
		return m != nil && s.r.find.inName(m.name.String())
	})
}

func (f *Found) add(all ...Match) {
	f.Count += int64(len(all))
	f.Transactions = append(f.Transactions, all...)
	if more := len(f.Transactions) - maxFound; more >= maxFound { // not one by one
		f.Transactions = slices.Delete(f.Transactions, 0, more)
	}
}

// merge adds those of a later file.
func (f *Found) merge(o *Found) {
	f.add(o.Transactions...)
	f.Count += o.Count - int64(len(o.Transactions))
}

// report is the result of looking for a text; nil: nobody did.
func (f *Found) report(text string) *Found {
	if text == "" {
		return nil
	}
	last := f.Transactions[max(0, len(f.Transactions)-maxFound):]
	return &Found{Text: text, Count: f.Count, Transactions: append([]Match{}, last...)}
}
