package archive_test

import (
	"errors"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/repository/store"
)

// TestInAnothersPlace: a segment that is whole, and fits its hash, but is of
// another file than the one where it lies, is not taken for a part of that one.
func TestInAnothersPlace(t *testing.T) {
	r, err := repository.Create(t.Context(), repository.Location{Options: store.Options{URL: t.TempDir()}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	const folder = "s/logs/mariadb-7/bin.000002.00000000000000aa/"
	put := func(name, kind string, s archive.Summary, data []byte) {
		t.Helper()
		if _, _, err := r.Put(t.Context(), folder+name, kind, s, data); err != nil {
			t.Fatal(err)
		}
	}
	s := archive.Summary{Server: "mariadb-7", File: "bin.000001", ID: "00000000000000aa", Flavor: "MariaDB", Start: 4, End: 104}
	put("000000000004-000000000104", "log-segment", s, make([]byte, 100))
	if _, err := archive.Load(t.Context(), r, "s"); !errors.Is(err, repository.ErrDamaged) {
		t.Errorf("its header is read, and says %v", err)
	}
	s.File = "bin.000002"
	put("closed", "log-file", s, nil)
	logs, err := archive.Load(t.Context(), r, "s")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := archive.Fetch(t.Context(), r, logs[0].Files[0], t.TempDir()); !errors.Is(err, repository.ErrDamaged) {
		t.Errorf("it is read as a part of the file: %v", err)
	}
}
