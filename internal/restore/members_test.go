package restore_test

import (
	"slices"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/restore"
	"github.com/lifeboat-db/lifeboat/test/deposit"
)

// TestStrangersLeftOut: of a set whose members are written down nothing of other
// servers is used, be it newer or older; of one of before everything is.
func TestStrangersLeftOut(t *testing.T) {
	r, _ := deposit.New(t, false)
	noon := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	for i, server := range []string{"mariadb-1", "mariadb-2"} {
		at := noon.Add(time.Duration(i) * time.Minute)
		deposit.Backup{Manifest: backup.Manifest{Set: "s", ID: deposit.ID(at, i), Server: server, Started: at, Finished: at}, Data: [][]byte{[]byte("x")}}.Put(t, r)
		deposit.Segment(t, r, "s", archive.Summary{Server: server, File: "bin.000001", ID: "00", Flavor: "mariadb", Start: 4, End: 8})
	}
	for _, known := range []bool{false, true} {
		if known {
			if _, _, err := r.Put(t.Context(), "s/members/mariadb-1", "set-member", map[string]any{"servers": []string{"mariadb-1"}, "how": "first"}, nil); err != nil {
				t.Fatal(err)
			}
		}
		inv, err := restore.Look(t.Context(), r, "s")
		if err != nil {
			t.Fatal(err)
		}
		if len(inv.Logs) != 2 || inv.Logs[0].Stranger || inv.Logs[1].Stranger != known {
			t.Errorf("members known: %v, logs %+v", known, inv.Logs)
		}
		want := []string{"mariadb-1", "mariadb-2"}
		if known {
			want = want[:1]
		}
		var got []string
		for _, m := range inv.Backups {
			got = append(got, m.Server)
		}
		if !slices.Equal(got, want) {
			t.Errorf("members known: %v, backups of %v", known, got)
		}
	}
}
