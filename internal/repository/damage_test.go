package repository

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository/store/storetest"
)

// random is a source of a test, whose seed is printed.
func random(t *testing.T) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// text is n bytes as logs have them: some repeat.
func text(r *rand.Rand, n int) []byte {
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, "row %d of %x;", r.IntN(100), r.Uint64())
	}
	return b.Bytes()[:n]
}

// place puts bytes under a name, as a disk or a thief would.
func place(t *testing.T, r *Repository, name string, stored []byte) {
	t.Helper()
	path := filepath.Join(strings.TrimPrefix(r.store.String(), "file://"), filepath.FromSlash(name))
	if err := os.WriteFile(path+".new", stored, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// wantDamaged says that an object is found to be damaged, by Read and by Check.
func wantDamaged(t *testing.T, r *Repository, name, what string) {
	t.Helper()
	_, plain, err := r.Read(t.Context(), name)
	if plain != nil || !errors.Is(err, ErrDamaged) || fault.ClassOf(err) != fault.VerifyFailed {
		t.Fatalf("%s: read: %d bytes, %v", what, len(plain), err)
	}
	if !strings.HasPrefix(err.Error(), fmt.Sprintf("%s: object %s: ", r, name)) {
		t.Fatalf("%s: %v: names no object", what, err)
	}
	if _, err := r.Check(t.Context(), name); !errors.Is(err, ErrDamaged) {
		t.Fatalf("%s: check: %v", what, err)
	}
}

func get(t *testing.T, r *Repository, name string) []byte {
	t.Helper()
	stored, err := r.store.Get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

// TestFlips: a single bit of an object is another, 1,000 times.
func TestFlips(t *testing.T) {
	kinds(t, func(t *testing.T, r *Repository) {
		rnd := random(t)
		name := mustPut(t, r, "x", testMeta{From: "bin.000001:4"}, text(rnd, 3000))
		stored := get(t, r, name)
		for range 1000 {
			bad, at := slices.Clone(stored), rnd.IntN(8*len(stored))
			bad[at/8] ^= 1 << (at % 8)
			place(t, r, name, bad)
			wantDamaged(t, r, name, fmt.Sprintf("bit %d", at))
			// Header does not see the body.
			if h, err := r.Header(t.Context(), name); err == nil && h.Size != 3000 {
				t.Fatalf("bit %d: %d bytes", at, h.Size)
			}
		}
	})
}

// TestCutShort: an object without its end, or with more behind it, at every
// length.
func TestCutShort(t *testing.T) {
	kinds(t, func(t *testing.T, r *Repository) {
		name := mustPut(t, r, "x", nil, text(random(t), 100))
		stored := get(t, r, name)
		for n := range stored {
			place(t, r, name, stored[:n])
			wantDamaged(t, r, name, fmt.Sprintf("%d bytes of %d", n, len(stored)))
		}
		place(t, r, name, append(stored, 0))
		wantDamaged(t, r, name, "a byte more")
	})
}

// TestSwapped: two whole objects under each other's names.
func TestSwapped(t *testing.T) {
	kinds(t, func(t *testing.T, r *Repository) {
		one, two := mustPut(t, r, "one", nil, []byte("one")), mustPut(t, r, "two", nil, []byte("two"))
		first, second := get(t, r, one), get(t, r, two)
		place(t, r, one, second)
		place(t, r, two, first)
		wantDamaged(t, r, one, "swapped")
		wantDamaged(t, r, two, "swapped")
	})
}

// forge stores bytes under the name that their hash gives: a program with a bug
// could, and nothing but the format is left to find it.
func forge(t *testing.T, r *Repository, stored []byte) string {
	t.Helper()
	name := nameOf("forged", stored)
	storetest.MustPut(t, r.store, name, stored)
	return name
}

// TestForged: what the hash in the name cannot find, the format does.
func TestForged(t *testing.T) {
	r := create(t, at(t.TempDir()))
	plain := bytes.Repeat([]byte("x"), 1000)
	good, err := r.Seal("test", nil, plain)
	if err != nil {
		t.Fatal(err)
	}
	head, body := good[:len(good)-len(r.sealer.frames.append(nil, plain))], r.sealer.frames.append(nil, plain)
	for what, stored := range map[string][]byte{
		"no bytes":                  {},
		"another magic":             append([]byte("lifeboat"), good[8:]...),
		"version 0":                 edit(good, 8, 0),
		"zero that is none":         edit(good, 10, 1),
		"a header of 16 MiB":        edit(good, 15, 1),
		"a header beyond the end":   edit(good, 14, 1),
		"a header that is no JSON":  resum(edit(good, fixedSize, 'x')),
		"a header of another sum":   edit(good, fixedSize-1, good[fixedSize-1]^1),
		"a body cut short":          good[:len(good)-1],
		"no body":                   head,
		"two bodies":                slices.Concat(good, body),
		"rubbish behind":            append(slices.Clone(good), 'x'),
		"a skippable frame":         slices.Concat(head, []byte{0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0}, body),
		"without a checksum":        slices.Concat(head, frame(t, plain, zstd.WithEncoderCRC(false), zstd.WithSingleSegment(true))),
		"a first without":           slices.Concat(headOf(t, Header{Kind: "test", Encryption: "none", Size: 2000, SHA256: hexSum(slices.Concat(plain, plain))}), frame(t, plain, zstd.WithEncoderCRC(false), zstd.WithSingleSegment(true)), body),
		"not a single segment":      slices.Concat(head, frame(t, plain, zstd.WithSingleSegment(false))),
		"a frame of more than 4 MB": slices.Concat(headOf(t, Header{Kind: "test", Encryption: "none", Size: maxFrame + 1, SHA256: hexSum(make([]byte, maxFrame+1))}), frame(t, make([]byte, maxFrame+1), zstd.WithSingleSegment(true))),
		"another hash":              slices.Concat(headOf(t, Header{Kind: "test", Encryption: "none", Size: 1000, SHA256: hexSum(nil)}), body),
		"another size":              slices.Concat(headOf(t, Header{Kind: "test", Encryption: "none", Size: 999, SHA256: hexSum(plain)}), body),
		"a larger size":             slices.Concat(headOf(t, Header{Kind: "test", Encryption: "none", Size: MaxPlain, SHA256: hexSum(plain)}), body),
	} {
		name := forge(t, r, stored)
		if _, plain, err := r.Read(t.Context(), name); !errors.Is(err, ErrDamaged) || plain != nil {
			t.Errorf("%s: %d bytes, %v", what, len(plain), err)
		}
	}
}

func edit(data []byte, at int, value byte) []byte {
	data = slices.Clone(data)
	data[at] = value
	return data
}

func frame(t *testing.T, plain []byte, opts ...zstd.EOption) []byte {
	t.Helper()
	enc, err := zstd.NewWriter(nil, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return enc.EncodeAll(plain, nil)
}

func headOf(t *testing.T, h any) []byte {
	t.Helper()
	text, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	head := append([]byte(magic), 1, 0, 0, 0)
	head = binary.LittleEndian.AppendUint32(head, uint32(len(text)))
	return resum(append(append(head, 0, 0, 0, 0), text...))
}

// TestHeaders: only what a version-1 program writes is a header.
func TestHeaders(t *testing.T) {
	sum := hexSum(nil)
	for _, h := range []string{
		`{}`, `null`, `[]`, `"x"`, ``, `{"kind":"x"}`,
		`{"kind":"","encryption":"none","size":0,"sha256":"` + sum + `"}`,
		`{"kind":"a b","encryption":"none","size":0,"sha256":"` + sum + `"}`,
		`{"kind":"x","encryption":"rot13","size":0,"sha256":"` + sum + `"}`,
		`{"kind":"x","encryption":"none","size":0}`,
		`{"kind":"x","encryption":"none","size":0,"sha256":"` + strings.ToUpper(sum) + `"}`,
		`{"kind":"x","encryption":"age","size":0,"sha256":"` + sum + `"}`,
		`{"kind":"x","encryption":"none","size":-1,"sha256":"` + sum + `"}`,
		`{"kind":"x","encryption":"none","size":65011713,"sha256":"` + sum + `"}`,
		`{"kind":"x","encryption":"none","size":0,"sha256":"` + sum + `","more":1}`,
		`{"kind":"x","encryption":"none","size":0,"sha256":"` + sum + `"} {}`,
	} {
		if got, err := parseHeader([]byte(h)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %+v %v", h, got, err)
		}
	}
}

// TestOtherHeader: an encrypted body belongs to its header.
func TestOtherHeader(t *testing.T) {
	k := newKey(t)
	r := create(t, at(t.TempDir(), k.file), k.public)
	name := mustPut(t, r, "x", testMeta{From: "bin.000001:4"}, []byte("rows"))
	forged := forge(t, r, resum(bytes.Replace(get(t, r, name), []byte("bin.000001"), []byte("bin.000002"), 1)))
	if _, err := r.Check(t.Context(), forged); err != nil {
		t.Errorf("%v: nothing shows it without a key", err)
	}
	_, _, err := r.Read(t.Context(), forged)
	storetest.WantClass(t, err, fault.VerifyFailed, "another header")
}

// resum puts the right checksum into a header that was changed.
func resum(stored []byte) []byte {
	text := stored[fixedSize : fixedSize+int(binary.LittleEndian.Uint32(stored[12:]))]
	binary.LittleEndian.PutUint32(stored[16:], headSum(stored[:16], text))
	return stored
}

// TestHeaderFlips: a header that is read alone is not believed with a single bit
// changed.
func TestHeaderFlips(t *testing.T) {
	kinds(t, func(t *testing.T, r *Repository) {
		name := mustPut(t, r, "x", testMeta{From: "bin.000001:4"}, []byte("rows"))
		stored := get(t, r, name)
		end, err := headEnd(stored)
		if err != nil {
			t.Fatal(err)
		}
		for at := range 8 * end {
			bad := slices.Clone(stored)
			bad[at/8] ^= 1 << (at % 8)
			place(t, r, name, bad)
			if h, err := r.Header(t.Context(), name); err == nil {
				t.Errorf("bit %d: %+v", at, h)
			}
		}
	})
}

// TestKeys: what is encrypted is read with one of its keys, and with no other.
func TestKeys(t *testing.T) {
	dir, one, two, other := t.TempDir(), newKey(t), newKey(t), newKey(t)
	plain := []byte("the plain text of rows, the plain text of rows")
	name := mustPut(t, create(t, at(dir), one.public, two.public), "x", nil, plain)
	read := func(identities ...string) (*Repository, error) {
		r, err := Open(t.Context(), at(dir, identities...))
		if err != nil {
			t.Fatal(err)
		}
		_, got, err := r.Read(t.Context(), name)
		if err == nil && !bytes.Equal(got, plain) {
			t.Errorf("%q", got)
		}
		return r, err
	}
	for _, ids := range [][]string{{one.file}, {two.file}, {other.file, two.file}} {
		if _, err := read(ids...); err != nil {
			t.Error(err)
		}
	}
	r, err := read()
	storetest.WantClass(t, err, fault.Storage, name, "there is no key", "age identity")
	if h, err := r.Check(t.Context(), name); err != nil || h.Size != int64(len(plain)) {
		t.Errorf("check without a key: %v %v", h, err)
	}
	if stored := get(t, r, name); bytes.Contains(stored, plain) || bytes.Contains(stored, []byte(hexSum(plain))) {
		t.Error("the plain text, or its hash, is in the object")
	}
	_, err = read(other.file)
	storetest.WantClass(t, err, fault.Storage, name, "none of the keys fits")
	for _, err := range []error{err} {
		if errors.Is(err, ErrDamaged) {
			t.Errorf("%v: a wrong key is no damage", err)
		}
	}
}

// TestHybridKeys: age's keys that are safe from quantum computers work, and are
// not mixed with others.
func TestHybridKeys(t *testing.T) {
	id, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(id.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	r := create(t, at(t.TempDir(), file), id.Recipient().String())
	name := mustPut(t, r, "x", nil, []byte("rows"))
	if _, got, err := r.Read(t.Context(), name); err != nil || string(got) != "rows" {
		t.Errorf("%q %v", got, err)
	}
	_, err = Create(t.Context(), at(t.TempDir()), []string{id.Recipient().String(), newKey(t).public})
	storetest.WantClass(t, err, fault.Storage, "recipients")
}

func TestWrongKeys(t *testing.T) {
	dir := t.TempDir()
	for _, text := range []string{"", "age1", "ssh-ed25519 AAAA", newKey(t).public + "\n", "# none"} {
		_, err := Create(t.Context(), at(filepath.Join(dir, "new")), []string{text})
		storetest.WantClass(t, err, fault.Storage, "recipient", "age-keygen")
	}
	if _, err := os.Stat(filepath.Join(dir, "new")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v: something was made", err)
	}
	create(t, at(dir))
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("AGE-SECRET-KEY-1BROKEN"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), at(dir, secret))
	storetest.WantClass(t, err, fault.Storage, secret, "not a file of age identities")
	if strings.Contains(err.Error(), "BROKEN") {
		t.Errorf("%v: has a key in it", err)
	}
	_, err = Open(t.Context(), at(dir, secret+"-not-there"))
	storetest.WantClass(t, err, fault.Storage, "identity", "no such file")
}

// TestMarker: what a place must have to be a repository.
func TestMarker(t *testing.T) {
	const id = `"id":"00112233445566778899aabbccddeeff"`
	text := func(recipients []string) string {
		text, err := newMarker(recipients).encode()
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for _, c := range []struct {
		marker, text string
		class        fault.Class
	}{
		{``, "not the marker", fault.VerifyFailed},
		{`{}`, "not the marker", fault.VerifyFailed},
		{`{"format":"restic","version":1}`, "not the marker", fault.VerifyFailed},
		{`{"format":"lifeboat repository","version":2,"shape":[]}`, "written by a newer version", fault.Storage},
		{`{"format":"lifeboat repository","version":0,` + id + `,"created":"2026-01-02T03:04:05Z"}`, "no format 0", fault.VerifyFailed},
		{`{"format":"lifeboat repository","version":1,"created":"2026-01-02T03:04:05Z"}`, "no id", fault.VerifyFailed},
		{`{"format":"lifeboat repository","version":1,` + id + `}`, "no time", fault.VerifyFailed},
		{`{"format":"lifeboat repository","version":1,` + id + `,"created":"2026-01-02T03:04:05Z","x":1}`, "unknown field", fault.VerifyFailed},
		{`{"format":"lifeboat repository","version":1,` + id + `,"created":"2026-01-02T03:04:05Z"}`, "sha256", fault.VerifyFailed},
		{strings.Replace(text([]string{"age1x"}), "age1x", "age1y", 1), "sha256", fault.VerifyFailed},
		{text([]string{"age1x"}), "age1x", fault.Storage},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, markerName), []byte(c.marker), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(t.Context(), at(dir))
		storetest.WantClass(t, err, c.class, "repository main (file://"+dir+")", c.text)
	}
}

// TestMarkerFlips: no bit of the marker can be another: its name has no hash.
func TestMarkerFlips(t *testing.T) {
	for _, recipients := range [][]string{nil, {newKey(t).public}} {
		dir := t.TempDir()
		r := create(t, at(dir), recipients...)
		good := get(t, r, markerName)
		for bit := range 8 * len(good) {
			bad := slices.Clone(good)
			bad[bit/8] ^= 1 << (bit % 8)
			place(t, r, markerName, bad)
			if _, err := Open(t.Context(), at(dir)); err == nil || !strings.Contains(err.Error(), markerName) {
				t.Errorf("bit %d: %v", bit, err)
			}
		}
		for n := range good {
			place(t, r, markerName, good[:n])
			if _, err := Open(t.Context(), at(dir)); err == nil {
				t.Errorf("%d bytes are enough", n)
			}
		}
		place(t, r, markerName, good)
		if _, err := Open(t.Context(), at(dir)); err != nil {
			t.Error(err)
		}
	}
}

func TestNewerObject(t *testing.T) {
	r := create(t, at(t.TempDir()))
	good, err := r.Seal("test", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	name := forge(t, r, edit(good, 8, 2))
	_, _, read := r.Read(t.Context(), name)
	_, check := r.Check(t.Context(), name)
	_, header := r.Header(t.Context(), name)
	for _, err := range []error{read, check, header} {
		storetest.WantClass(t, err, fault.Storage, name, "newer version")
	}
}

// TestConfiguredRecipients: the marker names the keys, and must not name others
// than the configuration.
func TestConfiguredRecipients(t *testing.T) {
	dir, one, two := t.TempDir(), newKey(t).public, newKey(t).public
	create(t, at(dir), one, two)
	for _, c := range []struct {
		configured []string
		ok         bool
	}{
		{nil, true}, {[]string{two, one}, true}, {[]string{one}, false}, {[]string{one, newKey(t).public}, false},
	} {
		l := at(dir)
		l.Recipients = c.configured
		_, err := Open(t.Context(), l)
		if c.ok != (err == nil) || err != nil && !errors.Is(err, errRecipients) {
			t.Errorf("%q: %v", c.configured, err)
		}
	}
	plain := t.TempDir()
	create(t, at(plain))
	l := at(plain)
	l.Recipients = []string{one}
	_, err := Open(t.Context(), l)
	storetest.WantClass(t, err, fault.Storage, "it has none")
	_, err = Create(t.Context(), Location{Options: at(t.TempDir()).Options, Recipients: []string{one}}, []string{two})
	storetest.WantClass(t, err, fault.Storage, "recipients")
}

func TestCreateNotEmpty(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "holiday.jpg"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Create(t.Context(), at(dir), nil)
	storetest.WantClass(t, err, fault.Storage, "not empty", "holiday.jpg")
}

// TestCreateRace: of two that create a repository at once, one makes it.
func TestCreateRace(t *testing.T) {
	dir := t.TempDir()
	results := make(chan *Repository, 8)
	for range cap(results) {
		go func() {
			r, err := Create(context.Background(), at(dir), nil)
			if err != nil && !strings.Contains(err.Error(), "already") {
				t.Error(err)
			}
			results <- r
		}()
	}
	var made []*Repository
	for range cap(results) {
		if r := <-results; r != nil {
			made = append(made, r)
		}
	}
	opened, err := Open(t.Context(), at(dir))
	if err != nil || len(made) != 1 || made[0].ID() != opened.ID() {
		t.Errorf("%d made it: %v", len(made), err)
	}
}

// TestPutTwice: the same object again is done, unless what is there is damaged.
func TestPutTwice(t *testing.T) {
	r := create(t, at(t.TempDir()))
	name := mustPut(t, r, "x", nil, []byte("rows"))
	if again := mustPut(t, r, "x", nil, []byte("rows")); again != name {
		t.Errorf("%s, then %s", name, again)
	}
	place(t, r, name, []byte("rubbish"))
	if _, _, err := r.Put(t.Context(), "x", "test", nil, []byte("rows")); !errors.Is(err, ErrDamaged) {
		t.Errorf("%v, want ErrDamaged", err)
	}
}

func TestPutRefuses(t *testing.T) {
	r := create(t, at(t.TempDir()))
	for what, put := range map[string]func() error{
		"too large": func() error { _, _, err := r.Put(t.Context(), "x", "test", nil, make([]byte, MaxPlain+1)); return err },
		"kind":      func() error { _, _, err := r.Put(t.Context(), "x", "A kind", nil, nil); return err },
		"meta":      func() error { _, _, err := r.Put(t.Context(), "x", "test", make(chan int), nil); return err },
		"a large header": func() error {
			_, _, err := r.Put(t.Context(), "x", "test", strings.Repeat("x", maxHeader), nil)
			return err
		},
		"name": func() error { _, _, err := r.Put(t.Context(), "../x", "test", nil, nil); return err },
	} {
		if err := put(); err == nil {
			t.Errorf("%s: was put", what)
		}
	}
	for range r.List(t.Context(), "") {
		t.Error("there is something")
	}
}

// TestNames: the marker is no object, and what has no hash is none.
func TestNames(t *testing.T) {
	r := create(t, at(t.TempDir()))
	for _, name := range []string{markerName, "x", "x-", "-" + strings.Repeat("0", 32), "x-" + strings.Repeat("0", 31), "x-" + strings.Repeat("A", 32)} {
		_, _, read := r.Read(t.Context(), name)
		_, check := r.Check(t.Context(), name)
		_, header := r.Header(t.Context(), name)
		for _, err := range []error{read, check, header, r.Delete(t.Context(), name)} {
			if !errors.Is(err, errName) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	name := mustPut(t, r, "a/x", nil, nil)
	for e, err := range r.List(t.Context(), "") {
		if err != nil || e.Name != name {
			t.Errorf("%v %v", e, err)
		}
	}
	for range 2 {
		if err := r.Delete(t.Context(), name); err != nil {
			t.Error(err)
		}
	}
	if _, _, err := r.Read(t.Context(), name); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), name) {
		t.Errorf("%v, want fs.ErrNotExist", err)
	}
	if _, err := Open(t.Context(), at(strings.TrimPrefix(r.store.String(), "file://"))); err != nil {
		t.Error(err)
	}
}

// TestLargest: the largest object with the largest header can be stored, though
// nothing of it can be compressed.
func TestLargest(t *testing.T) {
	k := newKey(t)
	r := create(t, at(t.TempDir(), k.file), slices.Repeat([]string{k.public}, 20)...)
	plain := storetest.Bytes(9, MaxPlain)
	name := mustPut(t, r, "x", strings.Repeat("x", maxHeader-200), plain)
	if _, got, err := r.Read(t.Context(), name); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestHeaderIsRead: Header reads a header of any length, and no body.
func TestHeaderIsRead(t *testing.T) {
	r := create(t, at(t.TempDir()))
	for _, n := range []int{0, headGuess - 200, headGuess - 150, headGuess, 3 * headGuess, maxHeader - 300} {
		name := mustPut(t, r, "x", strings.Repeat("m", n), storetest.Bytes(3, 100))
		h, err := r.Header(t.Context(), name)
		if err != nil || len(h.Meta) != n+2 {
			t.Errorf("%d: %d bytes, %v", n, len(h.Meta), err)
		}
		stored := get(t, r, name)
		place(t, r, name, stored[:fixedSize+n]) // within the header
		if _, err := r.Header(t.Context(), name); !errors.Is(err, ErrDamaged) {
			t.Errorf("%d: %v", n, err)
		}
	}
}
