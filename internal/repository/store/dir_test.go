package store_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository/store"
	"github.com/lifeboat-db/lifeboat/internal/repository/store/storetest"
)

func TestDir(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Open {
		dir := filepath.Join(t.TempDir(), "new", "place")
		return func(t *testing.T) store.Store {
			return storetest.OpenStore(t, store.Options{URL: "file://" + dir, Create: true})
		}
	})
}

// openDir opens a directory that is there.
func openDir(t *testing.T, dir string) store.Store {
	t.Helper()
	return storetest.OpenStore(t, store.Options{URL: dir})
}

func TestURLs(t *testing.T) {
	dir := t.TempDir()
	for _, url := range []string{dir, "file://" + dir, dir + "/"} {
		if s := openDir(t, url); s.String() != "file://"+dir {
			t.Errorf("%s: %s", url, s)
		}
	}
	for _, url := range []string{
		"", "relative", "./x", "file://host" + dir, "file:relative", "ftp://x/y", "s3://", "s3:///x", "s3://key:secret@bucket/x",
		"s3://bucket/x?y", "s3://bucket/../x", "s3://bucket/a b", "s3://[::1/x", "file://" + dir + "?x=1",
	} {
		_, err := store.Open(t.Context(), store.Options{URL: url, AccessKey: "a", SecretKey: "b"})
		storetest.WantClass(t, err, fault.Usage)
		if err != nil && strings.Contains(err.Error(), "secret@") {
			t.Errorf("%v: a secret", err)
		}
	}
}

func TestDirIsMissing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	_, err := store.Open(t.Context(), store.Options{URL: dir})
	storetest.WantClass(t, err, fault.Storage, dir, "mounted")
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v: it was made", err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = store.Open(t.Context(), store.Options{URL: dir, Create: true})
	storetest.WantClass(t, err, fault.Storage, dir)
}

// TestOthersInDir: what is no object is neither listed nor read.
func TestOthersInDir(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	storetest.MustPut(t, s, "a/x", []byte("x"))
	for _, d := range []string{"lost+found", ".snapshots/1", "a b", "empty"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"lost+found/x", ".snapshots/1/x", "a b/x", ".hidden", "a/.tmp-x", "umlaut-ä"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte("other"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("outside"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Symlink(outside, filepath.Join(dir, "link")), os.Symlink(filepath.Dir(outside), filepath.Join(dir, "dir"))); err != nil {
		t.Fatal(err)
	}
	if got := storetest.Names(t, s, ""); !slices.Equal(got, []string{"a/x"}) {
		t.Errorf("%q", got)
	}
	for _, name := range []string{"link", "dir/outside", "empty"} {
		if data, err := s.Get(t.Context(), name); err == nil {
			t.Errorf("%s: %q was read", name, data)
		}
	}
	if err := s.Put(t.Context(), "dir/new", nil); err == nil {
		t.Error("put outside")
	}
}

// TestSweep: temporary files go when they are half a day old, and nothing else
// does.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	storetest.MustPut(t, s, "a/x", []byte("x"))
	old := time.Now().Add(-13 * time.Hour)
	for name, modified := range map[string]time.Time{
		".tmp-old": old, "a/.tmp-old": old, "a/.tmp-new": time.Now().Add(-11 * time.Hour), ".other": old, "a/y": old,
	} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chtimes(path, modified, modified)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(filepath.Join(dir, "a/x"), old, old); err != nil {
		t.Fatal(err)
	}
	if err := s.(store.Sweeper).Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := files(t, dir), []string{".other", "a/.tmp-new", "a/x", "a/y"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// files are all files below a directory.
func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestDirAsOf: a directory of the past is without what came later, and is read
// only.
func TestDirAsOf(t *testing.T) {
	dir := t.TempDir()
	s, now := openDir(t, dir), time.Now().Truncate(time.Second)
	for name, age := range map[string]time.Duration{"a/old": 2 * time.Hour, "a/then": time.Hour, "a/new": time.Minute} {
		storetest.MustPut(t, s, name, []byte(name))
		made := now.Add(-age)
		if err := os.Chtimes(filepath.Join(dir, name), made, made); err != nil {
			t.Fatal(err)
		}
	}
	past := storetest.OpenStore(t, store.Options{URL: dir, AsOf: now.Add(-time.Hour)})
	if got := storetest.Names(t, past, ""); !slices.Equal(got, []string{"a/old", "a/then"}) {
		t.Errorf("%q", got)
	}
	if data, err := past.Get(t.Context(), "a/then"); err != nil || string(data) != "a/then" {
		t.Errorf("%q %v", data, err)
	}
	if _, err := past.Get(t.Context(), "a/new"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	refusesChanges(t, past)
	if err := past.(store.Sweeper).Sweep(t.Context()); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v", err)
	}
}

func refusesChanges(t *testing.T, past store.Store) {
	t.Helper()
	for _, err := range []error{past.Put(t.Context(), "a/more", nil), past.Delete(t.Context(), "a/old")} {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%v, want errors.ErrUnsupported", err)
		}
	}
}

// TestTooLarge: a file that no Put has made is not read, and can be removed.
func TestTooLarge(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x")
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, store.MaxObject+1)); err != nil {
		t.Fatal(err)
	}
	s := openDir(t, dir)
	_, err := s.Get(t.Context(), "x")
	storetest.WantClass(t, err, fault.VerifyFailed, "at most")
	if err := s.Delete(t.Context(), "x"); err != nil || len(files(t, dir)) != 0 {
		t.Errorf("%v %q", err, files(t, dir))
	}
}

// TestModes: objects are for their owner, and not to be written.
func TestModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	s := storetest.OpenStore(t, store.Options{URL: dir, Create: true})
	storetest.MustPut(t, s, "a/x", nil)
	for name, want := range map[string]fs.FileMode{"": fs.ModeDir | 0o700, "a": fs.ModeDir | 0o700, "a/x": 0o400} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode() != want {
			t.Errorf("%s: %v %v, want %v", name, info.Mode(), err, want)
		}
	}
}

// FuzzNames: a name that is allowed stays in the directory and is the one that
// is listed.
func FuzzNames(f *testing.F) {
	for _, name := range []string{"a", "a/b-1", "../a", "a//b", ".a", "a/../b", strings.Repeat("x", 201), "lost+found"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		allowed := store.CheckName(name) == nil
		clean := name != "" && !strings.HasPrefix(name, "/") && filepath.Clean(name) == name && filepath.IsLocal(name)
		if allowed && (!clean || strings.ContainsAny(name, "\\:*?\"<>|% \x00") || !fs.ValidPath(name)) {
			t.Errorf("%q is allowed", name)
		}
		if len(name) > 40 { // the disk is for few
			return
		}
		s := openDir(t, t.TempDir())
		err := s.Put(t.Context(), name, []byte("x"))
		if allowed != (err == nil) || err != nil && !errors.Is(err, store.ErrName) {
			t.Fatalf("put %q: %v; allowed: %v", name, err, allowed)
		}
		if got := storetest.Names(t, s, ""); allowed && !slices.Equal(got, []string{name}) {
			t.Errorf("%q, want %q", got, name)
		}
	})
}
