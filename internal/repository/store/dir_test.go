package store_test

import (
	"path/filepath"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/repository/store"
	"github.com/lifeboat-db/lifeboat/internal/repository/store/storetest"
)

func TestDir(t *testing.T) {
	for name, url := range map[string]string{"a path": "", "a URL": "file://"} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) storetest.Open {
				dir := filepath.Join(t.TempDir(), "new", "place")
				return func(t *testing.T) store.Store { return open(t, store.Options{URL: url + dir, Create: true}) }
			})
		})
	}
}

func open(t *testing.T, o store.Options) store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
