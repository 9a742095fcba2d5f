package repository

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository/store"
	"github.com/lifeboat-db/lifeboat/internal/repository/store/storetest"
)

// TestBucket: a repository in a bucket is one in a directory.
func TestBucket(t *testing.T) {
	server, k := storetest.Fake(t), newKey(t)
	l := Location{Options: server.Options(t), Name: "far", Identities: []string{k.file}}
	r := create(t, l, k.public)
	name := mustPut(t, r, "a/x", testMeta{From: "bin.000001:4"}, []byte("rows"))
	opened, err := Open(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	if h, plain, err := opened.Read(t.Context(), name); err != nil || string(plain) != "rows" || h.Kind != "test" {
		t.Errorf("%v %q %v", h, plain, err)
	}
	if h, err := opened.Header(t.Context(), name); err != nil || h.Size != 4 {
		t.Errorf("%v %v", h, err)
	}
	_, err = Create(t.Context(), l, nil)
	storetest.WantClass(t, err, fault.Storage, "repository far (s3://bucket/a/place-1)", "already")
	if err := opened.Sweep(t.Context()); err != nil {
		t.Error(err)
	}
	server.Break(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { storetest.Refuse(w, 403, "AccessDenied") })
	_, _, err = opened.Read(t.Context(), name)
	storetest.WantClass(t, err, fault.Storage, "repository far (s3://bucket/a/place-1): object "+name+": get: AccessDenied")
}

// TestPlaceOverwrites: a server that ignores the condition of a put is found
// before anything depends on it.
func TestPlaceOverwrites(t *testing.T) {
	server := storetest.Fake(t)
	server.Break(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		q.Header.Del("If-None-Match")
		next.ServeHTTP(w, q)
	})
	_, err := Create(t.Context(), Location{Options: server.Options(t)}, nil)
	storetest.WantClass(t, err, fault.Storage, "overwrites objects", "If-None-Match")
}

// TestAsOf: a repository as it was at a time.
func TestAsOf(t *testing.T) {
	dir := t.TempDir()
	r := create(t, at(dir))
	old, later := mustPut(t, r, "a/x", nil, []byte("old")), mustPut(t, r, "a/x", nil, []byte("later"))
	hour := func(name string, ago int) time.Time {
		made := time.Now().Add(-time.Duration(ago) * time.Hour)
		if err := os.Chtimes(filepath.Join(dir, name), made, made); err != nil {
			t.Fatal(err)
		}
		return made
	}
	made := hour(markerName, 3)
	then := hour(old, 2)
	hour(later, 1)
	l := at(dir)
	l.AsOf = then.Add(time.Minute)
	past, err := Open(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for e, err := range past.List(t.Context(), "") {
		names = append(names, e.Name)
		if err != nil {
			t.Error(err)
		}
	}
	if len(names) != 1 || names[0] != old {
		t.Errorf("%q", names)
	}
	if _, _, err := past.Read(t.Context(), later); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, _, err := past.Put(t.Context(), "a/x", "test", nil, nil); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
	l.AsOf = made.Add(-time.Minute)
	_, err = Open(t.Context(), l)
	storetest.WantClass(t, err, fault.Storage, "not a repository")
}

// TestManyAtOnce: a repository is used from many goroutines at once.
func TestManyAtOnce(t *testing.T) {
	kinds(t, func(t *testing.T, r *Repository) {
		var wg sync.WaitGroup
		for n := range 16 {
			wg.Go(func() {
				plain := bytes.Repeat([]byte{byte(n)}, 10_000+n)
				name, _, err := r.Put(t.Context(), fmt.Sprintf("x/%d", n%3), "test", nil, plain)
				if err != nil {
					t.Error(err)
					return
				}
				if _, got, err := r.Read(t.Context(), name); err != nil || !bytes.Equal(got, plain) {
					t.Errorf("%s: %d bytes, %v", name, len(got), err)
				}
			})
		}
		wg.Wait()
	})
}

// TestFullPlace: a place that is full says so, with the object's name.
func TestFullPlace(t *testing.T) {
	server := storetest.Fake(t)
	r := create(t, Location{Options: server.Options(t), Name: "far"})
	server.Break(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		storetest.Refuse(w, 507, "XMinioStorageFull")
	})
	_, _, err := r.Put(t.Context(), "a/x", "test", nil, []byte("rows"))
	storetest.WantClass(t, err, fault.NoSpace, "object a/x-", "free some space")
	if _, err := Open(t.Context(), Location{Options: store.Options{URL: "relative"}}); fault.ClassOf(err) != fault.Usage {
		t.Error(err)
	}
}
