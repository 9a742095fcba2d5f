package history

import (
	"slices"
	"strconv"
	"strings"

	"github.com/lifeboat-db/lifeboat/internal/server"
)

// define runs one statement of data definition in mid-traffic.
func (s *session) define() {
	if s.temp && s.chance(70) {
		return
	}
	s.choose([]action{
		{1, "", s.with(nil, s.insert)}, // so that the list is never empty
		{6, DDLColumns, s.with(nil, s.addColumn)},
		{5, DDLColumns, s.with(nil, s.dropColumn)},
		{5, DDLColumns, s.with(nil, s.modifyColumn)},
		{3, DDLIndexes, s.with(nil, s.addIndex)},
		{3, DDLIndexes, s.with(nil, s.dropIndex)},
		{4, DDLUnique, s.with(nil, s.addUnique)},
		{3, DDLUnique, s.with(nil, s.dropUnique)},
		{4, DDLRename, s.with(unbound, s.rename)},
		{4, DDLRename, s.swapNames},
		{4, DDLTruncate, s.with(func(t *table) bool { return !t.parent }, s.truncate)},
		{4, DDLTables, s.createTable},
		{2, DDLTables, s.with(unbound, s.dropTable)},
		{3, DDLSelect, s.with(nil, s.createSelect)},
		{3, DDLLike, s.with(unbound, s.createLike)},
		{3, DDLAutoInc, s.with(func(t *table) bool { return t.autoinc != "" }, s.setAutoInc)},
		{3, DDLViews, s.createView},
		{2, DDLViews, func() { s.dropObject("view", "DROP VIEW %s") }},
		{2, DDLTriggers, s.with(unbound, s.createTrigger)},
		{2, DDLTriggers, func() { s.dropObject("trigger", "DROP TRIGGER %s") }},
		{3, DDLRoutines, s.createProcedure},
		{1, DDLRoutines, func() { s.dropObject("procedure", "DROP PROCEDURE %s") }},
		{2, Functions, s.createFunction},
		{1, Functions, func() { s.dropObject("function", "DROP FUNCTION %s") }},
		{2, DDLDatabases, s.createDatabase},
		{1, DDLDatabases, s.dropDatabase},
		{4, DDLPartitions, s.with(byRange, s.exchangePartition)},
		{4, DDLPartitions, s.with(byRange, s.changePartitions)},
		{2, DDLAccounts, s.createAccount},
		{2, DDLAccounts, s.changeAccount},
		{3, Sequences, s.sequence},
	})
}

func unbound(t *table) bool { return !t.bound }
func byRange(t *table) bool { return strings.HasPrefix(t.options, "PARTITION BY RANGE") && !t.bound }

func (s *session) addColumn(t *table) {
	c := s.maker.extraColumn(t)
	definition := c.definition()
	if c.nullable && s.chance(40) && defaultable(c) {
		definition += " DEFAULT " + c.kind.value(s.random)
	}
	at := len(t.columns)
	switch {
	case s.chance(25):
		definition, at = definition+" FIRST", 0
	case s.chance(40):
		i := s.IntN(len(t.columns))
		definition, at = definition+" AFTER "+t.columns[i].name, i+1
	}
	if s.execf("ALTER TABLE %s ADD COLUMN %s", t.full(), definition) {
		t.columns = slices.Insert(t.columns, at, c)
	}
}

// defaultable says whether a literal may be the column's default.
func defaultable(c column) bool {
	return c.kind.class != document && !strings.Contains(c.kind.sql, "TEXT") && !strings.Contains(c.kind.sql, "BLOB") &&
		!strings.Contains(c.kind.sql, "POINT") && !strings.Contains(c.kind.sql, "GEOMETRY") && !strings.Contains(c.kind.sql, "DEFAULT") &&
		!strings.Contains(c.kind.sql, "(300)") && !strings.Contains(c.kind.sql, "COMPRESSED")
}

// spare are columns that nothing refers to.
func spare(t *table) (columns []column) {
	for _, c := range t.loose() {
		if strings.HasPrefix(c.name, "c") {
			columns = append(columns, c)
		}
	}
	return columns
}

func (s *session) dropColumn(t *table) {
	list := spare(t)
	if len(list) < 2 {
		return
	}
	c := pick(s.random, list)
	if s.execf("ALTER TABLE %s DROP COLUMN %s", t.full(), c.name) {
		t.columns = slices.DeleteFunc(t.columns, func(other column) bool { return other.name == c.name })
	}
}

// modifyColumn gives a column another type of its class, or another place, or
// another name.
func (s *session) modifyColumn(t *table) {
	list := spare(t)
	if len(list) == 0 {
		return
	}
	old := pick(s.random, list)
	changed := s.maker.extraColumn(t)
	changed.name = old.name
	if s.chance(70) { // widen in place
		changed.kind = old.kind
		switch {
		case old.kind.class == integer:
			changed.kind.sql = "BIGINT"
		case strings.HasPrefix(old.kind.sql, "VARCHAR(40)"):
			changed.kind.sql = "VARCHAR(90) CHARACTER SET utf8mb4"
		}
		changed.attr, changed.nullable = old.attr, old.nullable
	}
	place := ""
	if s.chance(30) {
		place = " FIRST"
	}
	if s.chance(20) {
		changed.name = "c" + strconv.Itoa(s.maker.unusedColumn(t))
	}
	if !s.execf("ALTER TABLE %s CHANGE COLUMN %s %s%s", t.full(), old.name, changed.definition(), place) {
		return
	}
	if place != "" {
		t.columns = slices.DeleteFunc(t.columns, func(c column) bool { return c.name == old.name })
		t.columns = slices.Insert(t.columns, 0, changed)
		return
	}
	*t.column(old.name) = changed
}

func (s *session) addIndex(t *table) {
	list := spare(t)
	if len(list) == 0 {
		return
	}
	index, c := s.newName("i"), pick(s.random, list)
	part := c.name
	if strings.Contains(c.kind.sql, "TEXT") || strings.Contains(c.kind.sql, "BLOB") {
		part += "(10)"
	}
	if s.execf("ALTER TABLE %s ADD INDEX %s (%s)", t.full(), index, part) {
		t.indexes = append(t.indexes, index)
	}
}

func (s *session) dropIndex(t *table) {
	if len(t.indexes) == 0 {
		return
	}
	i := s.IntN(len(t.indexes))
	if s.execf("ALTER TABLE %s DROP INDEX %s", t.full(), t.indexes[i]) {
		t.indexes = slices.Delete(t.indexes, i, i+1)
	}
}

// addUnique mostly fails while there are duplicates; sometimes they are
// removed first.
func (s *session) addUnique(t *table) {
	list := spare(t)
	if len(list) == 0 || len(t.uniques()) > 3 {
		return
	}
	c := pick(s.random, list)
	if defaultable(c) && c.nullable && s.chance(60) {
		s.execf("UPDATE %s SET %s = NULL", t.full(), c.name)
	}
	index := s.newName("x")
	part := c.name
	if strings.Contains(c.kind.sql, "TEXT") || strings.Contains(c.kind.sql, "BLOB") {
		part += "(20)"
	}
	if s.execf("CREATE UNIQUE INDEX %s ON %s (%s)", index, t.full(), part) {
		t.keys = append(t.keys, key{index, []string{part}})
	}
}

func (s *session) dropUnique(t *table) {
	for i, k := range t.keys {
		if strings.HasPrefix(k.name, "x") {
			if s.execf("DROP INDEX %s ON %s", k.name, t.full()) {
				t.keys = slices.Delete(t.keys, i, i+1)
			}
			return
		}
	}
}

func (s *session) rename(t *table) {
	name, schema := s.newName("r"), t.schema
	if s.chance(30) {
		schema = pick(s.random, s.schemas())
	}
	if s.execf("RENAME TABLE %s TO %s.%s", t.full(), schema, name) {
		t.name, t.schema = name, schema
	}
}

// swapNames exchanges two tables' names in one statement.
func (s *session) swapNames() {
	a := s.table(unbound)
	b := s.table(func(t *table) bool { return t != a && unbound(t) })
	if a == nil || b == nil {
		return
	}
	if s.execf("RENAME TABLE %s TO h1.swapped, %s TO %s, h1.swapped TO %s", a.full(), b.full(), a.full(), b.full()) {
		a.name, b.name = b.name, a.name
		a.schema, b.schema = b.schema, a.schema
	}
}

func (s *session) truncate(t *table) {
	if s.exec("TRUNCATE TABLE " + t.full()) {
		t.rows = 0
		for range s.between(0, 4) {
			s.insert(t)
		}
	}
}

func (s *session) createTable() {
	if len(s.tables) > 25 {
		return
	}
	var list []shape
	for _, shape := range shapes() {
		if shape.feature == "" || s.on[shape.feature] {
			list = append(list, shape)
		}
	}
	made := len(s.tables)
	s.create(pick(s.random, list).tables(s.maker))
	for _, t := range s.tables[made:] {
		s.insert(t)
	}
}

func (s *session) dropTable(t *table) {
	if len(s.tables) > 10 && t != s.journal && s.exec("DROP TABLE "+t.full()) {
		s.remove(t)
	}
}

// createSelect makes a table of another's rows.
func (s *session) createSelect(from *table) {
	columns := some(s.random, from.assigned(), s.between(1, 5))
	if len(columns) == 0 || from.plainEngine || s.format == "STATEMENT" && from.sideEffects {
		return
	}
	t := s.maker.newTable()
	for _, c := range columns {
		c.attr, c.nullable = "", false
		c.kind.sql = strings.TrimSuffix(c.kind.sql, " INVISIBLE")
		t.columns = append(t.columns, c)
	}
	names := join(columns, ", ", name)
	if s.execf("CREATE TABLE %s AS SELECT %s FROM %s ORDER BY %s LIMIT %d", t.full(), names, from.full(), from.order(), s.between(1, 40)) {
		t.rows = 40
		s.tables = append(s.tables, t)
	}
}

// createLike makes an empty copy of a table and lets rows go over.
func (s *session) createLike(from *table) {
	if len(s.tables) > 25 {
		return
	}
	t := from.clone(s.newName("l"))
	s.maker.families++
	t.family, t.rows = s.maker.families, 0
	if !s.execf("CREATE TABLE %s LIKE %s", t.full(), from.full()) {
		return
	}
	s.tables = append(s.tables, t)
	if s.format != "STATEMENT" && s.chance(60) {
		columns := join(t.assigned(), ", ", name)
		if s.execf("INSERT IGNORE INTO %s (%s) SELECT %s FROM %s", t.full(), columns, columns, from.full()) {
			t.rows = from.rows
		}
	}
}

func (s *session) setAutoInc(t *table) {
	s.execf("ALTER TABLE %s AUTO_INCREMENT = %d", t.full(), s.between(1, 120))
}

func (s *session) createView() {
	t := s.table(nil)
	if t == nil {
		return
	}
	name := "h1." + s.newName("v")
	columns := join(some(s.random, t.columns, 3), ", ", name1)
	if s.execf("CREATE SQL SECURITY INVOKER VIEW %s AS SELECT %s, 'é' AS word FROM %s", name, columns, t.full()) {
		s.object("view", name)
	}
}

func name1(c column) string { return c.name }

func (s *session) dropObject(sort, statement string) {
	if name := s.takeObject(sort); name != "" {
		s.execf(statement, name)
	}
}

// createTrigger lets a table write the journal from now on.
func (s *session) createTrigger(t *table) {
	if !s.mine(s, s.journal) || t.plainEngine {
		return
	}
	s.touch(s.journal)
	name := t.schema + "." + s.newName("tr")
	event := pick(s.random, []string{"INSERT", "UPDATE", "DELETE"})
	if s.execf("CREATE TRIGGER %s AFTER %s ON %s FOR EACH ROW INSERT INTO %s (what, v) VALUES ('%s', 1)", name, event, t.full(), s.journal.full(), event) {
		s.marry(t, s.journal)
		t.bound = true
		s.object("trigger", name)
	}
}

func (s *session) createProcedure() {
	if !s.mine(s, s.journal) {
		return
	}
	name := "h1." + s.newName("p")
	if s.execf("CREATE PROCEDURE %s (IN x INT, IN word VARCHAR(20)) BEGIN DECLARE twice INT DEFAULT x * 2; INSERT INTO %s (what, v) VALUES (word, twice); UPDATE %s SET v = v + x WHERE what = word; END",
		name, s.journal.full(), s.journal.full()) {
		s.object("procedure", name)
	}
}

func (s *session) call() {
	if list := s.objects["procedure"]; len(list) > 0 && s.mine(s, s.journal) {
		s.touch(s.journal)
		s.trim(s.journal)
		s.execf("CALL %s(%d, %s)", pick(s.random, list), s.IntN(40), asciiWord(s.random))
		s.journal.rows++
	}
}

func (s *session) createDatabase() {
	name := s.newName("d")
	if s.execf("CREATE DATABASE %s%s", name, pick(s.random, []string{"", " CHARACTER SET latin1", " COLLATE utf8mb4_bin"})) {
		s.object("database", name)
		s.execf("CREATE TABLE %s.small (id INT AUTO_INCREMENT PRIMARY KEY, w VARCHAR(10))", name)
		s.execf("INSERT INTO %s.small (w) VALUES ('one'), ('two')", name)
		s.execf("UPDATE %s.small SET w = 'three' WHERE id = 2", name)
	}
}

func (s *session) dropDatabase() { s.dropObject("database", "DROP DATABASE %s") }

// exchangePartition exchanges a partition with a table that is made for it.
func (s *session) exchangePartition(t *table) {
	other := t.schema + "." + s.newName("e")
	if !s.execf("CREATE TABLE %s LIKE %s", other, t.full()) {
		return
	}
	s.execf("ALTER TABLE %s REMOVE PARTITIONING", other)
	columns := t.assigned()
	columns = slices.DeleteFunc(columns, func(c column) bool { return c.name == "id" })
	for n := range s.between(0, 4) {
		s.execf("INSERT INTO %s (id, %s) VALUES (%d, %s)", other, join(columns, ", ", name), 30+n*3,
			join(columns, ", ", func(c column) string { return c.literal(s.random) }))
	}
	s.execf("ALTER TABLE %s EXCHANGE PARTITION p2 WITH TABLE %s", t.full(), other)
	if s.chance(50) {
		s.execf("INSERT INTO %s (id) VALUES (61)", other)
	}
	s.execf("DROP TABLE %s", other)
}

func (s *session) changePartitions(t *table) {
	s.execf("ALTER TABLE %s %s", t.full(), pick(s.random, []string{
		"TRUNCATE PARTITION p1",
		"REORGANIZE PARTITION p0, p1 INTO (PARTITION p0 VALUES LESS THAN (15), PARTITION p1 VALUES LESS THAN (30))",
		"REBUILD PARTITION p2",
		"COALESCE PARTITION 1",
		"REMOVE PARTITIONING",
		"PARTITION BY HASH (id) PARTITIONS 5",
	}))
}

func (s *session) createAccount() {
	name := "'" + s.newName("u") + "'@'localhost'"
	if s.execf("CREATE USER %s IDENTIFIED BY 'pass%d'", name, s.IntN(100)) {
		s.object("account", name)
		s.execf("GRANT SELECT, INSERT ON h1.* TO %s", name)
	}
}

func (s *session) changeAccount() {
	name := s.takeObject("account")
	if name == "" {
		return
	}
	if s.chance(40) {
		s.execf("DROP USER %s", name)
		return
	}
	s.object("account", name)
	s.execf(pick(s.random, []string{
		"ALTER USER %s IDENTIFIED BY 'other'", "REVOKE INSERT ON h1.* FROM %s", "GRANT UPDATE ON *.* TO %s WITH GRANT OPTION",
	}), name)
}

// sequence makes or uses a MariaDB sequence.
func (s *session) sequence() {
	if s.o.Flavor != server.MariaDB || !s.mine(s, s.journal) {
		return
	}
	list := s.objects["sequence"]
	if len(list) == 0 || s.chance(20) {
		name := "h1." + s.newName("q")
		if s.execf("CREATE SEQUENCE %s START WITH %d INCREMENT BY %d %s", name, s.between(1, 100), s.between(1, 3), pick(s.random, []string{"CACHE 3", "NOCACHE", ""})) {
			s.object("sequence", name)
		}
		return
	}
	name := pick(s.random, list)
	for range s.between(1, 4) {
		s.execf("INSERT INTO %s (what, v) VALUES ('sequence', NEXT VALUE FOR %s)", s.journal.full(), name)
	}
	if s.chance(15) {
		s.execf("ALTER SEQUENCE %s RESTART %d", name, s.between(1, 200))
	}
	if s.chance(15) {
		s.execf("DO SETVAL(%s, %d)", name, s.between(1, 300))
	}
	if s.chance(8) {
		s.execf("DROP SEQUENCE %s", s.takeObject("sequence"))
	}
}
