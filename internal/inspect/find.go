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
	Statement string       `json:"statement,omitempty"` // the first one that has it: its beginning, white space folded
}

// finder looks for a text in lower case, as bytes; nil: for nothing.
type finder []byte

func newFinder(text string) finder {
	if text == "" {
		return nil
	}
	return bytes.ToLower([]byte(text))
}

func (f finder) in(text []byte) bool { return bytes.Contains(bytes.ToLower(text), f) }

// find looks at a transaction whose tables are mapped.
func (s *scan) find(t *txn.Transaction) {
	if s.r.find == nil {
		return
	}
	said, inSaid := s.saying(t)
	if !inSaid && !s.touches(t) {
		return
	}
	s.total.found.add(Match{
		Position: t.Position().String(), End: t.EndPosition().String(), GTID: idText(t), Committed: t.Committed,
		Rows: s.rows, Tables: append([]TableCount{}, s.tablesOf(t)...), Statement: said,
	})
}

// saying is the first statement that has the text.
func (s *scan) saying(t *txn.Transaction) (said string, found bool) {
	for q, err := range t.Queries() {
		if err == nil && s.r.find.in(q.SQL) {
			return excerpt(q.SQL), true
		}
	}
	return "", false
}

// touches reports whether a table has the text in its name.
func (s *scan) touches(t *txn.Transaction) bool {
	return slices.ContainsFunc(t.Events, func(ev binlog.Event) bool {
		if ev.Type != binlog.TableMapEvent {
			return false
		}
		m := s.maps[binlog.TableID(ev.Body)]
		return m != nil && s.r.find.in([]byte(m.name.String()))
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
