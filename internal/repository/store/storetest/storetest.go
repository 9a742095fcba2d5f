// Package storetest is the contract of store.Store as tests, run for each
// implementation.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository/store"
)

// Open opens the same empty place each time it is called in one test.
type Open func(t *testing.T) store.Store

// Run runs the contract; place makes a new empty place for a test.
func Run(t *testing.T, place func(t *testing.T) Open) {
	for _, c := range []struct {
		name string
		test func(*testing.T, Open)
	}{
		{"what was put is read", put},
		{"nothing is overwritten", exists},
		{"nothing there", missing},
		{"ranges", ranges},
		{"lists", lists},
		{"a list may be left", stop},
		{"names", names},
		{"sizes", sizes},
		{"deleted twice", deletes},
		{"two write one name", race},
		{"after the end of the context", canceled},
		{"random operations", random},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, place(t)) })
	}
}

// MustPut puts an object.
func MustPut(t *testing.T, s store.Store, name string, data []byte) {
	t.Helper()
	if err := s.Put(t.Context(), name, data); err != nil {
		t.Fatalf("put %s: %v", name, err)
	}
}

// Names lists the names that begin with prefix.
func Names(t *testing.T, s store.Store, prefix string) (names []string) {
	t.Helper()
	for e, err := range s.List(t.Context(), prefix) {
		if err != nil {
			t.Fatalf("list %q: %v", prefix, err)
		}
		names = append(names, e.Name)
	}
	return names
}

// Bytes are n bytes that differ by seed.
func Bytes(seed uint64, n int) []byte {
	data := make([]byte, n)
	c := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	_, _ = c.Read(data) // never fails
	return data
}

func put(t *testing.T, open Open) {
	want := Bytes(1, 100_000)
	MustPut(t, open(t), "a/b/c-1", want)
	s := open(t) // another process
	if got, err := s.Get(t.Context(), "a/b/c-1"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	for e, err := range s.List(t.Context(), "") {
		if err != nil || e.Name != "a/b/c-1" || e.Size != int64(len(want)) || e.Modified.IsZero() {
			t.Errorf("%+v %v", e, err)
		}
	}
	if strings.Contains(s.String(), "secret") {
		t.Errorf("%s has a secret in it", s)
	}
}

func exists(t *testing.T, open Open) {
	s := open(t)
	MustPut(t, s, "x", []byte("first"))
	for _, again := range []string{"second", "a longer second", "firsT", ""} {
		if err := s.Put(t.Context(), "x", []byte(again)); !errors.Is(err, fs.ErrExist) {
			t.Errorf("put %q: %v, want fs.ErrExist", again, err)
		}
	}
	if got, err := s.Get(t.Context(), "x"); err != nil || string(got) != "first" {
		t.Errorf("%q %v", got, err)
	}
}

func missing(t *testing.T, open Open) {
	s := open(t)
	MustPut(t, s, "dir/x", []byte("x"))
	for _, name := range []string{"y", "dir", "dir/y", "dir/x/y", "no/dir"} {
		if _, err := s.Get(t.Context(), name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("get %s: %v, want fs.ErrNotExist", name, err)
		}
		if _, err := s.GetRange(t.Context(), name, 0, 1); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("range of %s: %v, want fs.ErrNotExist", name, err)
		}
		if err := s.Delete(t.Context(), name); err != nil {
			t.Errorf("delete %s: %v", name, err)
		}
		if got := Names(t, s, name+"/"); name != "dir" && len(got) != 0 {
			t.Errorf("list %s/: %q", name, got)
		}
	}
	if got := Names(t, s, ""); !slices.Equal(got, []string{"dir/x"}) {
		t.Errorf("%q", got)
	}
}

func ranges(t *testing.T, open Open) {
	s, data := open(t), Bytes(2, 1000)
	MustPut(t, s, "x", data)
	MustPut(t, s, "empty", nil)
	for _, c := range [][2]int64{{0, 1}, {0, 1000}, {0, 1001}, {0, store.MaxObject}, {999, 1}, {999, 5}, {1000, 1}, {5000, 10}, {10, 20}} {
		want := data[min(c[0], 1000):min(c[0]+c[1], 1000)]
		if got, err := s.GetRange(t.Context(), "x", c[0], c[1]); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d+%d: %d bytes, want %d; %v", c[0], c[1], len(got), len(want), err)
		}
	}
	if got, err := s.GetRange(t.Context(), "empty", 0, 10); err != nil || len(got) != 0 {
		t.Errorf("of an empty object: %q %v", got, err)
	}
	for _, c := range [][2]int64{{-1, 5}, {0, 0}, {0, -1}, {0, store.MaxObject + 1}} {
		if _, err := s.GetRange(t.Context(), "x", c[0], c[1]); err == nil {
			t.Errorf("%d+%d is a range", c[0], c[1])
		}
	}
}

func lists(t *testing.T, open Open) {
	s := open(t)
	// In the order of bytes: + - . / 0 = A _ a
	all := []string{
		"a+b", "a-b", "a.b", "a/+", "a/b/c", "a/b0", "a0b", "a=b", "aAb", "a_b",
		"b/x-1", "b/x-10", "b/x-2", "b/x/1", "b/xy/1", "b2/x", "c",
	}
	for _, i := range rand.Perm(len(all)) {
		MustPut(t, s, all[i], []byte(all[i]))
	}
	for _, prefix := range []string{"", "a", "a/", "a/b", "a/b/", "b", "b/", "b/x", "b/x-", "b/x-1", "b/x/", "c", "d", "z/z/z", "c/"} {
		var want []string
		for _, name := range all {
			if strings.HasPrefix(name, prefix) {
				want = append(want, name)
			}
		}
		if got := Names(t, s, prefix); !slices.Equal(got, want) {
			t.Errorf("prefix %q: %q, want %q", prefix, got, want)
		}
	}
}

func stop(t *testing.T, open Open) {
	s := open(t)
	for i := range 5 {
		MustPut(t, s, fmt.Sprintf("d%d/x", i), nil)
	}
	n := 0
	for _, err := range s.List(t.Context(), "") {
		if n++; err != nil || n == 2 {
			break
		}
	}
	if n != 2 {
		t.Errorf("%d entries", n)
	}
}

func names(t *testing.T, open Open) {
	s := open(t)
	bad := []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", ".a", "a/.b", "a b", "a\x00b", "ä", "a\\b",
		"a%2fb", "a?b", "a*", "a:b", "lost+found", "lost+found/x", strings.Repeat("a", 201), strings.Repeat("a/", 400) + "a",
	}
	for _, name := range bad {
		_, get := s.Get(t.Context(), name)
		_, part := s.GetRange(t.Context(), name, 0, 1)
		for _, err := range []error{s.Put(t.Context(), name, nil), get, part, s.Delete(t.Context(), name)} {
			if !errors.Is(err, store.ErrName) {
				t.Errorf("%q: %v, want store.ErrName", name, err)
			}
		}
	}
	for _, prefix := range []string{"/", "../", "a/../", "a b", "*", "a//"} {
		for _, err := range s.List(t.Context(), prefix) {
			if !errors.Is(err, store.ErrName) {
				t.Errorf("list %q: %v, want store.ErrName", prefix, err)
			}
		}
	}
	good := []string{"A-Za-z0-9._=+-/x", "a..b", "-", "+", "=", "_", "a.", strings.Repeat("a", 200)}
	for _, name := range good {
		MustPut(t, s, name, []byte(name))
	}
	for _, name := range good {
		if got, err := s.Get(t.Context(), name); err != nil || string(got) != name {
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
}

func sizes(t *testing.T, open Open) {
	s := open(t)
	for _, n := range []int{0, 1, 4096, 5 << 20} {
		name := fmt.Sprintf("size-%d", n)
		want := Bytes(uint64(n), n)
		MustPut(t, s, name, want)
		if got, err := s.Get(t.Context(), name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	if err := s.Put(t.Context(), "large", make([]byte, store.MaxObject+1)); err == nil {
		t.Error("an object of more than MaxObject")
	}
}

func deletes(t *testing.T, open Open) {
	s := open(t)
	MustPut(t, s, "a/x", []byte("old"))
	for range 2 {
		if err := s.Delete(t.Context(), "a/x"); err != nil {
			t.Error(err)
		}
		if got := Names(t, s, ""); len(got) != 0 {
			t.Errorf("%q", got)
		}
	}
	MustPut(t, s, "a/x", []byte("new"))
	if got, err := s.Get(t.Context(), "a/x"); err != nil || string(got) != "new" {
		t.Errorf("%q %v", got, err)
	}
}

// race: of two that write a name at once exactly one wins, and what is read is
// the winner's.
func race(t *testing.T, open Open) {
	stores := []store.Store{open(t), open(t)}
	for round := range 200 {
		name := fmt.Sprintf("r%d/x", round)
		data := [][]byte{Bytes(uint64(round), 2000), Bytes(uint64(round)+1000, 3000)}
		errs := make([]error, 2)
		var wg sync.WaitGroup
		for i, s := range stores {
			wg.Go(func() { errs[i] = s.Put(t.Context(), name, data[i]) })
		}
		wg.Wait()
		winner := slices.Index(errs, nil)
		if winner < 0 || !errors.Is(errs[1-winner], fs.ErrExist) {
			t.Fatalf("%s: %v, want one nil and one fs.ErrExist", name, errs)
		}
		if got, err := stores[round%2].Get(t.Context(), name); err != nil || !bytes.Equal(got, data[winner]) {
			t.Fatalf("%s: not the bytes of the one that has won, %v", name, err)
		}
	}
}

func canceled(t *testing.T, open Open) {
	s := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, get := s.Get(ctx, "x")
	for _, err := range []error{s.Put(ctx, "x", nil), get, s.Delete(ctx, "x")} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want context.Canceled", err)
		}
	}
	if got := Names(t, s, ""); len(got) != 0 {
		t.Errorf("%q", got)
	}
}

// random compares a store with a map.
func random(t *testing.T, open Open) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	s, twin := open(t), map[string][]byte{}
	for range 200 {
		name := fmt.Sprintf("%c/%c-%d", 'a'+r.IntN(2), 'a'+r.IntN(2), r.IntN(5))
		want, there := twin[name]
		switch r.IntN(4) {
		case 0, 1:
			data := Bytes(r.Uint64(), r.IntN(3000))
			if err := s.Put(t.Context(), name, data); there != errors.Is(err, fs.ErrExist) || !there && err != nil {
				t.Fatalf("put %s: %v; there: %v", name, err, there)
			}
			if !there {
				twin[name] = data
			}
		case 2:
			got, err := s.Get(t.Context(), name)
			if there == errors.Is(err, fs.ErrNotExist) || there && !bytes.Equal(got, want) {
				t.Fatalf("get %s: %v; there: %v", name, err, there)
			}
		case 3:
			if err := s.Delete(t.Context(), name); err != nil {
				t.Fatal(err)
			}
			delete(twin, name)
		}
	}
	if got, want := Names(t, s, ""), slices.Sorted(maps.Keys(twin)); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// WantClass says that err has a class and a text.
func WantClass(t *testing.T, err error, class fault.Class, texts ...string) {
	t.Helper()
	if err == nil || fault.ClassOf(err) != class {
		t.Errorf("%v is of class %d, want %d", err, fault.ClassOf(err), class)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%v\nhas no %q", err, text)
		}
	}
}
