package partial_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/replay"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/test/compare"
)

// skipCase is a log, transactions to leave out of it, and what comes of that:
// what the twin does, or a conflict.
type skipCase struct {
	name   string
	setUp  []string
	load   []string // one transaction each; its statements are separated by lines
	skip   []int    // elements of load
	table  string   // of the conflict; empty: there is none
	at     int      // element of load that conflicts; -1: it is not told
	verify bool
}

var shop = []string{
	"CREATE DATABASE shop",
	"CREATE TABLE shop.orders (id INT PRIMARY KEY, v INT NOT NULL DEFAULT 0, mail VARCHAR(40), UNIQUE (mail))",
	"INSERT INTO shop.orders VALUES (1, 10, 'a'), (2, 20, 'b'), (3, 30, 'c')",
	"CREATE TABLE shop.lines (a INT, b INT)",
	"INSERT INTO shop.lines VALUES (1, 1), (1, 1), (2, 2)",
}

func and(list []string, more ...string) []string {
	return append(append([]string(nil), list...), more...)
}

var family = and(shop,
	"CREATE TABLE shop.items (id INT PRIMARY KEY, o INT, v INT DEFAULT 0, CONSTRAINT of_order FOREIGN KEY (o) REFERENCES shop.orders (id))",
	"INSERT INTO shop.items VALUES (1, 1, 0), (2, 2, 0)")

var cascading = and(shop,
	"CREATE TABLE shop.items (id INT PRIMARY KEY, o INT, v INT DEFAULT 0, FOREIGN KEY (o) REFERENCES shop.orders (id) ON DELETE SET NULL)",
	"INSERT INTO shop.items VALUES (1, 1, 0), (2, 2, 0)")

var skipCases = []skipCase{
	{name: "a table that was dropped", setUp: shop, skip: []int{1}, load: []string{
		"UPDATE shop.orders SET v = 11 WHERE id = 1", "DROP TABLE shop.orders", "INSERT INTO shop.lines VALUES (3, 3)",
		"CREATE TABLE shop.other (id INT PRIMARY KEY)", "INSERT INTO shop.other VALUES (1)",
	}},
	{name: "a database that was dropped", setUp: shop, skip: []int{0}, load: []string{"DROP DATABASE shop", "CREATE DATABASE other", "CREATE TABLE other.t (id INT PRIMARY KEY)"}},
	{name: "a table that was dropped and made again", setUp: shop, skip: []int{0}, table: "orders", at: 1, load: []string{
		"DROP TABLE shop.orders", "CREATE TABLE shop.orders (id INT PRIMARY KEY)", "INSERT INTO shop.orders VALUES (1)",
	}},
	{name: "a table that was dropped and made again if it was not there", setUp: shop, skip: []int{0}, table: "shop.orders", at: 1, load: []string{
		"DROP TABLE shop.orders", "CREATE TABLE IF NOT EXISTS shop.orders (id INT PRIMARY KEY)", "INSERT INTO shop.orders VALUES (7)",
	}},
	{name: "a table that was dropped, and dropped if it was there", setUp: shop, skip: []int{0}, table: "shop.orders", at: 1, load: []string{
		"DROP TABLE shop.orders", "DROP TABLE IF EXISTS shop.orders",
	}},
	{name: "both of them", setUp: shop, skip: []int{0, 1}, load: []string{"DROP TABLE shop.orders", "DROP TABLE IF EXISTS shop.orders", "INSERT INTO shop.lines VALUES (3, 3)"}},
	{name: "a table that was emptied", setUp: shop, skip: []int{0}, verify: true, load: []string{
		"TRUNCATE TABLE shop.orders", "INSERT INTO shop.orders VALUES (9, 9, 'z')", "UPDATE shop.orders SET v = 8 WHERE id = 9",
	}},
	{name: "a key that is there because its table was not emptied", setUp: shop, skip: []int{0}, table: "shop.orders", at: 2, load: []string{
		"TRUNCATE TABLE shop.orders", "INSERT INTO shop.orders VALUES (9, 9, 'z')", "INSERT INTO shop.orders VALUES (2, 9, 'y')", "DELETE FROM shop.orders WHERE id = 2",
	}},
	{name: "rows that were deleted", setUp: shop, skip: []int{1}, verify: true, load: []string{
		"UPDATE shop.orders SET v = 11 WHERE id = 1", "DELETE FROM shop.orders", "INSERT INTO shop.orders VALUES (4, 40, 'd'), (5, 50, 'e')",
		"UPDATE shop.orders SET id = 6 WHERE id = 4", "DELETE FROM shop.orders WHERE id = 5",
	}},
	{name: "a value of a unique key that is taken", setUp: shop, skip: []int{0}, table: "shop.orders", at: -1, load: []string{
		"DELETE FROM shop.orders WHERE id = 1", "INSERT INTO shop.orders VALUES (4, 40, 'a')",
	}},
	{name: "an update of a row that is not there", setUp: shop, skip: []int{0}, table: "shop.orders", at: 2, load: []string{
		"INSERT INTO shop.orders VALUES (4, 40, 'd')", "UPDATE shop.orders SET v = 21 WHERE id = 2", "UPDATE shop.orders SET v = 41 WHERE id = 4",
	}},
	{name: "a delete of a row that is not there", setUp: shop, skip: []int{0}, table: "shop.orders", at: 1, load: []string{
		"INSERT INTO shop.orders VALUES (4, 40, 'd')", "DELETE FROM shop.orders WHERE id = 4",
	}},
	{name: "another column of the same row", setUp: shop, skip: []int{1}, table: "shop.orders", at: 3, load: []string{
		"UPDATE shop.orders SET v = 1 WHERE id = 1", "UPDATE shop.orders SET v = 11 WHERE id = 1", "UPDATE shop.orders SET v = 2 WHERE id = 2",
		"UPDATE shop.orders SET mail = 'x' WHERE id = 1", "UPDATE shop.orders SET v = 12 WHERE id = 1",
	}},
	{name: "another column of the same row, all skipped", setUp: shop, skip: []int{0, 1}, load: []string{
		"UPDATE shop.orders SET v = 11 WHERE id = 1", "UPDATE shop.orders SET mail = 'x' WHERE id = 1", "UPDATE shop.orders SET mail = 'y' WHERE id = 2",
	}},
	{name: "a change that was taken back", setUp: shop, skip: []int{0, 1}, load: []string{
		"UPDATE shop.orders SET v = 11 WHERE id = 1", "UPDATE shop.orders SET v = 10 WHERE id = 1", "UPDATE shop.orders SET v = 12 WHERE id = 1",
	}},
	{name: "rows without a key", setUp: shop, skip: []int{0}, load: []string{
		"DELETE FROM shop.lines WHERE a = 2", "DELETE FROM shop.lines WHERE a = 1 LIMIT 1", "INSERT INTO shop.lines VALUES (2, 2)", "UPDATE shop.lines SET b = 3 WHERE a = 2",
	}},
	{name: "a row without a key that is not there", setUp: shop, skip: []int{0}, table: "shop.lines", at: -1, load: []string{
		"INSERT INTO shop.lines VALUES (5, 5)", "DELETE FROM shop.lines WHERE a = 5", "INSERT INTO shop.lines VALUES (5, 5)",
	}},
	{name: "a table that was not made", setUp: shop, skip: []int{0}, table: "shop.new", at: 2, load: []string{
		"CREATE TABLE shop.new (id INT PRIMARY KEY)", "UPDATE shop.orders SET v = 0", "INSERT INTO shop.new VALUES (1)",
	}},
	{name: "DDL on a table that was not made", setUp: shop, skip: []int{0}, table: "new", at: 1, load: []string{"CREATE TABLE shop.new (id INT PRIMARY KEY)", "ALTER TABLE shop.new ADD c INT"}},
	{name: "a column that was not added", setUp: shop, skip: []int{0}, table: "shop.orders", at: 2, load: []string{
		"ALTER TABLE shop.orders ADD c INT", "INSERT INTO shop.lines VALUES (1, 2)", "UPDATE shop.orders SET v = 1 WHERE id = 1",
	}},
	{name: "a column that kept its type", setUp: shop, skip: []int{0}, table: "shop.orders", at: 1, load: []string{
		"ALTER TABLE shop.orders MODIFY v INT UNSIGNED NOT NULL DEFAULT 0", "UPDATE shop.orders SET v = 4000000000 WHERE id = 1",
	}},
	{name: "a table that kept its name", setUp: shop, skip: []int{0}, table: "shop.renamed", at: 1, load: []string{
		"RENAME TABLE shop.orders TO shop.renamed", "UPDATE shop.renamed SET v = 1 WHERE id = 1",
	}},
	{name: "the table under another name", setUp: shop, skip: []int{0}, table: "shop.renamed", at: 3, load: []string{
		"UPDATE shop.orders SET v = 11 WHERE id = 1", "RENAME TABLE shop.orders TO shop.renamed", "UPDATE shop.renamed SET v = 22 WHERE id = 2",
		"UPDATE shop.renamed SET mail = 'x' WHERE id = 1",
	}},
	{name: "DDL behind it", setUp: shop, skip: []int{0}, load: []string{
		"UPDATE shop.orders SET v = 11 WHERE id = 1", "ALTER TABLE shop.orders ADD c INT NOT NULL DEFAULT 5", "UPDATE shop.orders SET c = 6 WHERE id = 2", "TRUNCATE TABLE shop.lines",
	}},
	{name: "DDL behind it, and the same row", setUp: shop, skip: []int{0}, table: "shop.orders", at: 2, load: []string{
		"UPDATE shop.orders SET v = 11 WHERE id = 1", "ALTER TABLE shop.orders ADD c INT NOT NULL DEFAULT 5", "UPDATE shop.orders SET c = 6 WHERE id = 1",
	}},
	{name: "CREATE TABLE SELECT behind it", setUp: shop, skip: []int{0}, load: []string{
		"UPDATE shop.orders SET v = 11 WHERE id = 1", "CREATE TABLE shop.copy SELECT * FROM shop.lines", "INSERT INTO shop.copy VALUES (7, 7)",
	}},
	{name: "statement format behind it", setUp: shop, skip: []int{0}, table: "", at: -2, load: []string{
		"UPDATE shop.orders SET v = 11 WHERE id = 1", "SET SESSION binlog_format = 'STATEMENT'", "UPDATE shop.lines SET b = b + 1",
	}},
	{name: "statement format behind a table that was dropped", setUp: shop, skip: []int{0}, load: []string{
		"DROP TABLE shop.orders", "SET SESSION binlog_format = 'STATEMENT'", "UPDATE shop.lines SET b = b + 1",
	}},
	{name: "minimal images of other tables", setUp: shop, skip: []int{0}, load: []string{
		"UPDATE shop.orders SET v = 11 WHERE id = 1", "SET SESSION binlog_row_image = 'MINIMAL'", "UPDATE shop.lines SET b = b + 1",
	}},
	{name: "minimal images", setUp: shop, skip: []int{0}, table: "shop.orders", at: 2, load: []string{
		"UPDATE shop.orders SET v = 11 WHERE id = 1", "SET SESSION binlog_row_image = 'MINIMAL'", "UPDATE shop.orders SET v = v + 1 WHERE id = 2",
	}},
	{name: "children", setUp: family, skip: []int{0}, load: []string{
		"DELETE FROM shop.items", "INSERT INTO shop.items VALUES (3, 3, 0)", "UPDATE shop.orders SET v = 0", "DELETE FROM shop.items WHERE id = 3", "DELETE FROM shop.orders WHERE id = 3",
	}},
	{name: "a child without its parent", setUp: family, skip: []int{0}, table: "shop.items", at: -1, load: []string{
		"INSERT INTO shop.orders VALUES (4, 40, 'd')", "INSERT INTO shop.items VALUES (4, 4, 0)",
	}},
	{name: "a parent that goes and leaves a child", setUp: family, skip: []int{0}, table: "shop.items", at: -1, load: []string{
		"DELETE FROM shop.items WHERE o = 1", "DELETE FROM shop.orders WHERE id = 1",
	}},
	{name: "a table of children that was dropped", setUp: family, skip: []int{0}, table: "shop.items", at: -1, load: []string{
		"DROP TABLE shop.items", "UPDATE shop.orders SET v = 7", "DELETE FROM shop.orders WHERE id = 2",
	}},
	{name: "a child that the engine has changed", setUp: cascading, skip: []int{0}, table: "shop.items", at: 2, load: []string{
		"DELETE FROM shop.orders WHERE id = 1", "UPDATE shop.lines SET b = 9", "UPDATE shop.items SET v = 1 WHERE id = 1",
	}},
}

// TestSkip: a transaction that is skipped has not been, everything else is as
// the twin has it; or a later one depends on it, and is named.
func TestSkip(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		b := newBench(t, d)
		for n, c := range skipCases {
			if !mine(t, d, n) {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				b.t = t
				b.skip(c)
			})
		}
		t.Run("names", func(t *testing.T) {
			b.t = t
			b.skipNames()
		})
		if mine(t, d, rand.IntN(3)) {
			t.Run("random", func(t *testing.T) {
				b.t = t
				b.random()
			})
		}
	})
}

// mine reports whether a case is tried on a distribution: each is on one of them,
// in a long run on all.
func mine(t *testing.T, d server.Distribution, n int) bool {
	all := servertest.All(t)
	return long || all[n%len(all)].Name == d.Name
}

func (b *bench) skip(c skipCase) {
	l := b.record(c.setUp, c.load)
	place := map[int]int{} // element of load → transaction
	for n, text := range c.load {
		if !strings.HasPrefix(text, "SET ") {
			place[n] = len(place)
		}
	}
	if len(place) != len(l.start) {
		b.t.Fatalf("%d transactions, want %d", len(l.start), len(place))
	}
	var skip []int
	for _, n := range c.skip {
		skip = append(skip, place[n])
	}
	b.reset(b.target, c.setUp)
	rep, err := b.replay(l, replay.Options{Skip: l.names(skip), Verify: c.verify})
	switch {
	case c.at == -2:
		if fault.ClassOf(err) != fault.Refused || !strings.Contains(err.Error(), l.start[place[2]].String()) {
			b.t.Errorf("it ended with %v", err)
		}
	case c.table != "" && c.at == -1:
		conflicts(b.t, err, l, -1, c.table)
	case c.table != "":
		conflicts(b.t, err, l, place[c.at], c.table)
	case err != nil:
		b.t.Fatal(err)
	default:
		b.reset(b.twin, c.setUp)
		if err := b.serially(l, skip); err != nil {
			b.t.Fatal(err)
		}
		b.same()
		b.contains(l, rep)
	}
}

// contains checks that what was skipped counts as executed.
func (b *bench) contains(l log, rep *replay.Report) {
	b.t.Helper()
	for _, id := range l.id {
		if id == "" {
			continue
		}
		set, err := gtid.Parse(rep.GTIDs)
		if err != nil {
			b.t.Fatal(err)
		}
		one, err := gtid.ParseID(set.Flavor(), id)
		if err != nil || !set.Contains(one) {
			b.t.Errorf("%s is not in %s (%v)", id, rep.GTIDs, err)
		}
	}
}

// skipNames: a name of nothing is refused before anything is written; a run that
// goes on may skip more, and not less; what is skipped is executed, for replicas.
func (b *bench) skipNames() {
	t := b.t
	l := b.record(shop, []string{
		"UPDATE shop.orders SET v = 1 WHERE id = 1", "UPDATE shop.orders SET v = 2 WHERE id = 2", "UPDATE shop.orders SET v = 3 WHERE id = 2", "UPDATE shop.orders SET v = 4 WHERE id = 3",
	})
	b.reset(b.target, shop)
	before := b.state(b.target)
	for _, wrong := range []string{"0-99-99", "bbc9aae8-e939-11f1-8d48-02fc00000001:2", l.file[strings.LastIndexByte(l.file, '/')+1:] + ":5", l.name(0) + ",none.000001:4"} {
		if _, err := b.replay(l, replay.Options{Skip: wrong}); fault.ClassOf(err) != fault.Gap {
			t.Errorf("--skip %s: %v", wrong, err)
		}
		if _, err := b.replay(l, replay.Options{Skip: wrong, PlanOnly: true}); fault.ClassOf(err) != fault.Gap {
			t.Errorf("--plan --skip %s: %v", wrong, err)
		}
	}
	if _, err := b.replay(l, replay.Options{Skip: "yesterday"}); fault.ClassOf(err) != fault.Usage {
		t.Errorf("--skip yesterday: %v", err)
	}
	if diff := compare.Diff(before, b.state(b.target), "before", "after", compare.Exact); diff != "" {
		t.Error(diff)
	}
	if _, err := b.replay(l, replay.Options{Skip: l.names([]int{1}), Until: l.start[2].String()}); err != nil {
		t.Fatal(err)
	}
	for _, less := range []string{"", l.name(2)} {
		if _, err := b.replay(l, replay.Options{Skip: less}); fault.ClassOf(err) != fault.Refused {
			t.Errorf("--skip %q behind --skip %s: %v", less, l.name(1), err)
		}
	}
	_, err := b.replay(l, replay.Options{Skip: l.names([]int{1})})
	conflicts(t, err, l, 2, "shop.orders")
	if _, err := b.replay(l, replay.Options{Skip: l.names([]int{1, 0})}); fault.ClassOf(err) != fault.Gap {
		t.Errorf("--skip of what is applied: %v", err)
	}
	rep, err := b.replay(l, replay.Options{Skip: l.names([]int{1, 2}), Finalize: true})
	if err != nil {
		t.Fatal(err)
	}
	if rep.LeftOut == nil || len(rep.LeftOut.Suspects) != 1 || len(rep.Plan.Skipped) != 1 {
		t.Errorf("the report: %+v, %+v", rep.LeftOut, rep.Plan)
	}
	b.reset(b.twin, shop)
	if err := b.serially(l, []int{1, 2}); err != nil {
		t.Fatal(err)
	}
	b.same()
	query := "SELECT @@GLOBAL.gtid_slave_pos"
	if b.d.Flavor == server.MySQL {
		query = "SELECT @@GLOBAL.gtid_executed"
	}
	executed := servertest.Column(t, servertest.Open(t, b.target, ""), query)
	b.contains(l, &replay.Report{GTIDs: executed[0]})
}
