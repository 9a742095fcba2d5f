package binlog_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/test/reallog"
)

// made is a file of a synthetic log.
type made struct {
	name   string
	time   uint32 // of the format description
	before string // GTIDs before the file; "none": no such event
	tail   string // "rotate NAME", "stop", ""
	flavor gtid.Flavor
}

func (m made) write(t *testing.T, dir string) string {
	t.Helper()
	version, types := "8.4.8", 42
	if m.flavor == gtid.MariaDB {
		version, types = "10.11.14-MariaDB", 171
	}
	data := describeFormat(version, types, nil)
	binary.LittleEndian.PutUint32(data[4:], m.time)
	binary.LittleEndian.PutUint32(data[4+binlog.HeaderSize+52:], m.time) // each is the first of a server's run
	b := &builder{data: fixChecksum(data), checksum: true}
	if m.before != "none" {
		set, err := gtid.ParseSet(m.flavor, m.before)
		if err != nil {
			t.Fatal(err)
		}
		if m.flavor == gtid.MariaDB {
			b.event(binlog.MariaGTIDList, 0, -1, gtid.EncodeGTIDList(set.Heads(), 0))
		} else {
			body, err := gtid.EncodePreviousGTIDs(set)
			if err != nil {
				t.Fatal(err)
			}
			b.event(binlog.PreviousGTIDs, 0, -1, body)
		}
	}
	switch name, rotate := strings.CutPrefix(m.tail, "rotate "); {
	case rotate:
		b.event(binlog.RotateEvent, 0, -1, append([]byte{4, 0, 0, 0, 0, 0, 0, 0}, name...))
	case m.tail == "stop":
		b.event(binlog.StopEvent, 0, -1, nil)
	}
	path := filepath.Join(dir, m.name)
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOpenSet(t *testing.T) {
	const u = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
	my, maria := gtid.MySQL, gtid.MariaDB
	for _, test := range []struct {
		name  string
		files []made // in their right order
		want  error
	}{
		{"no file at all", nil, binlog.ErrGap},
		{"one file", []made{{"a.000001", 1, "", "", my}}, nil},
		{"by GTIDs, whatever the clock and the names say", []made{
			{"z.000003", 9, "", "", my}, {"y.000001", 5, u + ":1-5", "", my}, {"x.000002", 1, u + ":1-9", "", my}}, nil},
		{"by time where there are no GTIDs", []made{
			{"a.000001", 1, "", "rotate a.000002", my}, {"a.000002", 2, "", "rotate a.000003", my}, {"a.000003", 3, "", "", my}}, nil},
		{"by number within a second", []made{
			{"a.000009", 1, "", "rotate a.000010", my}, {"a.000010", 1, "", "", my}}, nil},
		{"numbers of seven digits", []made{
			{"a.999999", 1, "", "rotate a.1000000", my}, {"a.1000000", 1, "", "", my}}, nil},
		{"MariaDB by the sum of sequence numbers", []made{
			{"a.000003", 1, "", "", maria}, {"a.000004", 1, "0-1-5", "", maria}, {"a.000005", 1, "0-1-5,1-1-3", "", maria}}, nil},
		{"a name that the file before announces", []made{
			{"a.000001", 1, "", "rotate b.000002", my}, {"b.000002", 2, "", "", my}}, nil},
		{"a file is missing: ROTATE names it", []made{
			{"a.000001", 1, "", "rotate a.000002", my}, {"a.000003", 3, "", "", my}}, binlog.ErrGap},
		{"a file is missing behind one that a dead server left", []made{
			{"a.000001", 1, "", "", my}, {"a.000003", 3, "", "", my}}, binlog.ErrGap},
		{"a file is missing behind one that a stopped server left", []made{
			{"a.000001", 1, "none", "stop", my}, {"a.000003", 3, "none", "", my}}, binlog.ErrGap},
		{"a file is missing, and the list of MariaDB says nothing", []made{
			{"a.000001", 1, "", "stop", maria}, {"a.000003", 3, "", "", maria}}, binlog.ErrGap},
		{"a dead server's file, then the next one", []made{
			{"a.000001", 1, "", "", my}, {"a.000002", 3, "", "", my}}, nil},
		{"the log's name was changed between two runs of a server with GTIDs", []made{
			{"a.000007", 1, "", "stop", my}, {"b.000001", 3, u + ":1-5", "", my}}, nil},
		{"two files of one name, side by side", []made{
			{"1/a.000001", 1, "", "", my}, {"2/a.000001", 1, "", "", my}}, binlog.ErrGap},
		{"two files of one name, another between them", []made{
			{"1/a.000001", 1, "", "", my}, {"1/a.000002", 2, u + ":1-5", "rotate a.000001", my}, {"2/a.000001", 3, u + ":1-9", "", my}}, binlog.ErrGap},
		{"two vendors", []made{{"a.000001", 1, "", "", my}, {"a.000002", 2, "", "", maria}}, binlog.ErrUnsupported},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			var paths []string
			for _, m := range test.files {
				paths = append(paths, m.write(t, dir))
			}
			want := slices.Clone(paths)
			for range 5 {
				rand.Shuffle(len(paths), func(i, j int) { paths[i], paths[j] = paths[j], paths[i] })
				set, err := binlog.OpenSet(paths)
				if !errors.Is(err, test.want) {
					t.Fatalf("%v, want %v", err, test.want)
				}
				if err != nil {
					continue
				}
				var got []string
				for _, f := range set.Files {
					got = append(got, f.Path)
				}
				if !slices.Equal(got, want) || len(set.Heads) != len(got) {
					t.Errorf("order %v, want %v", got, want)
				}
				if err := set.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// testRealSet reads a log of several files, a crash of the server included.
func testRealSet(t *testing.T, src *reallog.Source) {
	src.Exec(t, "CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY)", "FLUSH BINARY LOGS", "FLUSH BINARY LOGS")
	for i := range 3 {
		src.Exec(t, fmt.Sprintf("INSERT INTO d.t VALUES (%d)", i), "FLUSH BINARY LOGS", fmt.Sprintf("DELETE FROM d.t WHERE a = %d", i))
	}
	_ = src.DB.Close()
	if err := src.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := src.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	src.DB = servertest.Open(t, src.Instance, "")
	src.Exec(t, "INSERT INTO d.t VALUES (99)", "DROP DATABASE d")
	want := src.Logs(t)
	paths := slices.Clone(want)
	rand.Shuffle(len(paths), func(i, j int) { paths[i], paths[j] = paths[j], paths[i] })
	set, err := binlog.OpenSet(paths)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = set.Close() }()
	for i, f := range set.Files {
		if f.Path != want[i] {
			t.Fatalf("file %d is %s, want %s", i, f.Name, filepath.Base(want[i]))
		}
		if !set.Heads[i].HasPrevious {
			t.Errorf("%s says nothing of what was before it", f.Name)
		}
	}
	for i := 1; i < len(want)-1; i++ {
		if set, err := binlog.OpenSet(slices.Delete(slices.Clone(want), i, i+1)); !errors.Is(err, binlog.ErrGap) {
			t.Errorf("without %s: %v, want %v", filepath.Base(want[i]), err, binlog.ErrGap)
			_ = set.Close()
		}
	}
}
