package archive

import (
	"slices"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/gtid"
)

// Of several that each found the set empty, the earliest counts.
func TestCountMembers(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	first := func(name string, s int64) record { return record{Servers: []string{name}, How: howFirst, Since: at(s)} }
	for _, c := range []struct {
		name    string
		records []record
		want    []string // that belong to the set, of a, b and c
	}{
		{"none are written down: everything is the set's", nil, []string{"a", "b", "c"}},
		{"one", []record{first("a", 1)}, []string{"a"}},
		{"two claims", []record{first("a", 2), first("b", 1)}, []string{"b"}},
		{"in any order", []record{first("b", 1), first("a", 2)}, []string{"b"}},
		{"at the same moment", []record{first("b", 1), first("a", 1)}, []string{"a"}},
		{"two archives of one server", []record{first("a", 1), first("a", 2)}, []string{"a"}},
		{"who lost is let in later", []record{first("a", 1), first("b", 2), {Servers: []string{"b"}, How: howAsked, Since: at(3)}}, []string{"a", "b"}},
		{"all that were there before", []record{{Servers: []string{"a", "b"}, How: howBefore, Since: at(1)}}, []string{"a", "b"}},
	} {
		m := count(c.records)
		var got []string
		for _, s := range []string{"a", "b", "c"} {
			if m.Has(s) {
				got = append(got, s)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// By what a server says of itself it belongs to a set, or not.
func TestJudge(t *testing.T) {
	list := func(names ...string) []string { return names }
	mysql := Members{records: []record{
		{Servers: list("m1"), How: howFirst, Sources: list("old"), Executed: list("m1", "old", "template", "n1")},
		{Servers: list("m2"), How: howReplication, Executed: list("m1")},
	}}
	maria := Members{records: []record{{Servers: list("mariadb-1"), How: howFirst, Place: "here"}, {Servers: list("mariadb-1"), How: howLog, Place: "there"}}}
	for _, c := range []struct {
		name string
		in   Members
		id   identity
		want string
	}{
		{"a known uuid", mysql, identity{Name: "m2"}, howBefore},
		{"nothing is shared", mysql, identity{Name: "x", Executed: list("x", "y"), Sources: list("y"), Replicas: list("z")}, ""},
		{"it replicates from a member", mysql, identity{Name: "x", Sources: list("y", "m2")}, howReplication},
		{"a member replicates from it now", mysql, identity{Name: "x", Replicas: list("m1")}, howReplication},
		{"a member replicated from it", mysql, identity{Name: "old"}, howReplication},
		{"both replicate from a third", mysql, identity{Name: "x", Sources: list("old")}, howReplication},
		{"it has transactions of a member", mysql, identity{Name: "x", Executed: list("m2", "x")}, howHistory},
		{"a member has transactions of it", mysql, identity{Name: "n1"}, howHistory},
		{"both are of one template", mysql, identity{Name: "x", Executed: list("template", "x")}, ""},
		{"MariaDB where it was", maria, identity{Flavor: gtid.MariaDB, Name: "mariadb-1", Place: "there"}, howBefore},
		{"MariaDB of that number elsewhere", maria, identity{Flavor: gtid.MariaDB, Name: "mariadb-1", Place: "nowhere"}, ""},
		{"MariaDB of another number at that place", maria, identity{Flavor: gtid.MariaDB, Name: "mariadb-2", Place: "here"}, ""},
		{"MariaDB replicates from one of that number", maria, identity{Flavor: gtid.MariaDB, Name: "mariadb-2", Sources: list("mariadb-1"), Place: "x"}, ""},
	} {
		if c.id.Flavor == 0 {
			c.id.Flavor = gtid.MySQL
		}
		if got := c.in.judge(c.id); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// Nothing leads on by the log of a server that is no member.
func TestStrangersLog(t *testing.T) {
	none, gtids := "", "0-1-5"
	l := Log{Server: "mariadb-1", Files: []File{{Summary: Summary{Server: "mariadb-1", File: "bin.000001", Flavor: "mariadb", Previous: &none}}}}
	s := State{Server: "mariadb-1", File: "bin.000001", Offset: 4, GTIDs: gtids, Flavor: "mariadb", At: time.Now()}
	for _, stranger := range []bool{false, true} {
		l.Stranger = stranger
		_, position := l.ByPosition(s)
		_, byGTIDs, err := l.ByGTIDs(s)
		if position == stranger || byGTIDs == stranger || err != nil {
			t.Errorf("stranger %v: by position %v, by GTIDs %v, %v", stranger, position, byGTIDs, err)
		}
	}
}
