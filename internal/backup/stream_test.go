package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/repository/store"
	"github.com/lifeboat-db/lifeboat/internal/repository/store/storetest"
)

// random is a source of decisions whose seed is printed.
func random(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func create(t *testing.T, o store.Options, recipients ...string) *repository.Repository {
	t.Helper()
	o.Tries = 1
	r, err := repository.Create(t.Context(), repository.Location{Options: o}, recipients)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// createEncrypted makes one that can be read as well.
func createEncrypted(t *testing.T, dir string) *repository.Repository {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(id.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	create(t, store.Options{URL: dir}, id.Recipient().String())
	r, err := repository.Open(t.Context(), repository.Location{Options: store.Options{URL: dir}, Identities: []string{key}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// begin is a backup with a server and a driver, but no stream yet.
func begin(partBytes, workers int, repos ...*repository.Repository) *taking {
	t := &taking{
		Options: Options{Repositories: repos, Set: "set", PartBytes: partBytes, Workers: workers, Patience: time.Minute},
		started: time.Now().UTC().Truncate(time.Second),
		origin:  origin{dbconn.Server{Flavor: gtid.MariaDB, Version: "11.8.9-MariaDB"}, "mariadb-7"},
		driver:  mariaBackup{},
	}
	t.setDefaults()
	t.id = newID(t.started)
	return t
}

// send writes data in pieces of any size, as a driver does, and seals.
func (t *taking) send(ctx context.Context, r *rand.Rand, data []byte) (Manifest, error) {
	u := newUpload(ctx, t)
	defer u.stop()
	for _, l := range u.lanes {
		l.inline = 3
	}
	var err error
	for len(data) > 0 && err == nil {
		n := min(len(data), 1+r.IntN(3*t.PartBytes))
		_, err = u.Write(data[:n])
		data = data[n:]
	}
	if err := u.finish(err); err != nil {
		return Manifest{}, err
	}
	return t.seal(ctx, u, t.manifest(Taken{File: "bin.000001", Offset: 4, GTIDs: "0-7-6", ToLSN: 44878, Tool: "tool"}))
}

func mustSend(t *testing.T, r *rand.Rand, b *taking, data []byte) Manifest {
	t.Helper()
	m, err := b.send(t.Context(), r, data)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func mustList(t *testing.T, r *repository.Repository) []Manifest {
	t.Helper()
	all, bad, err := List(t.Context(), r, "set")
	if err != nil || len(bad) != 0 {
		t.Fatalf("%v %v", bad, err)
	}
	return all
}

// readAll reads a backup's stream.
func readAll(t *testing.T, r *repository.Repository, m Manifest, workers int) ([]byte, error) {
	t.Helper()
	s := Open(t.Context(), r, m, workers)
	defer s.Close()
	return io.ReadAll(s)
}

// TestStreams: whatever the sizes, all repositories give back the bytes that
// were written, by a manifest that is listed as it was made.
func TestStreams(t *testing.T) {
	r := random(t)
	repos := []*repository.Repository{create(t, store.Options{URL: t.TempDir()}), createEncrypted(t, t.TempDir())}
	var made []Manifest
	for range 25 {
		size := 1 + r.IntN(2000)
		data := storetest.Bytes(r.Uint64(), r.IntN(12*size))
		b := begin(size, 1+r.IntN(4), repos...)
		m := mustSend(t, r, b, data)
		made = append(made, m)
		for i, repo := range repos {
			all := mustList(t, repo)
			at := indexOf(all, m.ID)
			if at < 0 || i == 0 && !reflect.DeepEqual(all[at], m) {
				t.Fatalf("listed as %+v\nwant %+v", all, m)
			}
			if got, err := readAll(t, repo, all[at], 1+r.IntN(5)); err != nil || !bytes.Equal(got, data) {
				t.Fatalf("%d bytes in parts of %d: %d came back, %v", len(data), size, len(got), err)
			}
			if want := (len(data) + size - 1) / size; len(all[at].Parts) != want || all[at].PlainBytes != int64(len(data)) {
				t.Errorf("%d parts with %d bytes, want %d with %d", len(all[at].Parts), all[at].PlainBytes, want, len(data))
			}
		}
	}
	for _, repo := range repos {
		if left, err := Leftovers(t.Context(), repo, "set", 0); err != nil || len(left) != 0 {
			t.Errorf("leftovers %v, %v", left, err)
		}
		if len(mustList(t, repo)) != len(made) {
			t.Errorf("%d backups, want %d", len(mustList(t, repo)), len(made))
		}
	}
}

func indexOf(all []Manifest, id string) int {
	for i, m := range all {
		if m.ID == id {
			return i
		}
	}
	return -1
}

// TestDamage: of a backup whose objects are damaged, missing, cut short or
// swapped nothing wrong is read, and never the end; and it is named.
func TestDamage(t *testing.T) {
	r := random(t)
	for what, c := range map[string]struct {
		damage func(t *testing.T, part, other string)
		want   error
	}{
		"bit":     {func(t *testing.T, part, _ string) { flip(t, r, part) }, repository.ErrDamaged},
		"missing": {func(t *testing.T, part, _ string) { must(t, os.Remove(part)) }, fs.ErrNotExist},
		"short":   {func(t *testing.T, part, _ string) { rewrite(t, part, func(b []byte) []byte { return b[:len(b)-1] }) }, repository.ErrDamaged},
		"empty":   {func(t *testing.T, part, _ string) { rewrite(t, part, func([]byte) []byte { return nil }) }, repository.ErrDamaged},
		"another": {func(t *testing.T, part, other string) {
			rewrite(t, part, func([]byte) []byte { return content(t, other) })
		}, repository.ErrDamaged},
	} {
		for _, encrypted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, encrypted: %v", what, encrypted), func(t *testing.T) {
				dir := t.TempDir()
				repo := create(t, store.Options{URL: dir + "/r", Create: true})
				if encrypted {
					dir = t.TempDir()
					repo = createEncrypted(t, dir+"/r")
				}
				data := storetest.Bytes(r.Uint64(), 10*1000)
				m := mustSend(t, r, begin(1000, 2, repo), data)
				n := 2 + r.IntN(8)
				part := filepath.Join(dir, "r", m.PartObject(n))
				c.damage(t, part, filepath.Join(dir, "r", m.PartObject(n-1)))
				got, err := readAll(t, repo, m, 3)
				if !errors.Is(err, c.want) || !strings.Contains(err.Error(), m.PartObject(n)) {
					t.Errorf("part %d: %v, want %v", n, err, c.want)
				}
				if !bytes.HasPrefix(data, got) || len(got) > (n-1)*1000 {
					t.Errorf("%d bytes came, those before part %d are %d", len(got), n, (n-1)*1000)
				}
			})
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	return data
}

func rewrite(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	data := content(t, path)
	must(t, os.Remove(path)) // it is read-only
	must(t, os.WriteFile(path, change(data), 0o600))
}

func flip(t *testing.T, r *rand.Rand, path string) {
	t.Helper()
	rewrite(t, path, func(b []byte) []byte {
		b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		return b
	})
}

// TestPartOfAnother: a part that is whole, and named in a manifest, but was
// made for another place.
func TestPartOfAnother(t *testing.T) {
	r := random(t)
	repo := create(t, store.Options{URL: t.TempDir()})
	data := storetest.Bytes(r.Uint64(), 3000)
	m, other := mustSend(t, r, begin(1000, 1, repo), data), mustSend(t, r, begin(1000, 1, repo), data)
	_ = other
	swapped := m
	swapped.Parts = []Part{m.Parts[1], m.Parts[0], m.Parts[2]}
	got, err := readAll(t, repo, swapped, 2)
	if !errors.Is(err, repository.ErrDamaged) || len(got) != 0 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestListNamesDamage: a manifest that is damaged is named, and its backup is
// not listed; nor is anything of it a leftover.
func TestListNamesDamage(t *testing.T) {
	r := random(t)
	dir := t.TempDir()
	repo := create(t, store.Options{URL: dir})
	var all []Manifest
	for range 3 {
		all = append(all, mustSend(t, r, begin(100, 2, repo), storetest.Bytes(r.Uint64(), 1000)))
	}
	flip(t, r, filepath.Join(dir, all[1].Object))
	must(t, os.Remove(filepath.Join(dir, folder("set", all[2].ID), all[2].PartLists[0])))
	found, bad, err := List(t.Context(), repo, "set")
	if err != nil || len(found) != 1 || len(bad) != 2 || indexOf(found, all[0].ID) != 0 {
		t.Fatalf("found %v, bad %v, %v", found, bad, err)
	}
	for _, m := range all[1:] {
		if !strings.Contains(errors.Join(bad...).Error(), m.ID) {
			t.Errorf("%s is not named in %v", m.ID, bad)
		}
		if _, err := Chain(found, m.ID); !errors.Is(err, errMissing) {
			t.Errorf("%v", err)
		}
	}
	if left, err := Leftovers(t.Context(), repo, "set", 0); err != nil || len(left) != 0 {
		t.Errorf("leftovers %v, %v", left, err)
	}
	if other, bad, err := List(t.Context(), repo, "other"); len(other)+len(bad) != 0 || err != nil {
		t.Errorf("%v %v %v", other, bad, err)
	}
}

// TestLeftovers: what a backup has put that came to nothing is found once it is
// old enough, and nothing else; what is removed is not.
func TestLeftovers(t *testing.T) {
	r := random(t)
	repo := create(t, store.Options{URL: t.TempDir()})
	whole := mustSend(t, r, begin(100, 2, repo), storetest.Bytes(1, 1000))
	b := begin(100, 2, repo)
	u := newUpload(t.Context(), b)
	if _, err := u.Write(storetest.Bytes(2, 550)); err != nil {
		t.Fatal(err)
	}
	u.puts.Wait()
	if left, err := Leftovers(t.Context(), repo, "set", time.Hour); err != nil || len(left) != 0 {
		t.Errorf("an hour old: %v, %v", left, err)
	}
	cause := errors.New("the tool has ended")
	if err := u.finish(cause); !errors.Is(err, cause) {
		t.Errorf("%v", err)
	}
	left, err := Leftovers(t.Context(), repo, "set", 0)
	if err != nil || len(left) != 5 || !strings.HasPrefix(left[0].Name, folder("set", b.id)) {
		t.Errorf("leftovers %v, %v", left, err)
	}
	if len(mustList(t, repo)) != 1 {
		t.Error("what has no manifest is listed")
	}
	for _, e := range left {
		must(t, repo.Delete(t.Context(), e.Name))
	}
	must(t, Remove(t.Context(), repo, "set", whole.ID))
	for e, err := range repo.List(t.Context(), "set/") {
		t.Errorf("%s is left, %v", e.Name, err)
	}
}

// TestStorageDown: as long as storage is down, the writer waits; then it goes
// on, and nothing is lost.
func TestStorageDown(t *testing.T) {
	r := random(t)
	s := storetest.Fake(t)
	repo := create(t, s.Options(t))
	data := storetest.Bytes(r.Uint64(), 2000)
	var puts atomic.Int64
	s.Break(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		switch n := puts.Add(1); {
		case storetest.IsPut(q) && n%3 == 1:
			storetest.Refuse(w, http.StatusServiceUnavailable, "SlowDown")
		case storetest.IsPut(q) && n%7 == 2:
			storetest.Reset(w)
		default:
			next.ServeHTTP(w, q)
		}
	})
	b := begin(500, 2, repo)
	m := mustSend(t, r, b, data)
	s.Break(nil)
	if got, err := readAll(t, repo, m, 2); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestStorageRefuses: of several repositories one that refuses ends the whole
// backup at once, and no manifest is written anywhere.
func TestStorageRefuses(t *testing.T) {
	r := random(t)
	s := storetest.Fake(t)
	good, bad := create(t, store.Options{URL: t.TempDir()}), create(t, s.Options(t))
	var puts atomic.Int64
	s.Break(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		if storetest.IsPut(q) && puts.Add(1) > 3 {
			storetest.Refuse(w, http.StatusForbidden, "AccessDenied")
			return
		}
		next.ServeHTTP(w, q)
	})
	b := begin(100, 2, good, bad)
	b.Patience = time.Hour
	_, err := b.send(t.Context(), r, storetest.Bytes(1, 100_000))
	if fault.ClassOf(err) != fault.Storage || !strings.Contains(err.Error(), "AccessDenied") {
		t.Errorf("%v", err)
	}
	s.Break(nil)
	for _, repo := range []*repository.Repository{good, bad} {
		if all := mustList(t, repo); len(all) != 0 {
			t.Errorf("%s lists %v", repo, all)
		}
	}
}

// TestEndOfContext: a backup ends when its context does, also while it waits
// for storage.
func TestEndOfContext(t *testing.T) {
	r := random(t)
	s := storetest.Fake(t)
	repo := create(t, s.Options(t))
	ctx, cancel := context.WithCancel(t.Context())
	s.Break(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		cancel()
		storetest.Refuse(w, http.StatusServiceUnavailable, "SlowDown")
	})
	b := begin(100, 1, repo)
	b.Patience = time.Hour
	if _, err := b.send(ctx, r, storetest.Bytes(1, 100_000)); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	rd := Open(ctx, repo, Manifest{Parts: []Part{{Name: "000001-x", Plain: 1}}}, 1)
	if _, err := rd.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("%v", err)
	}
	rd.Close()
}
