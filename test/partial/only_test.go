package partial_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/replay"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/test/compare"
	"github.com/lifeboat-db/lifeboat/test/history"
)

// company is two databases that refer to each other.
var company = []string{
	"CREATE DATABASE shop", "CREATE DATABASE crm", "CREATE DATABASE junk",
	"CREATE TABLE crm.customers (id INT PRIMARY KEY, name VARCHAR(40))", "CREATE TABLE crm.notes (id INT PRIMARY KEY, t TEXT)",
	"CREATE TABLE shop.orders (id INT PRIMARY KEY AUTO_INCREMENT, c INT, v INT, CONSTRAINT of_customer FOREIGN KEY (c) REFERENCES crm.customers (id))",
	"CREATE TABLE shop.items (id INT PRIMARY KEY, o INT, FOREIGN KEY (o) REFERENCES shop.orders (id) ON DELETE CASCADE)",
	"CREATE TABLE shop.lines (a INT, b INT)",
	"CREATE TABLE junk.dup (a INT, b INT)", "CREATE TABLE junk.my (a INT PRIMARY KEY) ENGINE=MyISAM",
	"INSERT INTO crm.customers VALUES (1, 'a'), (2, 'b')", "INSERT INTO crm.notes VALUES (1, 'x')",
	"INSERT INTO shop.orders VALUES (1, 1, 10), (2, 2, 20)", "INSERT INTO shop.items VALUES (1, 1), (2, 1), (3, 2)", "INSERT INTO shop.lines VALUES (1, 1), (1, 1)",
	"INSERT INTO junk.dup VALUES (1, 1), (1, 2)", "INSERT INTO junk.my VALUES (1)",
	"CREATE VIEW shop.v AS SELECT * FROM crm.notes", "CREATE VIEW crm.w AS SELECT id FROM crm.notes", "CREATE PROCEDURE crm.p() SELECT 1",
}

var business = []string{
	"INSERT INTO crm.customers VALUES (3, 'c')", "INSERT INTO crm.notes VALUES (2, 'y')\nUPDATE crm.customers SET name = 'A' WHERE id = 1\nUPDATE shop.orders SET v = 11 WHERE id = 1",
	"INSERT INTO shop.orders (c, v) VALUES (3, 30)", "DELETE FROM junk.dup WHERE b = 2", "ALTER TABLE junk.dup ADD UNIQUE (a)", // fits no other rows
	"DELETE FROM crm.notes WHERE id = 1", "CREATE TABLE shop.copy LIKE crm.notes", "INSERT INTO shop.copy SELECT * FROM crm.notes",
	"CREATE TABLE junk.made SELECT * FROM shop.orders", "CREATE TABLE shop.made SELECT id FROM crm.notes", "INSERT INTO junk.made (c) VALUES (5)",
	"ALTER TABLE crm.notes ADD n INT", "UPDATE crm.notes SET n = 1", "ALTER TABLE shop.orders ADD n INT NOT NULL DEFAULT 7", "UPDATE shop.orders SET n = 8 WHERE id = 3",
	"RENAME TABLE shop.lines TO shop.l2, junk.my TO junk.mine", "UPDATE shop.l2 SET b = 2 LIMIT 1", "INSERT INTO junk.mine VALUES (2)", "DROP TABLE junk.mine", "CREATE DATABASE more", "CREATE TABLE more.t (a INT PRIMARY KEY)", "INSERT INTO more.t VALUES (1)",
	"ALTER TABLE shop.l2 ADD CONSTRAINT late FOREIGN KEY (b) REFERENCES crm.customers (id)", "DELETE FROM shop.items WHERE id = 3",
}

// part is what of a state is wanted.
func part(s compare.State, wants func(database, name string) bool, whole func(database string) bool) compare.State {
	out := compare.State{Tables: map[string]compare.Table{}, Objects: map[string]string{}}
	for name, t := range s.Tables {
		if db, table, _ := strings.Cut(name, "."); wants(db, table) {
			out.Tables[name] = t
		}
	}
	for name, text := range s.Objects {
		kind, name, _ := strings.Cut(name, " ")
		db, x, _ := strings.Cut(name, ".")
		if kind == "account" || whole(db) || kind == "schema" && wants(db, "") || kind == "trigger" && wants(db, x) {
			out.Objects[kind+" "+name] = text
		}
	}
	return out
}

// TestOnly: of the databases and tables that are named comes back what the
// source has, and nothing of the others.
func TestOnly(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		b := newBench(t, d)
		run := func(name string, test func()) {
			t.Run(name, func(t *testing.T) {
				b.t = t
				test()
			})
		}
		run("databases and tables", b.onlyCompany)
		run("refused", b.onlyRefused)
		if mine(t, d, rand.IntN(3)) {
			run("random", b.onlyRandom)
		}
	})
}

func (b *bench) onlyCompany() {
	t := b.t
	l := b.record(company, business)
	want := b.state(b.source.Instance)
	delete(want.Objects, "view shop.v")
	for n, c := range []struct {
		only, skip string
		tables     string // of databases that do not come back as a whole
		databases  string
		notes      []string
	}{
		{only: "shop", databases: "shop", notes: []string{"shop.orders refers by foreign key of_customer to crm.customers", "shop.l2 refers by foreign key late", "view shop.v refers to crm.notes"}},
		{only: "crm.customers,shop", databases: "shop", tables: "crm.customers", notes: []string{"view shop.v refers to crm.notes"}},
		{only: "crm, more ,`junk`.dup", databases: "crm more", tables: "junk.dup"},
		{only: "junk.mine,junk.my,crm", databases: "crm", tables: "junk.my", notes: []string{"junk.mine is wanted, and is not there"}},
		{only: "shop.orders,shop.items", tables: "shop.orders shop.items"},
		{only: "crm,junk", skip: l.names([]int{18, 5}), databases: "crm junk"},
	} {
		if !mine(t, b.d, n) {
			continue
		}
		if b.d.Flavor == server.MariaDB && (c.skip != "" || !strings.Contains(c.databases+c.tables, "crm")) {
			continue // there customers has to be named as well: the engine cascades
		}
		b.reset(b.target, company)
		o := replay.Options{Only: c.only, Finalize: true, Verify: true, ChunkBytes: 100, Skip: c.skip}
		if _, err := b.replay(l, replay.Options{Only: c.only, Skip: c.skip, Until: l.start[20].String()}); err != nil { // in two runs
			t.Fatalf("--only %s: %v", c.only, err)
		}
		if _, err := b.replay(l, replay.Options{Only: "crm.notes"}); fault.ClassOf(err) != fault.Refused {
			t.Errorf("--only crm.notes behind --only %s: %v", c.only, err)
		}
		if _, err := b.replay(l, replay.Options{}); fault.ClassOf(err) != fault.Refused {
			t.Errorf("all behind --only %s: %v", c.only, err)
		}
		rep, err := b.replay(l, o)
		if err != nil {
			t.Fatalf("--only %s: %v", c.only, err)
		}
		for _, note := range c.notes {
			if !strings.Contains(strings.Join(rep.Notes, "\n"), note) {
				t.Errorf("--only %s: the notes lack %q:\n%s", c.only, note, strings.Join(rep.Notes, "\n"))
			}
		}
		whole := func(db string) bool { return strings.Contains(" "+c.databases+" ", " "+db+" ") }
		wants := func(db, table string) bool {
			return whole(db) || table == "" && strings.Contains(" "+c.tables, " "+db+".") || strings.Contains(" "+c.tables+" ", " "+db+"."+table+" ")
		}
		got := b.state(b.target)
		delete(got.Objects, "view shop.v") // it cannot be shown
		if c.skip == "" {
			if diff := compare.Diff(part(want, wants, whole), got, "source", "lifeboat", compare.AtMost); diff != "" {
				t.Errorf("--only %s:\n%s", c.only, diff)
			}
		} else if len(got.Tables["junk.mine"].Rows) != 2 || len(got.Tables["crm.notes"].Rows) != 2 {
			t.Errorf("--only with --skip: %v %v", got.Tables["junk.mine"].Rows, got.Tables["crm.notes"].Rows)
		}
		b.noMember()
		again, err := b.replay(l, o)
		if err != nil || again.Transactions != rep.Transactions {
			t.Errorf("--only %s, again: %v", c.only, err)
		}
		if _, err := b.replay(l, replay.Options{Only: c.only, Until: l.end[3].String(), Finalize: true}); fault.ClassOf(err) != fault.Refused {
			t.Errorf("--only %s, to somewhere else: %v", c.only, err)
		}
	}
}

// noMember checks that the target looks like no member of a set.
func (b *bench) noMember() {
	b.t.Helper()
	query := "SELECT CONCAT(@@GLOBAL.gtid_slave_pos, @@GLOBAL.gtid_binlog_pos)"
	if b.d.Flavor == server.MySQL {
		query = "SELECT CONCAT(@@GLOBAL.gtid_executed, @@GLOBAL.gtid_purged)"
	}
	if got := servertest.Column(b.t, servertest.Open(b.t, b.target, ""), query); got[0] != "" {
		b.t.Errorf("the target contains %s", got[0])
	}
}

// onlyRefused: what cannot be done is refused before anything is written.
func (b *bench) onlyRefused() {
	cascading := append(and(company), "CREATE TABLE crm.stars (id INT PRIMARY KEY, c INT, FOREIGN KEY (c) REFERENCES shop.orders (id) ON DELETE CASCADE)", "INSERT INTO crm.stars VALUES (1, 1)")
	for n, c := range []struct {
		name, only string
		setUp      []string
		load       []string
		at         int
		class      fault.Class
		says       string
		flavor     server.Flavor
	}{
		{name: "a name of nothing", only: "shop,shpo", class: fault.Gap, says: "shpo is neither"},
		{name: "a table of nothing", only: "shop.ordesr", class: fault.Gap, says: "shop.ordesr is neither"},
		{name: "no name", only: "shop.", class: fault.Usage, says: "not a name"},
		{name: "the server's own", only: "mysql", class: fault.Usage, says: "mysql"},
		{name: "statement format", only: "shop", load: []string{"SET SESSION binlog_format = 'STATEMENT'", "UPDATE shop.lines SET b = 7"}, class: fault.Refused, says: "statement format"},
		{name: "a table that becomes wanted", only: "shop", load: []string{"RENAME TABLE crm.notes TO shop.notes"}, class: fault.Refused, says: "name both"},
		{name: "a table that is wanted no more", only: "shop.lines", load: []string{"ALTER TABLE shop.lines RENAME TO shop.other"}, class: fault.Refused, says: "shop.lines to shop.other"},
		{name: "an exchanged partition", only: "crm.p", setUp: []string{
			"CREATE TABLE crm.p (a INT PRIMARY KEY) PARTITION BY HASH (a) PARTITIONS 1", "CREATE TABLE crm.q (a INT PRIMARY KEY)", "INSERT INTO crm.q VALUES (1)",
		}, load: []string{"ALTER TABLE crm.p EXCHANGE PARTITION p0 WITH TABLE crm.q"}, class: fault.Refused, says: "crm.p to crm.q"},
		{name: "cascades from outside", only: "crm", setUp: cascading[len(company):], class: fault.Refused, says: "name shop.orders", flavor: server.MariaDB},
	} {
		if c.flavor == "" && !mine(b.t, b.d, n) || c.flavor != "" && c.flavor != b.d.Flavor {
			continue
		}
		setUp := and(company, c.setUp...)
		l := b.record(setUp, and(c.load, "INSERT INTO crm.customers VALUES (9, 'z')"))
		b.reset(b.target, setUp)
		before := b.state(b.target)
		if _, err := b.replay(l, replay.Options{Only: c.only, Finalize: true}); fault.ClassOf(err) != c.class || err == nil || !strings.Contains(err.Error(), c.says) {
			b.t.Errorf("%s: %v (class %d), want class %d, %q", c.name, err, fault.ClassOf(err), c.class, c.says)
		}
		if diff := compare.Diff(before, b.state(b.target), "before", "after", compare.Exact); diff != "" {
			b.t.Errorf("%s: %s", c.name, diff)
		}
		if names := servertest.Column(b.t, servertest.Open(b.t, b.target, ""), "SHOW DATABASES LIKE 'lifeboat'"); len(names) > 0 {
			b.t.Errorf("%s: a checkpoint was written", c.name)
		}
	}
}

// onlyRandom brings one of the two databases of random histories back.
func (b *bench) onlyRandom() {
	seed, histories, steps := number("LIFEBOAT_SEED", rand.IntN(1_000_000)), 1, 150
	if long {
		histories, steps = 10, 1000
	}
	for n := range number("LIFEBOAT_HISTORIES", histories) {
		b.t.Run(fmt.Sprintf("seed=%d", seed+n), func(t *testing.T) {
			b := *b
			b.t = t
			b.onlyHistory(uint64(seed+n), number("LIFEBOAT_STEPS", steps)) //nolint:gosec // a seed
		})
	}
}

func (b *bench) onlyHistory(seed uint64, steps int) {
	t := b.t
	// Without what is refused, and what has an account or a schema of its own.
	features, err := history.All(b.d.Flavor).Select("-statement,-mixed,-temp_tables,-ddl_rename,-ddl_partitions,-cascades,-other_engines")
	if err != nil {
		t.Fatal(err)
	}
	h := history.New(history.Options{Seed: seed, Flavor: b.d.Flavor, Features: features, Steps: steps})
	b.reset(b.source.Instance, nil)
	b.source.Begin(t)
	db := servertest.Open(t, b.source.Instance, "")
	if err := h.Setup(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	setUp := b.source.Logs(t)
	if err := h.Run(context.Background(), db); err != nil {
		t.Fatal(err)
	}
	all := b.source.Logs(t)
	b.reset(b.target, nil)
	first := setUp[len(setUp)-1]
	if _, err := b.replay(log{file: first}, replay.Options{Finalize: true}); err != nil {
		t.Fatal(err)
	}
	if b.d.Flavor == server.MySQL {
		unlogged(t, b.target, "RESET BINARY LOGS AND GTIDS")
	}
	rest := all[len(setUp):]
	o := replay.Options{Target: b.target.DSN(""), Files: rest, From: filepath.Base(rest[0]) + ":4", Only: "h1", Finalize: true, Verify: true, Memory: 16 << 20}
	for range 2 { // whenever it is interrupted, it goes on
		b.interrupted(o, time.Duration(rand.IntN(3000))*time.Millisecond)
	}
	if _, err := replay.Run(t.Context(), o); err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	h1 := func(db string) bool { return db == "h1" }
	want := part(b.state(b.source.Instance), func(db, _ string) bool { return h1(db) }, h1)
	got := b.state(b.target)
	for name, text := range want.Objects { // MySQL shows no view of a database that is not there
		if strings.HasPrefix(name, "view ") && strings.Contains(text, "`h2`.") && strings.Contains(got.Objects[name], "Unknown database 'h2'") {
			want.Objects[name] = got.Objects[name]
		}
	}
	if diff := compare.Diff(want, got, "source", "lifeboat", compare.AtMost); diff != "" {
		t.Errorf("seed %d:\n%s", seed, diff)
	}
}
