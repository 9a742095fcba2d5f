package inspect

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/txn"
)

// constructs counts what is not simply merged, by what it is.
type constructs map[constructKey]*Construct

type constructKey struct{ kind, what, table string }

// Bounds: a log of a hundred thousand kinds of statements must not fill the
// memory, nor the screen.
const (
	maxExamples   = 3
	maxConstructs = 10000
	maxText       = 160 // bytes
)

// add counts one in a transaction; q is its statement, nil if it has none.
func (c *constructs) add(kind, what, table string, t *txn.Transaction, q *binlog.Query) {
	one := Construct{Kind: kind, What: what, Table: table, Count: 1}
	if found := (*c)[constructKey{kind, what, table}]; found != nil && len(found.Examples) >= maxExamples {
		found.Count++
		return
	}
	ex := Example{Position: t.Position().String()}
	if q != nil {
		ex.Text = excerpt(q.SQL)
	}
	one.Examples = []Example{ex}
	c.put(&one)
}

func (c *constructs) put(o *Construct) {
	if *c == nil {
		*c = constructs{}
	}
	k := constructKey{o.Kind, o.What, o.Table}
	found := (*c)[k]
	if found == nil && len(*c) >= maxConstructs {
		k = constructKey{o.Kind, "others", ""}
		o.What, o.Table = k.what, k.table
		found = (*c)[k]
	}
	if found == nil {
		(*c)[k] = o
		return
	}
	found.Count += o.Count
	for _, ex := range o.Examples {
		last := found.Examples[len(found.Examples)-1]
		if len(found.Examples) < maxExamples && last.Position != ex.Position {
			found.Examples = append(found.Examples, ex)
		}
	}
}

// merge adds those of a later file.
func (c *constructs) merge(o *constructs) {
	for _, k := range slices.SortedFunc(maps.Keys(*o), compareKeys) {
		c.put((*o)[k])
	}
}

func compareKeys(a, b constructKey) int {
	return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.what, b.what), cmp.Compare(a.table, b.table))
}

// sorted lists the most frequent first.
func (c *constructs) sorted() []Construct {
	out := make([]Construct, 0, len(*c))
	for _, k := range slices.SortedFunc(maps.Keys(*c), compareKeys) {
		out = append(out, *(*c)[k])
	}
	slices.SortStableFunc(out, func(a, b Construct) int { return cmp.Compare(b.Count, a.Count) })
	return out
}

// statement is the first statement of a transaction that says what it does.
func statement(t *txn.Transaction) *binlog.Query {
	for q, err := range t.Queries() {
		if err != nil {
			continue // the scanner has decoded it before
		}
		switch txn.Verb(q.SQL) {
		case "SAVEPOINT", "RELEASE SAVEPOINT":
		default:
			return &q
		}
	}
	return nil
}

// label is a statement's first words.
func label(q *binlog.Query) string {
	if q == nil {
		return "no statement"
	}
	switch verb := strings.TrimSpace(txn.Verb(q.SQL)); verb {
	case "":
		return "unreadable statement"
	case "CREATE OR":
		return "CREATE OR REPLACE"
	default:
		return verb[:min(len(verb), 40)]
	}
}

// whyStatements says what keeps a transaction from being merged.
func whyStatements(t *txn.Transaction) string {
	q := statement(t)
	switch {
	case t.RolledBack:
		return "ends in ROLLBACK"
	case q != nil && strings.HasPrefix(label(q), "CREATE"):
		return "CREATE TABLE … SELECT"
	default:
		return label(q)
	}
}

// excerpt is a statement's beginning on one line, with nothing in it that a
// terminal would obey.
func excerpt(sql []byte) string {
	var b strings.Builder
	blank := false
	for _, c := range string(sql[:min(len(sql), 4*maxText)]) {
		switch {
		case unicode.IsSpace(c):
			blank = b.Len() > 0
			continue
		case !unicode.IsPrint(c):
			c = unicode.ReplacementChar
		}
		if b.Len() >= maxText {
			return b.String() + "…"
		}
		if blank {
			b.WriteByte(' ')
			blank = false
		}
		b.WriteRune(c)
	}
	if len(sql) > 4*maxText {
		return b.String() + "…"
	}
	return b.String()
}

// largest is the largest transactions, the smallest of them first; never more
// than asked for.
type largest []Large

func (l largest) wants(size int64, top int) bool {
	return len(l) < top || top > 0 && size > l[0].Bytes
}

// add puts one in its place; among equals the one added first stays.
func (l *largest) add(t Large, top int) {
	if !l.wants(t.Bytes, top) {
		return
	}
	at, _ := slices.BinarySearchFunc(*l, t, func(a, b Large) int { return cmp.Compare(a.Bytes, b.Bytes) })
	*l = slices.Insert(*l, at, t)
	if len(*l) > top {
		*l = slices.Delete(*l, 0, 1)
	}
}

func (l largest) sorted() []Large {
	out := make([]Large, 0, len(l))
	for i := len(l) - 1; i >= 0; i-- {
		out = append(out, l[i])
	}
	return out
}
