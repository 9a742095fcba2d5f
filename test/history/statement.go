package history

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// statementChanges are changes whose text, with what the log carries beside
// it, gives the same rows again: each names its rows completely or in a fixed
// order, and uses of the servers' functions only those that are logged.
func (s *session) statementChanges() []action {
	single := func(change func(*table)) func() { return s.with(s.repeatable, change) }
	return []action{
		{20, "", single(s.insertOne)},
		{15, "", single(s.updateByText)},
		{8, "", single(s.deleteByText)},
		{8, "", s.with(s.and(hasLoose(integer)), func(t *table) { s.setLoose(t, integer, "FLOOR(RAND() * 100)") })},
		{6, "", s.with(s.and(hasLoose(number)), func(t *table) { s.setLoose(t, number, "RAND() * 1000") })},
		{6, "", s.with(s.and(hasLoose(moment)), func(t *table) {
			s.setLoose(t, moment, pick(s.random, []string{"NOW(6)", "NOW()", "CURRENT_TIMESTAMP(3)", "FROM_UNIXTIME(1700000000)"}))
		})},
		{8, "", s.with(s.and(hasLoose(text)), s.userVariable)},
		{5, "", s.with(s.and(hasLoose(integer)), s.integerVariables)},
		{4, "", s.with(s.and(hasLoose(text)), func(t *table) {
			s.setLoose(t, text, pick(s.random, []string{
				"DATE_FORMAT('2024-03-01', '%M %W')", "'a' || 'b'", "@@session.time_zone", "CONCAT('é', CHARSET('a'))", "\"quoted\"",
				"DATABASE()", "'back\\\\slash'", "USER()", "CONNECTION_ID() * 0",
			}))
		})},
		{8, "", s.lastInsertID},
		{5, Functions, s.useFunction},
		{4, LoadData, s.loadData},
		{6, TempTables, s.useTemp},
		{5, "", s.with(s.and(hasLoose(integer)), s.copyColumn)},
	}
}

// repeatable keeps statements from tables on which they are not: where a
// trigger draws numbers, where a failing statement leaves half of its changes,
// where the chosen row depends on more than the order of a key.
func (s *session) repeatable(t *table) bool { return !t.sideEffects && !t.plainEngine }

func (s *session) and(good func(*table) bool) func(*table) bool {
	return func(t *table) bool { return s.repeatable(t) && good(t) }
}

// insertOne inserts one row: with several, one that is a duplicate would leave
// the numbers of the others to the server.
func (s *session) insertOne(t *table) {
	if len(t.uniques()) > 0 || t.autoinc != "" {
		s.put("INSERT", t, 1, "")
		return
	}
	s.put(pick(s.random, []string{"INSERT", "INSERT IGNORE"}), t, s.between(1, 3), "")
}

// whereText names rows so that any server finds the same ones.
func (s *session) whereText(t *table) string {
	if hasIdentity(t) && s.chance(70) {
		return t.existing(s.IntN(max(t.rows, 1)))
	}
	for _, c := range t.columns {
		if c.nullable && !c.derived {
			return c.name + " IS NOT NULL"
		}
	}
	return "TRUE"
}

func (s *session) updateByText(t *table) {
	if columns := t.loose(); len(columns) > 0 {
		s.execf("UPDATE %s SET %s WHERE %s", t.full(), s.assignments(columns), s.whereText(t))
	}
}

func (s *session) deleteByText(t *table) {
	if hasIdentity(t) {
		s.execf("DELETE FROM %s WHERE %s", t.full(), t.existing(s.IntN(max(t.rows, 1))))
	}
}

// setLoose gives one row's column of a class an expression.
func (s *session) setLoose(t *table, class class, expression string) {
	if !hasIdentity(t) {
		return
	}
	for _, c := range t.loose() {
		if c.kind.class == class {
			s.execf("UPDATE %s SET %s = %s WHERE %s", t.full(), c.name, expression, t.existing(s.IntN(max(t.rows, 1))))
			return
		}
	}
}

func (s *session) userVariable(t *table) {
	value := pick(s.random, []string{
		word(s.random), "_latin1 X'e4f6'", "NULL", "X'00ff41'", "12.50", "-7", "18446744073709551615",
		"CONVERT('日本' USING utf16)", "_utf8mb4 'a' COLLATE utf8mb4_bin", "'it''s'", "DATE '2024-01-02'",
	})
	if s.on[DoubleVariables] && s.chance(30) {
		value = pick(s.random, []string{"1e10", "1e-7", "0.1e0", "-0e0"})
	}
	s.execf("SET @text = %s", value)
	s.setLoose(t, text, "@text")
}

func (s *session) integerVariables(t *table) {
	s.execf("SET @i = %d, @`odd name` = %d", s.IntN(50), s.IntN(50))
	s.setLoose(t, integer, "@i + @`odd name`")
}

func (s *session) copyColumn(t *table) {
	for _, c := range t.loose() {
		if c.kind.class == integer {
			s.execf("UPDATE %s SET %s = %s DIV 2 WHERE %s > 3", t.full(), c.name, c.name, c.name)
			return
		}
	}
}

// lastInsertID draws a number and uses it in another table.
func (s *session) lastInsertID() {
	a := s.table(func(t *table) bool {
		return s.repeatable(t) && t.autoinc != "" && len(t.uniques()) == 0
	})
	b := s.table(func(t *table) bool { return s.repeatable(t) && hasLoose(integer)(t) })
	if a == nil || b == nil || a == b {
		return
	}
	if s.execf("INSERT INTO %s (%s) VALUES (NULL)", a.full(), a.autoinc) {
		a.rows++
	}
	s.setLoose(b, integer, "LAST_INSERT_ID()")
}

// useFunction calls a stored function that was made in mid-traffic; one of the
// two sorts writes the journal.
func (s *session) useFunction() {
	if len(s.objects["function"]) == 0 {
		if !s.open {
			s.createFunction()
		}
		return
	}
	if !s.mine(s, s.journal) {
		return
	}
	t := s.table(s.and(hasLoose(integer)))
	if t == nil || !hasIdentity(t) {
		return
	}
	s.touch(s.journal)
	s.setLoose(t, integer, fmt.Sprintf("%s(%d)", pick(s.random, s.objects["function"]), s.IntN(50)))
}

func (s *session) createFunction() {
	name := "h1." + s.newName("f")
	body := "DETERMINISTIC RETURN x * 2 + 1"
	if s.chance(50) {
		body = "MODIFIES SQL DATA DETERMINISTIC BEGIN INSERT INTO " + s.journal.full() + " (what, v) VALUES ('function', x); RETURN x + 100; END"
	}
	if s.execf("CREATE FUNCTION %s (x INT) RETURNS INT %s", name, body) {
		s.object("function", name)
	}
}

// startTemp gives the session a temporary table, whose name other sessions use
// too, and statement format.
func (s *session) startTemp() {
	if s.temp || !slices.Contains(s.schemas(), "h1") {
		return
	}
	s.setFormat("STATEMENT")
	if s.format != "STATEMENT" {
		return
	}
	s.temp = s.exec(pick(s.random, []string{
		"CREATE TEMPORARY TABLE h1.scratch (n INT NOT NULL PRIMARY KEY, w VARCHAR(20))",
		"CREATE TEMPORARY TABLE h1.scratch (n INT NOT NULL PRIMARY KEY, w VARCHAR(20)) ENGINE=MyISAM",
	}))
	if s.temp {
		s.execf("INSERT INTO h1.scratch VALUES (1, 'session %d'), (2, 'two'), (3, NULL)", s.id)
	}
}

func (s *session) schemas() []string { return s.maker.schemas }

// useTemp changes the temporary table or a real one from it.
func (s *session) useTemp() {
	if !s.temp {
		return
	}
	switch {
	case s.chance(30):
		s.execf("INSERT INTO h1.scratch VALUES (%d, %s)", s.IntN(100), word(s.random))
	case s.chance(20):
		s.execf("UPDATE h1.scratch SET w = CONCAT(w, '%d') WHERE n > %d", s.IntN(10), s.IntN(5))
	case s.chance(20) && !s.open:
		s.dropTemp()
	default:
		s.fromTemp()
	}
}

func (s *session) fromTemp() {
	if !s.mine(s, s.journal) {
		return
	}
	s.touch(s.journal)
	s.trim(s.journal)
	if s.execf("INSERT INTO %s (what, v) SELECT LEFT(w, 10), n FROM h1.scratch ORDER BY n", s.journal.full()) {
		s.journal.rows += 5
	}
}

func (s *session) dropTemp() {
	if s.temp {
		s.exec("DROP TEMPORARY TABLE h1.scratch")
		s.temp = false
	}
}

// loadData loads a file of few rows, or of more than one block of the log.
func (s *session) loadData() {
	if !s.mine(s, s.journal) {
		return
	}
	s.touch(s.journal)
	s.trim(s.journal)
	var lines strings.Builder
	n := s.between(1, 20)
	for range n {
		fmt.Fprintf(&lines, "%s\t%d\n", pick(s.random, []string{"load", "\\N", "a b"}), s.IntN(1000))
	}
	// The server logs '\\' and '\t' of its own making, and under
	// NO_BACKSLASH_ESCAPES nobody can read them again.
	s.exec("SET SESSION sql_mode = ''")
	path := filepath.Join(s.dir, s.newName("load"))
	if err := os.WriteFile(path, []byte(lines.String()), 0o644); err != nil {
		s.err = err
		return
	}
	if s.execf("LOAD DATA INFILE '%s' %s INTO TABLE %s CHARACTER SET utf8mb4 (what, v) SET v = v + 1",
		path, pick(s.random, []string{"", "IGNORE", "REPLACE"}), s.journal.full()) {
		s.journal.rows += n
	}
}
