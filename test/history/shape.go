package history

import (
	"fmt"
	"strconv"

	"github.com/lifeboat-db/lifeboat/internal/server"
)

// A shape makes tables of one sort: one, or a family of several.
type shape struct {
	feature Feature // "" is always on
	tables  func(m *maker) []*table
}

// maker makes tables for a server: it knows what the server has.
type maker struct {
	random
	on         Set
	flavor     server.Flavor
	kinds      []kind
	collations []string // utf8mb4 and others that the server has
	schemas    []string
	made       int // tables so far, for names
	families   int
}

func shapes() []shape {
	return []shape{
		{"", integerTable},
		{CompositeKeys, compositeTable},
		{TextKeys, textKeyTable},
		{BinaryKeys, binaryKeyTable},
		{OddKeys, oddKeyTable},
		{UniqueOnly, uniqueOnlyTable},
		{NoKey, noKeyTable},
		{SecondaryUnique, secondaryTable},
		{ForeignKeys, foreignTables},
		{Cascades, cascadeTables},
		{Triggers, triggerTables},
		{Generated, generatedTable},
		{JSON, jsonTable},
		{LargeValues, largeTable},
		{Partitions, partitionedTable},
		{OtherEngines, otherEngineTable},
		{Versioned, versionedTable},
	}
}

func (m *maker) newTable() *table {
	m.made++
	m.families++
	return &table{
		schema: pick(m.random, m.schemas), name: "t" + strconv.Itoa(m.made),
		family: m.families, limit: 120,
	}
}

// extra adds up to n columns of any kind.
func (m *maker) extra(t *table, n int) {
	for range m.IntN(n) + 1 {
		t.columns = append(t.columns, m.extraColumn(t))
	}
	if m.on[Invisible] && m.chance(15) {
		t.columns[len(t.columns)-1].attr += " INVISIBLE"
	}
}

func (m *maker) extraColumn(t *table) column {
	c := column{name: fmt.Sprintf("c%d", m.unusedColumn(t)), kind: pick(m.random, m.kinds), nullable: true}
	if m.chance(20) && c.kind.class == integer {
		c.attr, c.nullable = "NOT NULL DEFAULT "+strconv.Itoa(m.IntN(100)), false
	}
	return c
}

func (m *maker) unusedColumn(t *table) int {
	for {
		n := m.between(1, 99)
		if t.column("c"+strconv.Itoa(n)) == nil {
			return n
		}
	}
}

func primary(columns ...string) []key { return []key{{"PRIMARY", columns}} }

func serial(sql string) column {
	return column{name: "id", kind: kind{sql, integer, smallKey}, attr: "NOT NULL AUTO_INCREMENT"}
}

func (m *maker) autoTable() *table {
	t := m.newTable()
	t.columns = []column{serial(pick(m.random, []string{"INT", "INT UNSIGNED", "BIGINT", "BIGINT UNSIGNED", "SMALLINT", "MEDIUMINT UNSIGNED"}))}
	t.keys, t.identity, t.autoinc = primary("id"), []string{"id"}, "id"
	return t
}

func integerTable(m *maker) []*table {
	t := m.autoTable()
	if m.chance(40) {
		sql := pick(m.random, []string{"INT", "BIGINT UNSIGNED", "TINYINT", "TINYINT UNSIGNED", "BIGINT", "MEDIUMINT"})
		value := func(r random) string { return strconv.Itoa(r.between(1, 60) - 20) }
		if sql == "BIGINT UNSIGNED" {
			value = func(r random) string { return strconv.FormatUint(uint64(r.between(1, 60))*((1<<64-1)/60), 10) }
		}
		t.columns[0] = column{name: "id", kind: kind{sql, integer, value}, attr: "NOT NULL"}
		t.autoinc = ""
	}
	m.extra(t, 5)
	return []*table{t}
}

// collated is a text key column: small domain, many collisions.
func (m *maker) collated(name string, length int) column {
	return column{
		name: name, attr: "NOT NULL",
		kind: kind{fmt.Sprintf("VARCHAR(%d) COLLATE %s", length, pick(m.random, m.collations)), text, word},
	}
}

func compositeTable(m *maker) []*table {
	t := m.newTable()
	t.columns = []column{
		{name: "k1", kind: kind{pick(m.random, []string{"INT", "SMALLINT UNSIGNED", "BIGINT"}), integer, func(r random) string { return strconv.Itoa(r.IntN(8)) }}, attr: "NOT NULL"},
		m.collated("k2", 10),
	}
	t.identity = []string{"k1", "k2"}
	if m.chance(50) {
		t.columns = append(t.columns, column{name: "k3", attr: "NOT NULL",
			kind: kind{"DATE", plain, func(r random) string { return fmt.Sprintf("'2024-01-%02d'", r.between(1, 4)) }}})
		t.identity = []string{"k2", "k3", "k1"}
	}
	t.keys = primary(t.identity...)
	m.extra(t, 4)
	return []*table{t}
}

func textKeyTable(m *maker) []*table {
	t := m.newTable()
	t.columns = []column{m.collated("k", 20)}
	switch {
	case m.chance(15):
		t.columns[0].kind.sql = "CHAR(20) COLLATE " + pick(m.random, m.collations)
	case m.chance(15):
		t.columns[0].kind = kind{"VARCHAR(20) CHARACTER SET utf8mb4", text, word} // the vendor's default
	}
	t.identity = []string{"k"}
	t.keys = primary("k")
	if m.chance(15) { // a prefix is the key
		t.keys = primary("k(2)")
	}
	m.extra(t, 4)
	return []*table{t}
}

func binaryKeyTable(m *maker) []*table {
	t := m.newTable()
	sql, value := "VARBINARY(20)", func(r random) string {
		return "X'" + pick(r, []string{"", "00", "0000", "20", "61", "41", "6120", "6100", "ff", "fe", "ffff", "00ff"}) + "'"
	}
	if m.chance(50) {
		sql = "BINARY(4)"
	}
	t.columns = []column{{name: "k", kind: kind{sql, plain, value}, attr: "NOT NULL"}}
	t.keys, t.identity = primary("k"), []string{"k"}
	m.extra(t, 4)
	return []*table{t}
}

// oddKinds are key types that few think of, each with a small domain.
var oddKinds = []kind{
	{"DATETIME(6)", moment, func(r random) string {
		return fmt.Sprintf("'2024-01-01 00:00:00.%06d'", r.IntN(30))
	}},
	{"TIMESTAMP(3)", moment, func(r random) string {
		return fmt.Sprintf("'2024-01-01 00:00:%02d.%03d'", r.IntN(6), r.IntN(4)*250)
	}},
	{"DATE", plain, func(r random) string { return fmt.Sprintf("'2024-02-%02d'", r.IntN(29)) }},
	{"TIME(2)", plain, func(r random) string { return fmt.Sprintf("'%s00:00:%02d.5'", pick(r, []string{"", "-"}), r.IntN(20)) }},
	{"YEAR", plain, func(r random) string { return strconv.Itoa(2000 + r.IntN(40)) }},
	{"DECIMAL(12,4)", number, func(r random) string {
		return fmt.Sprintf("%s%d.%04d", pick(r, []string{"", "-"}), r.IntN(4), r.IntN(8))
	}},
	{"FLOAT", number, func(r random) string {
		return pick(r, []string{"0", "-0e0", "0.1", "-0.1", "1e30", "1", "2", "3.5", "-7", "1e-30", "16777217"})
	}},
	{"DOUBLE", number, func(r random) string {
		return pick(r, []string{"0", "-0e0", "0.1", "0.2", "0.3", "1e300", "-1e300", "5e-324", "1", "2", "3", "4"})
	}},
	{"ENUM('x','y','z','v','w')", plain, func(r random) string { return pick(r, []string{"'x'", "'y'", "'z'", "'v'", "'w'"}) }},
	{"SET('p','q','r')", plain, func(r random) string { return strconv.Itoa(r.IntN(8)) }},
	{"BIT(5)", plain, func(r random) string { return strconv.Itoa(r.IntN(32)) }},
	{"BIT(20)", plain, func(r random) string { return strconv.Itoa(r.IntN(40)) }},
}

func oddKeyTable(m *maker) []*table {
	t := m.newTable()
	t.columns = []column{{name: "k", kind: pick(m.random, oddKinds), attr: "NOT NULL"}}
	t.keys, t.identity = primary("k"), []string{"k"}
	m.extra(t, 4)
	return []*table{t}
}

func uniqueOnlyTable(m *maker) []*table {
	t := m.newTable()
	t.columns = []column{
		{name: "a", kind: kind{"INT UNSIGNED", integer, smallKey}, attr: "NOT NULL"},
		m.collated("b", 12),
	}
	t.identity = []string{"a"}
	t.keys = []key{{"ua", []string{"a"}}}
	if m.chance(50) {
		t.keys = append(t.keys, key{"uab", []string{"b", "a"}})
	}
	if m.chance(30) {
		t.columns = append(t.columns, column{name: "n", kind: kind{"INT", integer, smallKey}, nullable: true})
		t.keys = append([]key{{"un", []string{"n"}}}, t.keys...)
	}
	m.extra(t, 4)
	return []*table{t}
}

func noKeyTable(m *maker) []*table {
	t := m.newTable()
	t.columns = []column{
		{name: "a", kind: kind{"INT", integer, func(r random) string { return strconv.Itoa(r.IntN(5)) }}, nullable: true},
		{name: "b", kind: kind{"VARCHAR(10)", text, asciiWord}, nullable: true},
	}
	if m.chance(60) {
		m.extra(t, 3)
	}
	if m.chance(40) {
		t.constraints = append(t.constraints, "KEY ia (a)")
	}
	return []*table{t}
}

// secondaryTable has unique keys beside its primary key, for rows to swap.
func secondaryTable(m *maker) []*table {
	t := m.autoTable()
	t.columns = append(t.columns,
		column{name: "u1", kind: kind{"INT", integer, smallKey}, nullable: true},
		column{name: "u2", kind: kind{"SMALLINT", integer, func(r random) string { return strconv.Itoa(r.IntN(8)) }}, nullable: true},
		column{name: "u3", kind: kind{"DATETIME(6)", moment, oddKinds[0].value}, nullable: true},
		m.collated("u4", 20))
	t.columns[4].attr, t.columns[4].nullable = "", true
	all := []key{{"u1", []string{"u1"}}, {"u23", []string{"u2", "u3"}}, {"u4", []string{"u4"}}}
	t.keys = append(t.keys, some(m.random, all, m.between(1, 3))...)
	if m.chance(15) {
		for i, k := range t.keys {
			if k.name == "u4" {
				t.keys[i].columns = []string{"u4(2)"}
			}
		}
	}
	m.extra(t, 3)
	return []*table{t}
}

func (m *maker) references(column, table, actions string) string {
	return fmt.Sprintf("FOREIGN KEY (%s) REFERENCES %s (id) %s", column, table, actions)
}

// parentKey is the domain of parents' ids and of what refers to them.
func parentKey(r random) string { return strconv.Itoa(r.between(1, 25)) }

// relatives makes a parent and tables below it, each referring to the one
// before it with actions of its own.
func (m *maker) relatives(actions ...string) []*table {
	first := m.newTable()
	first.columns = []column{{name: "id", kind: kind{"INT", integer, parentKey}, attr: "NOT NULL"}}
	first.keys, first.identity = primary("id"), []string{"id"}
	first.parent, first.bound = true, true
	if m.chance(40) {
		first.columns = append(first.columns, column{name: "code", kind: kind{"VARCHAR(10)", text, word}, nullable: true})
		first.keys = append(first.keys, key{"code", []string{"code"}})
	}
	m.extra(first, 2)
	tables := []*table{first}
	for i, action := range actions {
		t := m.newTable()
		t.family, t.bound = first.family, true
		t.columns = []column{
			{name: "id", kind: kind{"INT", integer, parentKey}, attr: "NOT NULL"},
			{name: "up", kind: kind{"INT", integer, parentKey}, nullable: true},
		}
		t.keys, t.identity = primary("id"), []string{"id"}
		t.parent = i < len(actions)-1
		t.constraints = []string{"KEY up (up)", m.references("up", tables[len(tables)-1].full(), action)}
		m.extra(t, 2)
		tables = append(tables, t)
	}
	return tables
}

func foreignTables(m *maker) []*table {
	return m.relatives(pick(m.random, []string{"", "ON DELETE RESTRICT", "ON UPDATE NO ACTION"}))
}

func cascadeTables(m *maker) []*table {
	actions := []string{"ON DELETE CASCADE", "ON DELETE SET NULL", "ON DELETE CASCADE ON UPDATE CASCADE", "ON DELETE SET NULL ON UPDATE SET NULL", "ON DELETE SET NULL ON UPDATE CASCADE"}
	levels := m.between(1, 3)
	list := make([]string, levels)
	for i := range list {
		list[i] = pick(m.random, actions)
	}
	tables := m.relatives(list...)
	if m.chance(30) { // one that refers to itself
		t := m.newTable()
		t.columns = []column{
			{name: "id", kind: kind{"INT", integer, parentKey}, attr: "NOT NULL"},
			{name: "boss", kind: kind{"INT", integer, parentKey}, nullable: true},
		}
		t.keys, t.identity, t.parent, t.bound = primary("id"), []string{"id"}, true, true
		t.constraints = []string{"KEY boss (boss)", m.references("boss", t.full(), pick(m.random, []string{"ON DELETE CASCADE", "ON DELETE SET NULL"}))}
		tables = append(tables, t)
	}
	return tables
}

// triggerTables is a table and one that its triggers write. The triggers are
// made by [maker.triggers] once the tables are there.
func triggerTables(m *maker) []*table {
	t := m.autoTable()
	t.columns = append(t.columns, column{name: "v", kind: kind{"INT", integer, smallKey}, nullable: true})
	m.extra(t, 2)
	t.bound = true
	audit := m.newTable()
	audit.family, audit.bound = t.family, true
	audit.columns = []column{
		{name: "what", kind: kind{"CHAR(1)", text, asciiWord}, nullable: true},
		{name: "row_id", kind: kind{"BIGINT", integer, smallKey}, nullable: true},
		{name: "v", kind: kind{"INT", integer, smallKey}, nullable: true},
	}
	if m.chance(60) {
		audit.columns = append([]column{serial("INT")}, audit.columns...)
		audit.keys, audit.identity, audit.autoinc = primary("id"), []string{"id"}, "id"
		t.sideEffects, audit.sideEffects = true, true
	}
	return []*table{t, audit}
}

// triggers binds the tables of [triggerTables].
func triggers(t, audit *table) []string {
	into := "INSERT INTO " + audit.full() + " (what, row_id, v) VALUES "
	return []string{
		fmt.Sprintf("CREATE TRIGGER %s_bi BEFORE INSERT ON %s FOR EACH ROW SET NEW.v = COALESCE(NEW.v, 0) + 1", t.full(), t.full()),
		fmt.Sprintf("CREATE TRIGGER %s_ai AFTER INSERT ON %s FOR EACH ROW %s ('i', NEW.id, NEW.v)", t.full(), t.full(), into),
		fmt.Sprintf("CREATE TRIGGER %s_au AFTER UPDATE ON %s FOR EACH ROW %s ('u', NEW.id, OLD.v)", t.full(), t.full(), into),
		fmt.Sprintf("CREATE TRIGGER %s_ad AFTER DELETE ON %s FOR EACH ROW DELETE FROM %s WHERE row_id = OLD.id", t.full(), t.full(), audit.full()),
	}
}

func generatedTable(m *maker) []*table {
	t := m.autoTable()
	t.columns = append(t.columns,
		column{name: "a", kind: kind{"INT", integer, func(r random) string { return strconv.Itoa(r.between(-500, 500)) }}, nullable: true},
		column{name: "b", kind: kind{"VARCHAR(20)", text, word}, nullable: true},
		column{name: "g1", kind: kind{"BIGINT", integer, nil}, attr: "GENERATED ALWAYS AS (a * 2 + 1) VIRTUAL", derived: true, nullable: true},
		column{name: "g2", kind: kind{"VARCHAR(60)", text, nil}, attr: "GENERATED ALWAYS AS (CONCAT(b, '-', a)) STORED", derived: true, nullable: true},
		column{name: "g3", kind: kind{"VARCHAR(30)", text, nil}, attr: "GENERATED ALWAYS AS (UPPER(b)) VIRTUAL", derived: true, nullable: true})
	t.constraints = append(t.constraints, "KEY ig1 (g1)", "KEY ig2 (g2)")
	if m.chance(40) {
		t.keys = append(t.keys, key{"ug", []string{"g1"}})
	}
	if m.flavor == server.MySQL && m.chance(50) {
		t.constraints = append(t.constraints, "KEY expression ((a + 7))")
		t.sideEffects = false
	}
	m.extra(t, 3)
	return []*table{t}
}

func jsonTable(m *maker) []*table {
	t := m.autoTable()
	for _, name := range []string{"j1", "j2"} {
		t.columns = append(t.columns, column{name: name, kind: kind{"JSON", document, jsonDocument}, nullable: true})
	}
	m.extra(t, 2)
	return []*table{t}
}

func largeTable(m *maker) []*table {
	t := m.autoTable()
	t.columns = append(t.columns,
		column{name: "l1", kind: kind{"LONGBLOB", plain, large}, nullable: true},
		column{name: "l2", kind: kind{"MEDIUMTEXT", text, large}, nullable: true})
	m.extra(t, 2)
	t.limit = 40
	return []*table{t}
}

// partitionedTable is partitioned in one of four ways. Exchanging partitions
// is for tables by range.
func partitionedTable(m *maker) []*table {
	t := m.autoTable()
	t.partitioned = true
	t.options = pick(m.random, []string{
		"PARTITION BY HASH (id) PARTITIONS 4",
		"PARTITION BY KEY () PARTITIONS 3",
		"PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN (30), PARTITION p2 VALUES LESS THAN (60), PARTITION pm VALUES LESS THAN MAXVALUE)",
		"PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN (30), PARTITION p2 VALUES LESS THAN (60), PARTITION pm VALUES LESS THAN MAXVALUE)",
	})
	m.extra(t, 4)
	return []*table{t}
}

func otherEngineTable(m *maker) []*table {
	t := m.autoTable()
	if m.chance(30) {
		t = noKeyTable(m)[0]
	}
	m.extra(t, 3)
	t.plainEngine = true
	t.options = "ENGINE=MyISAM"
	if m.flavor == server.MariaDB && m.chance(50) {
		t.options = "ENGINE=Aria"
	}
	return []*table{t}
}

func versionedTable(m *maker) []*table {
	t := m.autoTable()
	m.extra(t, 3)
	t.options = "WITH SYSTEM VERSIONING"
	t.bound, t.sideEffects = true, true
	return []*table{t}
}
