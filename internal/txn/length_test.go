package txn_test

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/test/reallog"
)

// move makes the offsets fit that events behind at say, n bytes fewer. There are
// no checksums.
func move(data []byte, at, n int) {
	for at < len(data) {
		next := binary.LittleEndian.Uint32(data[at+13:])
		binary.LittleEndian.PutUint32(data[at+13:], next-uint32(n)) //nolint:gosec // a small file
		at += int(binary.LittleEndian.Uint32(data[at+9:]))
	}
}

// TestLength: every transaction of a real MySQL server has the length that it
// says; one without one of its events has not, though all offsets fit.
func TestLength(t *testing.T) {
	d := servertest.Of(t, server.MySQL)
	path := reallog.Start(t, d, "--binlog-checksum=NONE").Record(t,
		"CREATE DATABASE d", "USE d", "CREATE TABLE t (a INT PRIMARY KEY)", "INSERT INTO t VALUES (1), (2)", "BEGIN", "INSERT INTO t VALUES (3)", "DELETE FROM t WHERE a = 1", "COMMIT")
	f, err := binlog.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	groups, err := scan(f.Data, 0)
	if err != nil || len(groups) < 3 {
		t.Fatal(len(groups), err)
	}
	cut := 0
	for _, g := range groups {
		if g.Head.Length != g.End-g.Start {
			t.Errorf("at %d: %d bytes, it says %d", g.Start, g.End-g.Start, g.Head.Length)
		}
		for _, ev := range g.Events {
			if ev.Type.Rows() == binlog.NotRows {
				continue
			}
			cut++
			data := slices.Concat(f.Data[:ev.Offset], f.Data[ev.End:])
			move(data, int(ev.Offset), int(ev.End-ev.Offset))
			if _, err := scan(data, 0); !errors.Is(err, binlog.ErrCorrupt) {
				t.Errorf("without the event at %d: %v", ev.Offset, err)
			}
		}
	}
	if cut < 3 {
		t.Errorf("%d events of rows", cut)
	}
}
