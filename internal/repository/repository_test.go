package repository

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository/store"
	"github.com/lifeboat-db/lifeboat/internal/repository/store/storetest"
)

// key is an age identity: the file and the public key.
type key struct{ file, public string }

func newKey(t testing.TB) key {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	k := key{filepath.Join(t.TempDir(), "key"), id.Recipient().String()}
	if err := os.WriteFile(k.file, []byte("# made by a test\n"+id.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return k
}

func at(dir string, identities ...string) Location {
	return Location{Options: store.Options{URL: dir}, Name: "main", Identities: identities}
}

func create(t testing.TB, l Location, recipients ...string) *Repository {
	t.Helper()
	r, err := Create(context.Background(), l, recipients)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// kinds of repositories: plain, and encrypted for two.
func kinds(t *testing.T, test func(t *testing.T, r *Repository)) {
	t.Run("plain", func(t *testing.T) { test(t, create(t, at(t.TempDir()))) })
	t.Run("encrypted", func(t *testing.T) {
		one, two := newKey(t), newKey(t)
		test(t, create(t, at(t.TempDir(), one.file), two.public, one.public))
	})
}

func mustPut(t *testing.T, r *Repository, prefix string, meta any, plain []byte) string {
	t.Helper()
	name, size, err := r.Put(t.Context(), prefix, "test", meta, plain)
	if err != nil {
		t.Fatal(err)
	}
	if stored, err := r.store.Get(t.Context(), name); err != nil || int64(len(stored)) != size {
		t.Fatalf("%d bytes, put said %d: %v", len(stored), size, err)
	}
	return name
}

type testMeta struct {
	From string `json:"from"`
	Note string `json:"note"`
}

func TestPutRead(t *testing.T) {
	kinds(t, func(t *testing.T, r *Repository) {
		for _, plain := range [][]byte{
			nil, []byte("x"), bytes.Repeat([]byte("log "), 1000), storetest.Bytes(1, maxFrame),
			storetest.Bytes(2, maxFrame+1), bytes.Repeat([]byte{0}, 3*maxFrame),
		} {
			meta := testMeta{From: "bin.000001:4", Note: strings.Repeat("<&>", len(plain)%5000)}
			name := mustPut(t, r, fmt.Sprintf("logs/%d", len(plain)), meta, plain)
			h, got, err := r.Read(t.Context(), name)
			if err != nil || !bytes.Equal(got, plain) || h.Kind != "test" || h.Size != int64(len(plain)) {
				t.Errorf("%s: %d bytes, %s %d, %v", name, len(got), h.Kind, h.Size, err)
			}
			for what, read := range map[string]func(context.Context, string) (Header, error){"header": r.Header, "check": r.Check} {
				if other, err := read(t.Context(), name); err != nil || !reflect.DeepEqual(other, h) {
					t.Errorf("%s of %s: another header, %v", what, name, err)
				}
			}
		}
	})
}

func TestCreateOpen(t *testing.T) {
	dir, k := t.TempDir(), newKey(t)
	made := create(t, at(dir), k.public)
	opened, err := Open(t.Context(), at(dir))
	if err != nil || opened.ID() != made.ID() || fmt.Sprint(opened.Recipients()) != fmt.Sprint([]string{k.public}) {
		t.Fatalf("%v %v", opened, err)
	}
	if want := "repository main (file://" + dir + ")"; opened.String() != want {
		t.Errorf("%s, want %s", opened, want)
	}
	_, err = Create(t.Context(), at(dir), nil)
	storetest.WantClass(t, err, fault.Storage, opened.String(), "already")
	_, err = Open(t.Context(), at(t.TempDir()))
	storetest.WantClass(t, err, fault.Storage, "not a repository")
	if errors.Is(err, ErrDamaged) {
		t.Errorf("%v: not one at all", err)
	}
}
