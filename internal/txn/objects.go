package txn

import (
	"slices"
	"strings"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
)

// Object is what a statement names: a table, view, trigger, routine or event of
// a database, or, without a Name, a database. Quotes are gone, letters are as
// they were written.
type Object struct{ Database, Name string }

// token is a word or quoted name of SQL text, or one other character.
type token struct {
	text   string
	quoted bool
}

func (t token) is(words ...string) bool {
	return !t.quoted && slices.Contains(words, strings.ToUpper(t.text))
}

func (t token) name() bool {
	return t.quoted || t.text != "" && (isWord(t.text[0]) || t.text[0] == '$' || t.text[0] >= 0x80)
}

// tokens cuts SQL text. Comments and string literals are left out; a text in
// double quotes counts as a name, which it is under ANSI_QUOTES.
func tokens(sql []byte) (list []token) {
	for {
		sql = skip(sql, blanks)
		if len(sql) == 0 {
			return list
		}
		if sql[0] == '\'' {
			sql = afterLiteral(sql)
			list = append(list, token{text: "'"})
			continue
		}
		if name, rest, ok := identifier(sql); ok {
			list = append(list, token{name, sql[0] == '`' || sql[0] == '"'})
			sql = rest
			continue
		}
		list = append(list, token{text: string(sql[:1])})
		sql = sql[1:]
	}
}

func afterLiteral(sql []byte) []byte {
	for i := 1; i < len(sql); i++ {
		switch {
		case sql[i] == '\\':
			i++
		case sql[i] == '\'' && i+1 < len(sql) && sql[i+1] == '\'':
			i++
		case sql[i] == '\'':
			return sql[i+1:]
		}
	}
	return nil
}

// Mentions are all names in a statement that may be a table's, qualified with
// the default database where they are not: more than those that are.
func Mentions(sql []byte, database string) (list []Object) {
	all := tokens(sql)
	for i := 0; i < len(all); i++ {
		if !all[i].name() {
			continue
		}
		if i+2 < len(all) && all[i+1].text == "." && all[i+2].name() {
			list = append(list, Object{all[i].text, all[i+2].text})
			i += 2
			continue
		}
		list = append(list, Object{database, all[i].text})
	}
	return list
}

// kinds are the words for what a data definition statement is about.
var kinds = []string{"TABLE", "TABLES", "DATABASE", "SCHEMA", "VIEW", "TRIGGER", "PROCEDURE", "FUNCTION", "EVENT", "SEQUENCE", "PACKAGE"}

// Subjects are the objects that a data definition statement is about: what it
// makes, changes, renames, empties or drops. None: it is about something else,
// such as an account.
func Subjects(sql []byte, database string) (list []Object) {
	all := tokens(sql)
	kind := slices.IndexFunc(all, func(t token) bool { return t.is(kinds...) })
	if kind < 0 && len(all) > 0 && all[0].is("TRUNCATE") {
		kind = 0
	}
	if kind < 0 {
		return nil
	}
	for rest := all[kind+1:]; ; {
		for len(rest) > 0 && rest[0].is("IF", "NOT", "EXISTS") {
			rest = rest[1:]
		}
		n := 1
		switch {
		case len(rest) == 0 || !rest[0].name():
			return list
		case all[kind].is("DATABASE", "SCHEMA"):
			list = append(list, Object{Database: rest[0].text})
		case len(rest) > 2 && rest[1].text == "." && rest[2].name():
			list = append(list, Object{rest[0].text, rest[2].text})
			n = 3
		default:
			list = append(list, Object{database, rest[0].text})
		}
		if rest = rest[n:]; len(rest) == 0 || rest[0].text != "," && (!rest[0].is("TO") || !all[0].is("RENAME")) {
			return list
		}
		rest = rest[1:]
	}
}

// Conditional reports whether a data definition statement says what to do if
// something is there, or is not: IF EXISTS, IF NOT EXISTS, OR REPLACE.
func Conditional(sql []byte) bool {
	all := tokens(sql)
	for i := 0; i+1 < len(all); i++ {
		if all[i].is("IF") && all[i+1].is("EXISTS", "NOT") || all[i].is("OR") && all[i+1].is("REPLACE") {
			return true
		}
	}
	return false
}

// Text is the statement of a transaction that has one: the last of a data
// definition, the first of others; with its default database.
func (t *Transaction) Text() (sql []byte, database string) {
	for q, err := range t.Queries() {
		if err != nil {
			continue
		}
		if sql == nil || t.Kind == DDL {
			sql, database = q.SQL, q.Database
		}
	}
	return sql, database
}

// Tables names the tables of the transaction's rows events, each once.
func (t *Transaction) Tables() (list []Object, err error) {
	for i := range t.Events {
		if t.Events[i].Type != binlog.TableMapEvent {
			continue
		}
		tm, err := binlog.DecodeTableMap(t.Events[i].Body)
		if err != nil {
			return nil, binlog.At(t.File.At(t.Events[i].Offset), err)
		}
		if o := (Object{tm.Database, tm.Table}); !slices.Contains(list, o) {
			list = append(list, o)
		}
	}
	return list, nil
}

// StatementFormat reports whether the transaction changes rows by statements,
// whose effect depends on what is in the tables. CREATE TABLE … SELECT and what
// is rolled back to a savepoint do not count: their rows are logged.
func (t *Transaction) StatementFormat() bool {
	if t.Kind != Statements {
		return false
	}
	for q, err := range t.Queries() {
		if err != nil {
			return true
		}
		switch verb := Verb(q.SQL); {
		case IsCreateTable(q.SQL), verb == "SAVEPOINT", verb == "RELEASE SAVEPOINT", verb == "ROLLBACK TO":
		default:
			return true
		}
	}
	return false
}

// UsesTemporaryTables reports whether the transaction needs the temporary tables
// of its session. The servers flag every DROP as one that does.
func (t *Transaction) UsesTemporaryTables() bool {
	return slices.ContainsFunc(t.Events, func(ev binlog.Event) bool {
		if ev.Type != binlog.QueryEvent || ev.Flags&binlog.FlagThreadSpecific == 0 {
			return false
		}
		q, err := binlog.DecodeQuery(ev.Body, 0)
		if err != nil {
			return true
		}
		verb := Verb(q.SQL)
		return !strings.HasPrefix(verb, "DROP ") || verb == "DROP TEMPORARY"
	})
}

// Renames are pairs of tables of which the first one's rows become the second
// one's: RENAME TABLE, ALTER TABLE … RENAME and ALTER TABLE … EXCHANGE PARTITION.
func Renames(sql []byte, database string) (pairs [][2]Object) {
	switch Verb(sql) {
	case "RENAME":
		list := Subjects(sql, database)
		for i := 0; i+1 < len(list); i += 2 {
			pairs = append(pairs, [2]Object{list[i], list[i+1]})
		}
		return pairs
	case "ALTER TABLE", "ALTER ONLINE", "ALTER IGNORE":
	default:
		return nil
	}
	subject := Subjects(sql, database)
	all := tokens(sql)
	for i := 0; i+1 < len(all) && len(subject) == 1; i++ {
		rest := all[i+1:]
		switch {
		case all[i].is("RENAME") && rest[0].is("COLUMN", "INDEX", "KEY"):
			continue
		case all[i].is("RENAME") && (rest[0].is("TO", "AS") || rest[0].text == "="):
			rest = rest[1:]
		case all[i].is("RENAME"):
		case all[i].is("WITH") && rest[0].is("TABLE"):
			rest = rest[1:]
		default:
			continue
		}
		if o, ok := object(rest, database); ok {
			pairs = append(pairs, [2]Object{subject[0], o})
		}
	}
	return pairs
}

// object reads a name of one or two parts.
func object(list []token, database string) (Object, bool) {
	switch {
	case len(list) == 0 || !list[0].name():
		return Object{}, false
	case len(list) > 2 && list[1].text == "." && list[2].name():
		return Object{list[0].text, list[2].text}, true
	default:
		return Object{database, list[0].text}, true
	}
}
