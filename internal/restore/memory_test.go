package restore

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMemory(t *testing.T) {
	if n := available(); n < 64<<20 || n > 1<<50 {
		t.Errorf("%d bytes are free", n)
	}
	dir := t.TempDir()
	for _, name := range []string{"a", "d/b"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, make([]byte, 1000), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if n := sizeOf(dir); n != 2000 {
		t.Errorf("%d bytes", n)
	}
	if n := sizeOf(filepath.Join(dir, "none")); n != 0 {
		t.Errorf("%d bytes of nothing", n)
	}
}
