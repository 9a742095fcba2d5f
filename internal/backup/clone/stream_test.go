package clone

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// pages is a small snapshot with data in each state.
func pages() [][]byte {
	all := append(toFileCopy(), dataDesc(stateFileCopy, 0, 8, 0, 8), dataDesc(stateFileCopy, 1, 4, 0, 4), ends(stateFileCopy), begins(statePageCopy))
	all = append(all, dataDesc(statePageCopy, 1, 2, 1, 4), ends(statePageCopy), begins(stateRedoCopy), redo.bytes())
	return append(all, dataDesc(stateRedoCopy, 0, 2, 2, 4), ends(stateRedoCopy), begins(stateDone))
}

// TestRoundTrip: a stream tells what was written, and becomes the files that it
// is of.
func TestRoundTrip(t *testing.T) {
	stream := written(t, pages())
	taken, err := Check(bytes.NewReader(stream))
	if err != nil || taken.Files != 3 || taken.Bytes != 16 || taken.Version != "9.7.4" || taken.Settings["innodb_page_size"] != "16384" {
		t.Fatalf("%+v, %v", taken, err)
	}
	dir := filepath.Join(t.TempDir(), "new", "data")
	if err := Unpack(t.Context(), bytes.NewReader(stream), dir); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"ibdata1":                "aaaaaaaa",
		"d/t.ibd":                "bccb",
		"#innodb_redo/#ib_redo0": "\x00\x00dd",
		"#clone/#status_fix":     "",
		"#clone/#replace_files":  "",
	} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, stagingName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the staging directory is left: %v", err)
	}
}

// TestDamage: a stream that ends early, or of which one bit is another, is never
// unpacked, and nothing is left of the attempt.
func TestDamage(t *testing.T) {
	stream := written(t, pages())
	dir := t.TempDir()
	refused := func(what string, at int, b []byte) {
		if err := Unpack(t.Context(), bytes.NewReader(b), dir); err == nil {
			t.Fatalf("%s at %d of %d: unpacked", what, at, len(stream))
		}
		if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
			t.Fatalf("%s at %d: %v is left, %v", what, at, names, err)
		}
	}
	for at := range stream {
		refused("cut", at, stream[:at])
		bent := bytes.Clone(stream)
		bent[at] ^= 1 << (at % 8)
		refused("bent", at, bent)
	}
	refused("longer", len(stream), append(bytes.Clone(stream), 0))
}

// TestRecords: records that are whole, but not where they belong.
func TestRecords(t *testing.T) {
	all := records(t, written(t, pages()))
	swapped := append([][]byte(nil), all...)
	swapped[3], swapped[4] = swapped[4], swapped[3]
	for name, rs := range map[string][][]byte{
		"one left out": append(append([][]byte(nil), all[:3]...), all[4:]...),
		"one twice":    append(append([][]byte(nil), all[:3]...), all[2:]...),
		"two swapped":  swapped,
	} {
		_, err := Check(bytes.NewReader(bytes.Join(rs, nil)))
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// records cuts a stream; the first part is what is before the first record.
func records(t *testing.T, stream []byte) [][]byte {
	t.Helper()
	b := bytes.NewReader(stream)
	r, err := newReader(b)
	if err != nil {
		t.Fatal(err)
	}
	at, list := 0, [][]byte(nil)
	for {
		next := len(stream) - b.Len()
		list, at = append(list, stream[at:next]), next
		if _, _, err := r.next(); errors.Is(err, ErrTruncated) && b.Len() == 0 {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// TestUnpackTarget: Unpack touches nothing that is there.
func TestUnpackTarget(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Unpack(t.Context(), bytes.NewReader(written(t, pages())), dir); err == nil {
		t.Error("unpacked into a directory with a file")
	}
	if names, _ := os.ReadDir(dir); len(names) != 1 {
		t.Errorf("%v is there now", names)
	}
}

// TestUnpackCancelled: a context that ends leaves nothing.
func TestUnpackCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	if err := Unpack(ctx, bytes.NewReader(written(t, pages())), dir); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
		t.Errorf("%v is left, %v", names, err)
	}
}

// TestDroppedAndNew: a file that DDL drops is not there at the end, though its data
// came; one that DDL makes begins with a header page.
func TestDroppedAndNew(t *testing.T) {
	second := fileOf{state: statePageCopy, size: 7 << 14, name: "./d/t.ibd", index: 2, spaceID: 6}
	gone := with(table, func(f *fileOf) { f.flags = fileDeleted })
	all := append(toFileCopy(), dataDesc(stateFileCopy, 1, 2, 0, 4), gone, dataDesc(stateFileCopy, 1, 2, 2, 4), ends(stateFileCopy))
	all = append(all, second.bytes(), begins(statePageCopy), ends(statePageCopy), begins(stateRedoCopy), redo.bytes(), ends(stateRedoCopy), begins(stateDone))
	dir := t.TempDir()
	if err := Unpack(t.Context(), bytes.NewReader(written(t, all)), dir); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "d", "t.ibd"))
	want := append(headerPage(6, 0, 90704), make([]byte, 6<<14)...)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes that are not a header page and six pages of zeros, %v", len(got), err)
	}
}

// FuzzStream: whatever bytes come, Check returns, and with an error unless they
// are a whole stream.
func FuzzStream(f *testing.F) {
	stream := written(f, pages())
	f.Add(stream)
	f.Add(stream[:len(stream)/2])
	f.Add([]byte(magic + "\x00\x00\x00\x01\x01\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		taken, err := Check(bytes.NewReader(b))
		if err == nil && (taken.Files == 0 || taken.Version == "") {
			t.Fatalf("%d bytes are a stream of nothing", len(b))
		}
	})
}

// FuzzPlay is FuzzStream behind the checksums: descriptors and JSON that a record
// holds.
func FuzzPlay(f *testing.F) {
	for _, d := range pages() {
		f.Add(byte(recordDescriptor), d)
	}
	f.Add(byte(recordUntil), []byte(`{"position":{"File":"bin.000001","Offset":4},"gtids":""}`))
	f.Add(byte(recordEnd), []byte(`{"files":3,"bytes":0}`))
	f.Add(byte(recordAbout), []byte(`{}`))
	f.Fuzz(func(t *testing.T, k byte, payload []byte) {
		var b bytes.Buffer
		w, err := newWriter(&b, head{Version: "9.7.4"})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range toFileCopy() {
			_ = w.record(recordDescriptor, d)
		}
		_ = w.record(recordKind(k), payload)
		if _, err := Check(&b); err == nil {
			t.Fatal("half a snapshot is one")
		}
	})
}

// TestWriterFails: an error of the stream's destination is the error of the write.
func TestWriterFails(t *testing.T) {
	want := errors.New("no space")
	if _, err := newWriter(failing{want}, head{}); !errors.Is(err, want) {
		t.Error(err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

var _ io.Writer = failing{}
