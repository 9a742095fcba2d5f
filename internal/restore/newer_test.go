package restore_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/restore"
	"github.com/lifeboat-db/lifeboat/test/deposit"
)

// TestNewerFormats: what a newer version has written is refused, with what to do,
// and nothing is changed.
func TestNewerFormats(t *testing.T) {
	wants := func(t *testing.T, err error) {
		t.Helper()
		if fault.ClassOf(err) != fault.Storage || !strings.Contains(err.Error(), "newer version") || !strings.Contains(err.Error(), "that version") {
			t.Errorf("class %d: %v", fault.ClassOf(err), err)
		}
	}
	t.Run("journal", func(t *testing.T) {
		r, _ := deposit.New(t, false)
		dir := filepath.Join(t.TempDir(), "data")
		journal := filepath.Join(dir+".restore", "journal.json")
		if err := os.MkdirAll(filepath.Dir(journal), 0o700); err != nil {
			t.Fatal(err)
		}
		text := `{"version":99,"shape":{"round":true},"until":7}`
		if err := os.WriteFile(journal, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, planOnly := range []bool{false, true} {
			_, err := restore.Run(t.Context(), restore.Options{Repository: r, Set: "s", Dir: dir, PlanOnly: planOnly})
			wants(t, err)
		}
		if got, err := os.ReadFile(journal); err != nil || string(got) != text {
			t.Errorf("%s %v", got, err)
		}
	})
	t.Run("manifest", func(t *testing.T) {
		r, _ := deposit.New(t, false)
		id := "20261125T221500Z-0a1b2c"
		if _, _, err := r.Put(t.Context(), "s/backups/"+id+"/manifest", "backup-manifest", map[string]any{"schema_version": backup.SchemaVersion + 1, "shape": "round"}, nil); err != nil {
			t.Fatal(err)
		}
		_, err := restore.Look(t.Context(), r, "s")
		wants(t, err)
	})
}
