package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// What a writer that died has left is removed by expire, too.
func TestExpireSweeps(t *testing.T) {
	dir := t.TempDir()
	place := []string{"--set", "orders", "--repo1-name", "near", "--repo1-url", dir}
	lifeboat(t, 0, append([]string{"repository", "create"}, place[2:]...))
	left, then := filepath.Join(dir, ".tmp-left"), time.Now().Add(-13*time.Hour)
	if err := errors.Join(os.WriteFile(left, nil, 0o400), os.Chtimes(left, then, then)); err != nil {
		t.Fatal(err)
	}
	lifeboat(t, 0, append([]string{"expire", "--dry-run"}, place...))
	if _, err := os.Stat(left); err != nil {
		t.Errorf("a dry run has removed something: %v", err)
	}
	lifeboat(t, 0, append([]string{"expire"}, place...))
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}
