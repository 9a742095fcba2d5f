package history

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lifeboat-db/lifeboat/internal/server"
)

// rowChanges are changes of rows for ROW and MIXED format.
func (s *session) rowChanges() []action {
	return []action{
		{30, "", s.with(nil, s.insert)},
		{20, "", s.with(nil, s.updateSome)},
		{10, "", s.with(nil, s.deleteSome)},
		{6, Replace, s.with(s.replaceable, s.replace)},
		{8, Upsert, s.with(nil, s.upsert)},
		{4, MultiTable, s.joined},
		{10, KeyChange, s.with(hasIdentity, s.changeKey)},
		{5, CaseChange, s.with(hasTextKey, s.changeCase)},
		{6, HotRows, s.with(hasIdentity, s.hot)},
		{6, Reinsert, s.with(hasIdentity, s.reinsert)},
		{4, Swap, s.swapInTransaction},
		{3, "", s.with(noKey, s.duplicate)},
		{3, "", s.with(nil, s.insertMany)},
		{3, PartialJSON, s.with(hasDocument, s.partial)},
		{3, JSON, s.with(hasDocument, s.partial)},
		{2, NoForeignChecks, s.withoutForeignChecks},
		{2, Functions, s.useFunction},
		{1, Mixed, s.with(hasLoose(text), func(t *table) {
			s.setLoose(t, text, "UUID()")
		})},
	}
}

// with runs a change on a table that is good for it.
func (s *session) with(good func(*table) bool, change func(*table)) func() {
	return func() {
		if t := s.table(good); t != nil {
			change(t)
		} else {
			s.failing = false
		}
	}
}

func hasIdentity(t *table) bool { return len(t.identity) > 0 }
func noKey(t *table) bool       { return len(t.identity) == 0 }

func hasTextKey(t *table) bool {
	return slices.ContainsFunc(t.columns, func(c column) bool { return c.kind.class == text && t.inKey(c.name) })
}

func hasLoose(class class) func(*table) bool {
	return func(t *table) bool {
		return slices.ContainsFunc(t.loose(), func(c column) bool { return c.kind.class == class })
	}
}

var hasDocument = hasLoose(document)

// replaceable keeps REPLACE from parents on MySQL unless it is asked for, and
// from short row images: the servers then log it as an update that lacks the
// columns it set to their defaults.
func (s *session) replaceable(t *table) bool {
	if s.image != "FULL" {
		return false
	}
	return s.on[ReplaceParent] || !t.parent || s.o.Flavor == server.MariaDB && s.on[Cascades]
}

// columnsToSet is mostly all columns, sometimes fewer; the AUTO_INCREMENT
// column is left to the server in half of all cases.
func (s *session) columnsToSet(t *table) (columns []column) {
	few := s.chance(15)
	for _, c := range t.assigned() {
		switch {
		case c.name == t.autoinc && s.chance(50):
		case few && c.nullable && s.chance(50):
		default:
			columns = append(columns, c)
		}
	}
	return columns
}

func name(c column) string { return c.name }

func (s *session) row(columns []column) string {
	return "(" + join(columns, ", ", func(c column) string { return c.literal(s.random) }) + ")"
}

func (s *session) rowsOf(columns []column, n int) string {
	rows := make([]string, n)
	for i := range rows {
		rows[i] = s.row(columns)
	}
	return strings.Join(rows, ", ")
}

// put runs INSERT or the like with n rows.
func (s *session) put(verb string, t *table, n int, suffix string) {
	s.trim(t)
	columns := s.columnsToSet(t)
	if s.execf("%s INTO %s (%s) VALUES %s%s", verb, t.full(), join(columns, ", ", name), s.rowsOf(columns, n), suffix) {
		t.rows += n
	}
}

func (s *session) insert(t *table) {
	verb := "INSERT"
	if s.chance(25) {
		verb = "INSERT IGNORE"
	}
	s.put(verb, t, s.between(1, 3), "")
}

func (s *session) insertMany(t *table) { s.put("INSERT IGNORE", t, s.between(10, t.limit/2), "") }

func (s *session) replace(t *table) { s.put("REPLACE", t, s.between(1, 3), "") }

func (s *session) upsert(t *table) {
	if loose := t.loose(); len(loose) > 0 {
		s.put("INSERT", t, s.between(1, 4), " ON DUPLICATE KEY UPDATE "+s.assignments(loose))
	}
}

// trim keeps tables small: work is in changes, not in size.
func (s *session) trim(t *table) {
	if t.rows <= t.limit {
		return
	}
	t.rows = s.number("SELECT COUNT(*) FROM " + t.full())
	if t.rows > t.limit {
		s.execf("DELETE FROM %s ORDER BY %s LIMIT %d", t.full(), t.order(), t.rows-t.limit/2)
		t.rows = t.limit
	}
}

// assignments sets one to three of the columns.
func (s *session) assignments(columns []column) string {
	return join(some(s.random, columns, s.between(1, 3)), ", ", s.assignment)
}

func (s *session) assignment(c column) string {
	switch {
	case c.kind.class == integer && s.chance(30):
		return c.name + " = " + c.name + " + 1"
	case c.kind.class == text && s.chance(15):
		return fmt.Sprintf("%s = CONCAT(%s, 'x')", c.name, c.name)
	}
	return c.name + " = " + c.literal(s.random)
}

// where is a condition for one row mostly, for several sometimes.
func (s *session) where(t *table) string {
	switch {
	case hasIdentity(t) && s.chance(60):
		return t.existing(s.IntN(max(t.rows, 1)))
	case hasIdentity(t) && s.chance(60):
		return s.byKey(t)
	}
	c := pick(s.random, t.columns)
	if c.derived || c.nullable && s.chance(30) {
		return c.name + " IS NULL"
	}
	return c.name + pick(s.random, []string{" = ", " <=> ", " > "}) + c.kind.value(s.random)
}

func (s *session) byKey(t *table) string {
	return join(t.identity, " AND ", func(name string) string {
		return name + " = " + t.column(name).literal(s.random)
	})
}

func (s *session) updateSome(t *table) {
	columns := t.loose()
	if len(columns) == 0 || s.chance(10) {
		columns = t.assigned()
	}
	s.execf("UPDATE %s SET %s WHERE %s", t.full(), s.assignments(columns), s.where(t))
}

func (s *session) deleteSome(t *table) {
	if s.chance(10) {
		s.execf("DELETE FROM %s ORDER BY %s LIMIT %d", t.full(), t.order(), s.between(1, 10))
		return
	}
	s.execf("DELETE FROM %s WHERE %s", t.full(), s.where(t))
}

// changeKey moves a row to another key, or all rows by one.
func (s *session) changeKey(t *table) {
	c := t.column(pick(s.random, t.identity))
	if c.kind.class == integer && s.chance(30) {
		step, direction := 1, "DESC"
		if s.chance(50) {
			step, direction = -1, "ASC"
		}
		limit := ""
		if s.chance(50) {
			limit = fmt.Sprintf(" LIMIT %d", s.between(1, 8))
		}
		s.execf("UPDATE %s SET %s = %s + %d ORDER BY %s %s%s", t.full(), c.name, c.name, step, c.name, direction, limit)
		return
	}
	s.execf("UPDATE %s SET %s = %s WHERE %s", t.full(), c.name, c.literal(s.random), t.existing(s.IntN(max(t.rows, 1))))
}

// changeCase gives a text key another spelling that may be the same key.
func (s *session) changeCase(t *table) {
	var keys []column
	for _, c := range t.columns {
		if c.kind.class == text && !c.derived && t.inKey(c.name) {
			keys = append(keys, c)
		}
	}
	if len(keys) == 0 || !hasIdentity(t) {
		return
	}
	c := pick(s.random, keys)
	spelling := pick(s.random, []string{"UPPER(%s)", "LOWER(%s)", "CONCAT(%s, ' ')", "RTRIM(%s)", "REPLACE(%s, 'a', 'á')", "REPLACE(%s, 'ss', 'ß')"})
	s.execf("UPDATE %s SET %s = %s WHERE %s", t.full(), c.name, fmt.Sprintf(spelling, c.name), t.existing(s.IntN(max(t.rows, 1))))
}

// hot changes one row again and again.
func (s *session) hot(t *table) {
	columns := t.loose()
	if len(columns) == 0 {
		return
	}
	row := t.existing(s.IntN(max(min(t.rows, 3), 1)))
	for range s.between(2, 8) {
		s.execf("UPDATE %s SET %s WHERE %s", t.full(), s.assignments(columns), row)
	}
}

// reinsert deletes a key and inserts it again with other values.
func (s *session) reinsert(t *table) {
	values := map[string]string{}
	for _, name := range t.identity {
		values[name] = t.column(name).literal(s.random)
	}
	s.execf("DELETE FROM %s WHERE %s", t.full(), join(t.identity, " AND ", func(name string) string {
		return name + " = " + values[name]
	}))
	for range s.between(1, 2) {
		columns := t.assigned()
		if s.execf("INSERT INTO %s (%s) VALUES (%s)", t.full(), join(columns, ", ", name), join(columns, ", ", func(c column) string {
			if v, ok := values[c.name]; ok {
				return v
			}
			return c.literal(s.random)
		})) {
			t.rows++
		}
	}
}

// duplicate copies rows of a table that has no key.
func (s *session) duplicate(t *table) {
	s.trim(t)
	columns := join(t.assigned(), ", ", name)
	n := s.between(1, 6)
	if s.execf("INSERT INTO %s (%s) SELECT %s FROM %s ORDER BY %s LIMIT %d", t.full(), columns, columns, t.full(), t.order(), n) {
		t.rows += n
	}
	if s.chance(50) {
		s.execf("DELETE FROM %s ORDER BY %s LIMIT %d", t.full(), t.order(), s.between(1, 3))
	}
}

// joined changes two tables in one statement. As a statement it would depend
// on the order in which the optimizer joins.
func (s *session) joined() {
	if s.format != "ROW" {
		return
	}
	a := s.table(hasLoose(integer))
	b := s.table(func(t *table) bool { return t != a && hasLoose(integer)(t) })
	if a == nil || b == nil {
		return
	}
	var ca, cb column
	for _, c := range a.loose() {
		if c.kind.class == integer {
			ca = c
		}
	}
	for _, c := range b.loose() {
		if c.kind.class == integer {
			cb = c
		}
	}
	on := fmt.Sprintf("x.%s %% 7 = y.%s %% 5", ca.name, cb.name)
	if s.chance(25) {
		s.execf("DELETE x, y FROM %s AS x JOIN %s AS y ON x.%s = y.%s", a.full(), b.full(), ca.name, cb.name)
		return
	}
	s.execf("UPDATE %s AS x JOIN %s AS y ON %s SET x.%s = %s, y.%s = %s", a.full(), b.full(), on,
		ca.name, ca.literal(s.random), cb.name, cb.literal(s.random))
}

// swapInTransaction makes a transaction for a swap if there is none.
func (s *session) swapInTransaction() {
	if s.open {
		s.swap()
		return
	}
	if s.begin(); s.open {
		s.swap()
	}
}

// swap lets the values of a unique key, or of the primary key, go around
// between two to four rows. Outside a transaction each step is one of its own.
func (s *session) swap() {
	t := s.table(func(t *table) bool { return hasIdentity(t) && len(t.uniques()) > 0 })
	if t == nil || s.chance(20) {
		s.swapKeys()
		return
	}
	unique := pick(s.random, t.uniques())
	columns := make([]string, len(unique.columns))
	for i, c := range unique.columns {
		columns[i] = strings.SplitN(c, "(", 2)[0]
	}
	if slices.ContainsFunc(columns, func(c string) bool { return !t.column(c).nullable || t.column(c).derived }) {
		return
	}
	double := func(c string) bool { return t.column(c).kind.double() } // FLOAT becomes one in a variable
	if !s.on[DoubleVariables] && (slices.ContainsFunc(columns, double) || slices.ContainsFunc(t.identity, double)) {
		return
	}
	s.rotate(t, columns)
}

// rotate reads rows into user variables, empties the first one's unique
// columns and gives each row the next one's.
func (s *session) rotate(t *table, columns []string) {
	n := s.between(2, 4)
	for i := range n {
		var into []string
		for _, c := range t.identity {
			into = append(into, fmt.Sprintf("@%s%d", c, i))
		}
		for _, c := range columns {
			into = append(into, fmt.Sprintf("@%s%d", c, i))
		}
		s.execf("SELECT %s INTO %s FROM %s ORDER BY %s LIMIT 1 OFFSET %d", strings.Join(append(slices.Clone(t.identity), columns...), ", "),
			strings.Join(into, ", "), t.full(), t.order(), s.IntN(max(t.rows, 1)))
	}
	row := func(i int) string {
		return join(t.identity, " AND ", func(c string) string { return fmt.Sprintf("%s = @%s%d", c, c, i) })
	}
	s.execf("UPDATE %s SET %s WHERE %s", t.full(), join(columns, ", ", func(c string) string { return c + " = NULL" }), row(0))
	for i := 1; i <= n; i++ {
		s.execf("UPDATE %s SET %s WHERE %s", t.full(), join(columns, ", ", func(c string) string {
			return fmt.Sprintf("%s = @%s%d", c, c, (i-1)%n)
		}), row(i%n))
	}
}

// swapKeys exchanges two primary keys through a third.
func (s *session) swapKeys() {
	t := s.table(func(t *table) bool {
		return len(t.identity) == 1 && t.column(t.identity[0]).kind.class == integer && !t.parent
	})
	if t == nil {
		return
	}
	k := t.identity[0]
	a, b := t.column(k).literal(s.random), t.column(k).literal(s.random)
	s.execf("UPDATE %s SET %s = 99 WHERE %s = %s", t.full(), k, k, a)
	s.execf("UPDATE %s SET %s = %s WHERE %s = %s", t.full(), k, a, k, b)
	s.execf("UPDATE %s SET %s = %s WHERE %s = 99", t.full(), k, b, k)
}

// partial changes a document in place.
func (s *session) partial(t *table) {
	for _, c := range t.loose() {
		if c.kind.class != document {
			continue
		}
		change := pick(s.random, []string{
			"JSON_SET(%s, '$.a', " + fmt.Sprint(s.IntN(1000)) + ")",
			"JSON_REPLACE(%s, '$.b', '" + s.hex(s.between(1, 30)) + "')",
			"JSON_REMOVE(%s, '$.c[0]')",
			"JSON_SET(%s, '$.d.e', '" + s.hex(3) + "', '$.a', 7)",
			"JSON_SET(%s, '$.new" + fmt.Sprint(s.IntN(4)) + "', 1)",
		})
		where := s.where(t)
		if s.chance(20) {
			where = "TRUE"
		}
		s.execf("UPDATE %s SET %s = %s WHERE %s", t.full(), c.name, fmt.Sprintf(change, c.name), where)
	}
}

// withoutForeignChecks breaks what foreign keys promise, as restores do.
func (s *session) withoutForeignChecks() {
	t := s.table(func(t *table) bool {
		return t.parent || slices.ContainsFunc(t.columns, func(c column) bool { return c.name == "up" })
	})
	if t == nil {
		return
	}
	s.exec("SET SESSION foreign_key_checks = 0")
	for range s.between(1, 3) {
		s.choose([]action{
			{3, "", func() { s.insert(t) }}, {3, "", func() { s.deleteSome(t) }},
			{2, "", func() { s.updateSome(t) }}, {2, KeyChange, func() { s.changeKey(t) }},
		})
	}
	s.exec("SET SESSION foreign_key_checks = 1")
}
