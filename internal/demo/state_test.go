package demo

import (
	"reflect"
	"testing"
)

func TestCompare(t *testing.T) {
	same := Table{Rows: 3, Checksum: "17", Definition: "CREATE TABLE t (a INT)"}
	change := func(f func(*Table)) Table {
		c := same
		f(&c)
		return c
	}
	before := State{"same": same, "rows": same, "values": same, "definition": same, "gone": same}
	after := State{
		"same":       same,
		"rows":       change(func(t *Table) { t.Rows, t.Checksum = 2, "16" }),
		"values":     change(func(t *Table) { t.Checksum = "18" }),
		"definition": change(func(t *Table) { t.Definition = "CREATE TABLE t (a INT, KEY (a))" }),
		"new":        same,
	}
	want := []Comparison{
		{"definition", 3, 3, "17", "17", false, "other definition"},
		{"gone", 3, 0, "17", "", false, "lost"},
		{"new", 0, 3, "", "17", false, "was not there"},
		{"rows", 3, 2, "17", "16", false, "other rows"},
		{"same", 3, 3, "17", "17", true, ""},
		{"values", 3, 3, "17", "18", false, "other values"},
	}
	got := Compare(before, after)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if n := unequal(got); n != 5 {
		t.Errorf("%d tables unequal, want 5", n)
	}
	if n := unequal(Compare(before, before)); n != 0 {
		t.Errorf("a state differs from itself in %d tables", n)
	}
}
