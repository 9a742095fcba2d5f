package stream_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/internal/stream"
)

func source(t *testing.T, d server.Distribution, args ...string) *server.Instance {
	t.Helper()
	return servertest.Start(t, d, append([]string{"--log-bin=bin", "--server-id=7"}, args...)...)
}

// traffic fills several files, with transactions of all sizes; the last file
// stays open.
func traffic(t *testing.T, i *server.Instance) {
	t.Helper()
	db := servertest.Open(t, i, "")
	servertest.Exec(t, db, "CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY AUTO_INCREMENT, b LONGBLOB) ENGINE=InnoDB")
	for n := range 3 {
		for k := range 20 {
			servertest.Exec(t, db, fmt.Sprintf("INSERT INTO d.t (b) VALUES (REPEAT('%d', %d))", k, 1<<k/(n+1)))
		}
		servertest.Exec(t, db, "BEGIN", "UPDATE d.t SET b = 'x' WHERE a % 3 = 0", "DELETE FROM d.t WHERE a % 3 = 1", "COMMIT")
		if n < 2 {
			servertest.Exec(t, db, "FLUSH BINARY LOGS")
		}
	}
}

// files are the source's files without the in-use flag and, but for those that are
// encrypted, the magic number.
func files(t *testing.T, i *server.Instance) map[string][]byte {
	t.Helper()
	paths, err := i.BinaryLogs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if servertest.LogBytes(data) == len(data) {
			data[4+17] &^= 1
			data = data[4:]
		}
		all[filepath.Base(path)] = data
	}
	return all
}

func open(t *testing.T, i *server.Instance, from binlog.Position) *stream.Stream {
	t.Helper()
	s, err := stream.Open(t.Context(), stream.Options{DSN: i.DSN(""), From: from, Heartbeat: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// untilIdle collects the bytes of each file until heartbeats come, and
// where each file was entered.
func untilIdle(t *testing.T, s *stream.Stream, events func(stream.Piece)) (got map[string][]byte, entered map[string]int64) {
	t.Helper()
	got, entered = map[string][]byte{}, map[string]int64{}
	beats := 0 // also what comes before what is wanted
	for beats < 8 {
		p, err := s.Next()
		if err != nil {
			t.Fatal(err)
		}
		switch p.Kind {
		case stream.Idle:
			beats++
		case stream.Begin:
			entered[p.File] = p.Offset
		case stream.Bytes:
			beats = 0
			if want := entered[p.File] + int64(len(got[p.File])); p.Offset != want {
				t.Fatalf("%s: an event at %d, its place is %d", p.File, p.Offset, want)
			}
			got[p.File] = append(got[p.File], p.Raw...)
			if events != nil {
				events(p)
			}
		}
	}
	return got, entered
}

// TestWholeLog: what comes is every byte of every file, the open one included;
// and from the beginning of each transaction on it is the rest.
func TestWholeLog(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		i := source(t, d)
		traffic(t, i)
		var starts []binlog.Position
		got, _ := untilIdle(t, open(t, i, first(t, i)), func(p stream.Piece) {
			switch p.Event.Type {
			case binlog.GTIDEvent, binlog.AnonymousGTID, binlog.GTIDTagged, binlog.MariaGTID:
				starts = append(starts, binlog.Position{File: p.File, Offset: p.Offset})
			default:
			}
		})
		want := files(t, i) // MariaDB's checkpoints come late
		for name, data := range want {
			if !bytes.Equal(got[name], data) {
				t.Errorf("%s: %d bytes came, not the %d of the file", name, len(got[name]), len(data))
			}
		}
		if len(starts) < 60 {
			t.Fatalf("%d transactions came", len(starts))
		}
		for _, from := range []binlog.Position{starts[0], starts[len(starts)/2], starts[len(starts)-1]} {
			rest, entered := untilIdle(t, open(t, i, from), nil)
			want = files(t, i)
			if entered[from.File] != from.Offset || !bytes.Equal(rest[from.File], want[from.File][from.Offset-4:]) {
				t.Errorf("from %s: %d bytes came, not the rest of the file", from, len(rest[from.File]))
			}
		}
	})
}

// TestRefusals: a source that cannot give what is asked for says so.
func TestRefusals(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		i := source(t, d)
		traffic(t, i)
		db := servertest.Open(t, i, "")
		logs, err := i.BinaryLogs(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		last := filepath.Base(logs[len(logs)-1])
		purge(t, i, last)
		servertest.Exec(t, db, "CREATE USER nobody@localhost", "CREATE USER nobody@'127.0.0.1'")
		for name, c := range map[string]struct {
			from binlog.Position
			dsn  string
			want error
		}{
			"purged":        {binlog.Position{File: filepath.Base(logs[0]), Offset: 4}, i.DSN(""), stream.ErrPurged},
			"never there":   {binlog.Position{File: "other.000001", Offset: 4}, i.DSN(""), stream.ErrPurged},
			"behind itself": {binlog.Position{File: last, Offset: 1 << 30}, i.DSN(""), stream.ErrPosition},
			"no position":   {binlog.Position{File: last, Offset: 3}, i.DSN(""), stream.ErrPosition},
			"over 4 GiB":    {binlog.Position{File: last, Offset: 1 << 32}, i.DSN(""), stream.ErrPosition},
			"no privilege":  {binlog.Position{File: last, Offset: 4}, fmt.Sprintf("nobody@unix(%s)/", i.Socket()), stream.ErrDenied},
			"no account":    {binlog.Position{File: last, Offset: 4}, fmt.Sprintf("none:x@unix(%s)/", i.Socket()), stream.ErrDenied},
		} {
			err := firstError(t.Context(), stream.Options{DSN: c.dsn, From: c.from})
			if !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", name, err, c.want)
			}
		}
	})
}

// purge waits until the files before last are gone: MariaDB keeps those that it
// would need after a crash.
func purge(t *testing.T, i *server.Instance, last string) {
	t.Helper()
	db := servertest.Open(t, i, "")
	for {
		servertest.Exec(t, db, "PURGE BINARY LOGS TO '"+last+"'")
		if logs, err := i.BinaryLogs(t.Context()); err != nil || len(logs) == 1 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func firstError(ctx context.Context, o stream.Options) error {
	s, err := stream.Open(ctx, o)
	if err != nil {
		return err
	}
	defer s.Close()
	for {
		if p, err := s.Next(); err != nil || p.Kind == stream.Bytes {
			return err
		}
	}
}

// TestEnds: a stream ends with an error when its server dies, falls silent, or
// its context ends; it never waits for ever.
func TestEnds(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		for name, end := range map[string]func(*server.Instance, context.CancelFunc){
			"killed":    func(i *server.Instance, _ context.CancelFunc) { _ = i.Kill() },
			"cancelled": func(_ *server.Instance, cancel context.CancelFunc) { cancel() },
		} {
			i := source(t, d)
			ctx, cancel := context.WithCancel(t.Context())
			s, err := stream.Open(ctx, stream.Options{DSN: i.DSN(""), From: first(t, i), Heartbeat: 50 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Next(); err != nil {
				t.Fatal(err)
			}
			end(i, cancel)
			for err == nil {
				_, err = s.Next()
			}
			t.Logf("%s: %v", name, err)
			cancel()
			s.Close()
		}
	})
}

func first(t *testing.T, i *server.Instance) binlog.Position {
	t.Helper()
	logs, err := i.BinaryLogs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return binlog.Position{File: filepath.Base(logs[0]), Offset: 4}
}

// TestAfter: behind a GTID position come the transactions behind it, from
// whichever file; what the log does not have, or MySQL does not know, is said.
func TestAfter(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		i := source(t, d)
		db := servertest.Open(t, i, "")
		servertest.Exec(t, db, "CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY)", "FLUSH BINARY LOGS",
			"INSERT INTO d.t VALUES (3)", "INSERT INTO d.t VALUES (4)", "FLUSH BINARY LOGS", "INSERT INTO d.t VALUES (5)")
		first := func(after string) (at uint64, err error) {
			s, err := stream.Open(t.Context(), stream.Options{DSN: i.DSN(""), After: after})
			if err != nil {
				return 0, err
			}
			defer s.Close()
			for {
				p, err := s.Next()
				if err != nil {
					return 0, err
				}
				if p.Kind == stream.Bytes && p.Event.Type == binlog.MariaGTID {
					return binary.LittleEndian.Uint64(p.Event.Body), nil
				}
			}
		}
		if d.Flavor == server.MySQL {
			if _, err := first("0-7-3"); err == nil {
				t.Error("MySQL knows a GTID of MariaDB")
			}
			return
		}
		for after, want := range map[string]uint64{"0-7-1": 2, "0-7-3": 4, "0-7-4": 5} {
			if at, err := first(after); at != want || err != nil {
				t.Errorf("behind %s comes %d, %v, want %d", after, at, err, want)
			}
		}
		if _, err := first("0-7-99"); !errors.Is(err, stream.ErrNoGTID) {
			t.Errorf("what is not there: %v", err)
		}
		for logs, err := i.BinaryLogs(t.Context()); len(logs) > 1; logs, err = i.BinaryLogs(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			servertest.Exec(t, db, "PURGE BINARY LOGS TO 'bin.000003'")
			time.Sleep(20 * time.Millisecond) // it keeps what we have just read
		}
		if _, err := first("0-7-2"); !errors.Is(err, stream.ErrNoGTID) {
			t.Errorf("what was purged: %v", err)
		}
		for _, bad := range []string{"x", "0-7-1'; SELECT 1"} {
			if _, err := first(bad); err == nil {
				t.Errorf("%q is taken for a position", bad)
			}
		}
	})
}

// TestEncryptedIsNoSlower: over TLS, too, a log comes as fast as it is sent: a
// stream does not pause after each piece that one read brings.
func TestEncryptedIsNoSlower(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		if d.Flavor != server.MySQL {
			t.Skip("not all versions of MariaDB have a certificate of their own")
		}
		i := source(t, d)
		db := servertest.Open(t, i, "")
		servertest.Exec(t, db, "CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY AUTO_INCREMENT, b LONGBLOB) ENGINE=InnoDB")
		const size = 16 << 20
		for range 4 {
			servertest.Exec(t, db, fmt.Sprintf("INSERT INTO d.t (b) VALUES (REPEAT('x', %d))", size/4))
		}
		paths, err := i.BinaryLogs(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s, err := stream.Open(t.Context(), stream.Options{DSN: i.DSN("") + "?tls=skip-verify", From: binlog.Position{File: filepath.Base(paths[0]), Offset: 4}})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		for got := 0; got < size; {
			p, err := s.Next()
			if err != nil {
				t.Fatal(err)
			}
			got += len(p.Raw)
		}
		// One read of TLS brings 16 KiB at most.
		t.Logf("%d pauses in %d MiB", s.Pauses(), size>>20)
		if s.Pauses() > size/(64<<10) {
			t.Errorf("%d pauses in %d MiB", s.Pauses(), size>>20)
		}
	})
}

// TestEncryptedSource: a log that is encrypted on disk is decrypted by its server;
// from wherever it is asked for, the rest of the same bytes comes.
func TestEncryptedSource(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		d, args := servertest.Encrypting(t, d)
		i := source(t, d, args...)
		traffic(t, i)
		var starts []int64
		name := ""
		whole, _ := untilIdle(t, open(t, i, first(t, i)), func(p stream.Piece) {
			if name == "" {
				name = p.File
			}
			if len(starts) < 6 && p.File == name {
				starts = append(starts, p.Offset)
			}
		})
		for file, data := range files(t, i) {
			n := servertest.LogBytes(data)
			if n < len(data) {
				n -= 4 // the magic number
			}
			if len(whole[file]) != n || bytes.Contains(data, []byte("INSERT")) {
				t.Errorf("%s: %d bytes came, the file has %d", file, len(whole[file]), len(data))
			}
		}
		for _, from := range starts {
			rest, _ := untilIdle(t, open(t, i, binlog.Position{File: name, Offset: from}), nil)
			if !bytes.Equal(rest[name], whole[name][from-4:]) {
				t.Errorf("from %d: %d bytes came, not the rest of the file", from, len(rest[name]))
			}
		}
	})
}
