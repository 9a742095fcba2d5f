package drill

import (
	"os"
	"path/filepath"
	"testing"
)

// TestHistory: lines that were cut off, or that another version has written, are
// left out; the others are read in their order.
func TestHistory(t *testing.T) {
	dir := t.TempDir()
	for _, set := range []string{"a", "b"} {
		if err := appendTo(dir, historyName, &Result{SchemaVersion: schemaVersion, Set: set, Passed: true}); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.OpenFile(filepath.Join(dir, historyName), os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(`{"schema_version":2,"set":"newer","passed":"perhaps"}` + "\n" + `{"schema_version":2,"set":"newer"}` + "\n" + `{"schema_version":1,"se`)
	}
	if err != nil || f.Close() != nil {
		t.Fatal(err)
	}
	list, err := History(dir)
	if err != nil || len(list) != 2 || list[0].Set != "a" || list[1].Set != "b" {
		t.Errorf("%+v %v", list, err)
	}
}
