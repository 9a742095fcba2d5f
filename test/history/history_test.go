package history_test

import (
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/test/history"
)

// TestReproducible: one seed gives one history, with the same answers of the
// server, on two servers of one version.
func TestReproducible(t *testing.T) {
	d := servertest.Of(t, server.MariaDB)
	a, b := entries(t, d, 42), entries(t, d, 42)
	if len(a) != len(b) {
		t.Errorf("%d statements, then %d", len(a), len(b))
	}
	for n := range min(len(a), len(b)) {
		if a[n].SQL != b[n].SQL || (a[n].Err == nil) != (b[n].Err == nil) {
			t.Fatalf("statement %d:\n\t%s (%v)\nthen\n\t%s (%v)", n, a[n].SQL, a[n].Err, b[n].SQL, b[n].Err)
		}
	}
}

func entries(t *testing.T, d server.Distribution, seed uint64) []history.Entry {
	t.Helper()
	i := servertest.Start(t, d, "--log-bin=bin", "--skip-networking")
	h := history.New(history.Options{Seed: seed, Flavor: d.Flavor, Steps: 300})
	db := servertest.Open(t, i, "")
	if err := h.Setup(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	if err := h.Run(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	return h.Entries()
}

func TestSelect(t *testing.T) {
	all := history.NewSet(history.JSON, history.DDLRename, history.DDLTables, history.XA)
	for _, test := range []struct{ list, want string }{
		{"", "ddl_rename,ddl_tables,json,xa"},
		{"-ddl_*", "json,xa"},
		{"+partitions,-xa", "ddl_rename,ddl_tables,json,partitions"},
		{"json no_key", "json,no_key"},
	} {
		got, err := all.Select(test.list)
		if err != nil || got.String() != test.want {
			t.Errorf("Select(%q) = %s, %v; want %s", test.list, got, err, test.want)
		}
	}
	if _, err := all.Select("nonsense"); err == nil {
		t.Error("no error for a feature that is not one")
	}
}
