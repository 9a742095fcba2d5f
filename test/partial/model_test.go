package partial_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/replay"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// The model: three tables as maps, and what each transaction does to them. It
// knows without a server whether a transaction fits a state.

type row struct {
	key  string
	v, u int // u: unique in table num; 0 is NULL
}

// change is one row's change, or, without rows, a TRUNCATE or ALTER TABLE.
type change struct {
	table         string // num, text or heap
	before, after *row
	sql           string
}

type tableState map[string]row // by key in lower case; heap: by contents, u counts copies

type model struct {
	tables map[string]tableState
	frozen map[string]bool // ALTER TABLE was left out
	taken  bool            // some unique value was held by two rows
}

func newModel() *model {
	m := &model{tables: map[string]tableState{"num": {}, "text": {}, "heap": {}}, frozen: map[string]bool{}}
	for i := 1; i <= 12; i++ {
		m.insert("num", row{fmt.Sprint(i), i, i})
		m.insert("text", row{string(rune('a' + i)), i, 0})
		m.insert("heap", row{fmt.Sprint(i % 5), i % 2, 0})
	}
	return m
}

func heapKey(r row) string { return fmt.Sprintf("%s/%d", r.key, r.v) }

func (m *model) insert(table string, r row) {
	if table == "heap" {
		k := heapKey(r)
		n := m.tables[table][k].u
		m.tables[table][k] = row{r.key, r.v, n + 1}
		return
	}
	m.tables[table][strings.ToLower(r.key)] = r
}

func (m *model) clone() *model {
	out := &model{tables: map[string]tableState{}, frozen: map[string]bool{}}
	for name, t := range m.tables {
		out.tables[name] = maps.Clone(t)
	}
	return out
}

// apply reports whether a change fits what is there.
func (m *model) apply(c change) bool {
	t := m.tables[c.table]
	if c.before == nil && c.after == nil {
		if strings.HasPrefix(c.sql, "TRUNCATE") {
			clear(t)
		}
		return true
	}
	if m.frozen[c.table] {
		return false
	}
	if c.table == "heap" {
		return m.applyHeap(c)
	}
	if c.before != nil {
		k := strings.ToLower(c.before.key)
		if t[k] != *c.before {
			return false
		}
		delete(t, k)
	}
	if c.after != nil {
		k := strings.ToLower(c.after.key)
		if _, there := t[k]; there {
			return false
		}
		for _, other := range t {
			m.taken = m.taken || c.after.u != 0 && other.u == c.after.u
		}
		t[k] = *c.after
	}
	return true
}

func (m *model) applyHeap(c change) bool {
	t := m.tables["heap"]
	if c.before != nil {
		k := heapKey(*c.before)
		old := t[k]
		if old.u == 0 {
			return false
		}
		if old.u--; old.u == 0 {
			delete(t, k)
		} else {
			t[k] = old
		}
	}
	if c.after != nil {
		m.insert("heap", *c.after)
	}
	return true
}

func (m *model) setUp() (list []string) {
	list = []string{
		"CREATE DATABASE p", "CREATE TABLE p.num (k INT PRIMARY KEY, v INT, u INT UNIQUE)",
		"CREATE TABLE p.text (k VARCHAR(10) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci PRIMARY KEY, v INT, u INT)", "CREATE TABLE p.heap (k INT, v INT)",
	}
	for name, t := range m.tables {
		for _, r := range t {
			n := 1
			if name == "heap" {
				n = r.u
			}
			for range n {
				list = append(list, insertSQL(name, r))
			}
		}
	}
	return list
}

func null(u int) string {
	if u == 0 {
		return "NULL"
	}
	return fmt.Sprint(u)
}

func insertSQL(table string, r row) string {
	if table == "heap" {
		return fmt.Sprintf("INSERT INTO p.heap (k, v) VALUES (%s, %d)", r.key, r.v)
	}
	return fmt.Sprintf("INSERT INTO p.%s (k, v, u) VALUES ('%s', %d, %s)", table, r.key, r.v, null(r.u))
}

func where(table string, r row) string {
	if table == "heap" {
		return fmt.Sprintf(" WHERE k = %s AND v = %d LIMIT 1", r.key, r.v)
	}
	return fmt.Sprintf(" WHERE k = '%s'", r.key)
}

// change makes one that fits, and applies it.
func (m *model) change(r *rand.Rand, n int) change {
	c := change{table: []string{"num", "text", "heap"}[r.IntN(3)]}
	t := m.tables[c.table]
	switch r.IntN(40) {
	case 0:
		c.sql = "TRUNCATE TABLE p." + c.table
	case 1:
		c.sql = fmt.Sprintf("ALTER TABLE p.%s ADD c%d INT NOT NULL DEFAULT 3", c.table, n)
	default:
		c = m.rowChange(r, c.table, t)
	}
	m.apply(c)
	return c
}

func (m *model) rowChange(r *rand.Rand, table string, t tableState) change {
	c := change{table: table}
	if keys := slices.Sorted(maps.Keys(t)); len(keys) > 0 && r.IntN(3) > 0 {
		old := t[keys[r.IntN(len(keys))]]
		if table == "heap" {
			old.u = 0
		}
		c.before = &old
	}
	if c.before != nil && r.IntN(3) == 0 {
		c.sql = "DELETE FROM p." + table + where(table, *c.before)
		return c
	}
	next := row{m.newKey(r, table), r.IntN(50), m.newUnique(r, table)}
	if c.before != nil {
		if r.IntN(3) > 0 {
			next.key = c.before.key
		}
		if table == "num" && r.IntN(2) == 0 {
			next.u = c.before.u
		}
		if table == "heap" && next.v == c.before.v || next == *c.before { // else nothing is logged
			next.v = c.before.v + 60
		}
		c.sql = fmt.Sprintf("UPDATE p.%s SET k = '%s', v = %d%s%s", table, next.key, next.v, unique(table, next), where(table, *c.before))
	} else {
		c.sql = insertSQL(table, next)
	}
	c.after = &next
	return c
}

func unique(table string, r row) string {
	if table == "heap" {
		return ""
	}
	return ", u = " + null(r.u)
}

func (m *model) newKey(r *rand.Rand, table string) string {
	for {
		k := fmt.Sprint(r.IntN(40))
		if table == "text" {
			k = string(rune("aA"[r.IntN(2)])+rune(r.IntN(20))) + []string{"", "x"}[r.IntN(2)]
		}
		if _, there := m.tables[table][strings.ToLower(k)]; !there || table == "heap" {
			return k
		}
	}
}

func (m *model) newUnique(r *rand.Rand, table string) int {
	u := r.IntN(30)
	for _, other := range m.tables["num"] {
		if table != "num" || other.u == u {
			return 0
		}
	}
	return u
}

// leaveOut applies all transactions but some to a state. It returns the first
// that does not fit; -1: all do.
func (m *model) leaveOut(load [][]change, skip []int) int {
	for n, transaction := range load {
		for _, c := range transaction {
			if slices.Contains(skip, n) {
				m.frozen[c.table] = m.frozen[c.table] || strings.HasPrefix(c.sql, "ALTER")
				continue
			}
			if !m.apply(c) {
				return n
			}
		}
	}
	return -1
}

// rows are a table's rows as text, sorted.
func (m *model) rows(table string) (list []string) {
	for _, r := range m.tables[table] {
		if table != "heap" {
			list = append(list, fmt.Sprintf("%s %d %s", r.key, r.v, null(r.u)))
			continue
		}
		for range r.u {
			list = append(list, fmt.Sprintf("%s %d", r.key, r.v))
		}
	}
	slices.Sort(list)
	return list
}

// random leaves random transactions out of random logs, every other time with all
// those that depend on them. Where the model says that all others fit, target,
// model and twin are the same in the end; where it says that one does not,
// lifeboat says so, too.
//
//	LIFEBOAT_SEED=N      the first seed
//	LIFEBOAT_HISTORIES=N how many logs for each distribution
func (b *bench) random() {
	t, fit := b.t, 0
	seed, logs, choices := number("LIFEBOAT_SEED", rand.IntN(1_000_000)), number("LIFEBOAT_HISTORIES", 1), 2
	if long {
		logs, choices = number("LIFEBOAT_HISTORIES", 6), 8
	}
	for n := range logs {
		t.Run(fmt.Sprintf("seed=%d", seed+n), func(t *testing.T) {
			b.t = t
			fit += b.randomSkips(rand.New(rand.NewPCG(uint64(seed+n), 1)), choices) //nolint:gosec // a seed
		})
	}
	t.Logf("%d of %d choices fit", fit, choices*logs)
}

func (b *bench) randomSkips(r *rand.Rand, choices int) (fit int) {
	begin := newModel()
	m := begin.clone()
	var load [][]change
	var text []string
	for n := range 40 {
		first := m.change(r, n)
		transaction, lines := []change{first}, []string{first.sql}
		for first.before != first.after && r.IntN(2) == 0 {
			c := m.rowChange(r, first.table, m.tables[first.table])
			m.apply(c)
			transaction, lines = append(transaction, c), append(lines, c.sql)
		}
		load, text = append(load, transaction), append(text, strings.Join(lines, "\n"))
	}
	l := b.record(begin.setUp(), text)
	if len(l.start) != len(load) {
		b.t.Fatalf("%d transactions, want %d", len(l.start), len(load))
	}
	for n := range choices {
		skip := r.Perm(len(load))[:1+r.IntN(3)]
		end := begin.clone()
		misfit := end.leaveOut(load, skip)
		for n%2 == 0 && misfit >= 0 { // as an operator would do it
			skip = append(skip, misfit)
			end = begin.clone()
			misfit = end.leaveOut(load, skip)
		}
		slices.Sort(skip)
		b.reset(b.target, begin.setUp())
		o := replay.Options{Skip: l.names(skip), Verify: true, ChunkBytes: 256}
		for range 2 { // whenever it is interrupted, it goes on
			b.interrupted(b.options(l, o), time.Duration(r.IntN(400))*time.Millisecond)
		}
		_, err := b.replay(l, o)
		if misfit < 0 && err == nil {
			fit++
		}
		b.judge(l, skip, begin, end, misfit, err)
		if b.t.Failed() {
			b.t.Fatalf("skipped %v of\n%s", skip, strings.Join(text, "\n--\n"))
		}
	}
	return fit
}

// interrupted runs a replay that is cut off after a while.
func (b *bench) interrupted(o replay.Options, after time.Duration) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	defer cancel()
	defer time.AfterFunc(after, cancel).Stop() // not a deadline, of which a dialer may tell before the context does
	_, err := replay.Run(ctx, o)
	if class := fault.ClassOf(err); err != nil && class != fault.Interrupted && class != fault.Refused {
		b.t.Errorf("interrupted after %s: %v", after, err)
	}
}

func (b *bench) judge(l log, skip []int, begin, end *model, misfit int, err error) {
	b.t.Helper()
	switch {
	case misfit >= 0:
		conflicts(b.t, err, l, -1, "p.")
		return
	case end.taken && fault.ClassOf(err) == fault.Refused:
		return
	case err != nil:
		b.t.Errorf("everything fits, and: %v", err)
		return
	}
	db := servertest.Open(b.t, b.target, "")
	for table, columns := range map[string]string{"num": "k, ' ', v, ' ', COALESCE(u, 'NULL')", "text": "k, ' ', v, ' ', COALESCE(u, 'NULL')", "heap": "k, ' ', v"} {
		got := servertest.Column(b.t, db, "SELECT CONCAT("+columns+") FROM p."+table)
		slices.Sort(got)
		if want := end.rows(table); !slices.Equal(got, want) {
			b.t.Errorf("table %s:\n%q, the model has\n%q", table, got, want)
		}
	}
	if end.taken {
		return // the twin stops where two rows have one value
	}
	b.reset(b.twin, begin.setUp())
	if err := b.serially(l, skip); err != nil {
		b.t.Error(err)
	}
	b.same()
}
