package ui

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/binlog"
)

func TestArchiveStatus(t *testing.T) {
	none, some, lag := int64(0), int64(1<<20), 75.0
	first, last := at("2014-01-10T17:00:00Z"), at("2014-01-11T01:29:59Z")
	s := &archive.Status{SchemaVersion: 1, Set: "orders",
		Servers: []archive.ServerStatus{{Name: "db1", ID: "3e11fa47-71ca-11e1-9e33-c80aa9429562", Warning: "the server removes its logs when they are 1 h 00 min old: an outage of the archive that is longer loses some"}, {Name: "db3", Error: "archive: ask the server's version: dial tcp 10.0.0.3:3306: connect: connection refused"}},
		Repositories: []archive.PlaceStatus{
			{Name: "main", Logs: []archive.LogStatus{
				{Server: "3e11fa47-71ca-11e1-9e33-c80aa9429562", Name: "db1", Files: 3, Bytes: 3 << 30, Stored: 1 << 30, First: first, Last: last,
					End: "binlog.000043:98765", Reached: "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-1234567", BehindBytes: &none},
				{Server: "4e11fa47-71ca-11e1-9e33-c80aa9429562", Name: "db2", Files: 2, Bytes: 1 << 20, Stored: 1 << 19, First: first, Last: last, End: "binlog.000007:5",
					BehindBytes: &some, LagSeconds: &lag, Gaps: []archive.Gap{{After: "binlog.000003:700", Before: "binlog.000005:4", Why: "the files between were never archived"}}},
				{Server: "mariadb-9", Name: "db5", Files: 1, Bytes: 100, Stored: 90, End: "bin.000010:104", Alarm: "the server has another bin.000010 than the archived one: its log was reset"},
				{Server: "mariadb-7", Files: 1, Bytes: 100, Stored: 90, End: "bin.000001:104", Stranger: true},
			}, Refused: []archive.Refusal{{Server: "db4", Why: "it is no member"}}},
			{Name: "near", Logs: []archive.LogStatus{}},
			{Name: "far", Error: "repository far (file:///srv/backup): not a repository: there is no repository.json; check the place, or create one"},
		}}
	const path = "testdata/archive.txt"
	got := ArchiveStatus(s)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("it is\n%s\nwant\n%s", got, want)
	}
}

// A failure is one line, however often it happens again.
func TestArchiveLog(t *testing.T) {
	var out bytes.Buffer
	l := ArchiveLog(timeless(&out))("db1", "main")
	l.Connected("mariadb-7", binlog.Position{File: "bin.000001", Offset: 4})
	for range 3 {
		l.Waiting(errors.New("gone"), 1500*time.Millisecond)
	}
	l.Waiting(errors.New("denied"), time.Second)
	l.Connected("mariadb-7", binlog.Position{File: "bin.000001", Offset: 900})
	l.Waiting(errors.New("gone"), time.Second)
	l.Alarm(archive.Alarm{Server: "mariadb-7", At: "bin.000001:900", Why: "it was purged"})
	want := `level=INFO msg=receiving server=db1 repository=main id=mariadb-7 from=bin.000001:4
level=WARN msg="not archiving" server=db1 repository=main error=gone again=1.5s
level=WARN msg="not archiving" server=db1 repository=main error=denied again=1s
level=INFO msg=receiving server=db1 repository=main id=mariadb-7 from=bin.000001:900 failures=4
level=WARN msg="not archiving" server=db1 repository=main error=gone again=1s
level=ERROR msg="alarm: a part of the log can never be archived" server=db1 repository=main id=mariadb-7 after=bin.000001:900 why="it was purged"
`
	if got := out.String(); got != want {
		t.Errorf("it is\n%swant\n%s", strings.TrimPrefix(got, "\n"), want)
	}
}

// timeless is a log whose lines have no time.
func timeless(out *bytes.Buffer) *slog.Logger {
	return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

// What becomes of a server's files is told once for each reason.
func TestKeptLog(t *testing.T) {
	var out bytes.Buffer
	tell := KeptLog(timeless(&out))
	for range 2 {
		tell("db1", archive.Kept{Files: 3, Warning: "too early"})
		tell("db2", archive.Kept{Err: errors.New("denied")})
	}
	tell("db2", archive.Kept{Files: 1, Bytes: 700, Purged: 2, Why: "a replica needs it"})
	tell("db2", archive.Kept{Err: errors.New("denied")})
	want := `level=WARN msg=expiry server=db1 warning="too early"
level=WARN msg="logs are held, whatever is archived" server=db2 error=denied
level=INFO msg=purged server=db2 files=2 left=1 bytes=700 next="a replica needs it"
level=WARN msg="logs are held, whatever is archived" server=db2 error=denied
`
	if got := out.String(); got != want {
		t.Errorf("it is\n%swant\n%s", got, want)
	}
}
