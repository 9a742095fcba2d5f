package backup_test

import (
	"strings"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// TestDump: a dump under traffic, loaded into an empty server, is the source at
// the recorded position; so is one that locks all tables, with those that have
// no transactions.
func TestDump(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		r := newEncrypted(t, t.TempDir())
		source := start(t, d, true)
		w := write(t, source, true)
		o := options(t, source, backup.Dump, r)
		snapshot := take(t, o)
		if snapshot.GTIDs == "" || snapshot.File == "" || snapshot.DataBytes == 0 || snapshot.ToLSN != 0 {
			t.Errorf("%+v", snapshot)
		}
		w.end()
		checkRestored(t, source, r, snapshot)

		servertest.Exec(t, servertest.Open(t, source, ""), "CREATE TABLE shop.log (writer INT, n INT, PRIMARY KEY (writer, n)) ENGINE="+plainEngine(d))
		w = write(t, source, false)
		_, err := backup.Take(t.Context(), o)
		wantClass(t, err, fault.Refused, "without transactions", "shop.log", "lock all tables")
		o.Source.Lock = true
		locked := take(t, o)
		w.end()
		checkRestored(t, source, r, locked)
		equal(t, list(t, r)[0], snapshot)

		o.Incremental = true
		_, err = backup.Take(t.Context(), o)
		wantClass(t, err, fault.Failed, "no backup to go on from", "have no increments")
	})
}

func checkRestored(t *testing.T, source *server.Instance, r *repository.Repository, m backup.Manifest) {
	t.Helper()
	target := restore(t, source.Distribution(), r, m.ID)
	if source.Distribution().Flavor == server.MySQL {
		got := strings.ReplaceAll(row(t, servertest.Open(t, target, ""), "SELECT @@GLOBAL.gtid_executed")[0], "\n", "")
		if got != m.GTIDs {
			t.Errorf("the loaded server has %s, not %s", got, m.GTIDs)
		}
	}
	replay(t, source, target, m)
	same(t, source, target)
}

// TestDumpRefusals: what a dump would leave out is told before.
func TestDumpRefusals(t *testing.T) {
	d := servertest.Of(t, server.MySQL)
	source := start(t, d, true)
	servertest.Exec(t, servertest.Open(t, source, ""), "CREATE TABLESPACE wide ADD DATAFILE 'wide.ibd'")
	_, err := backup.Take(t.Context(), options(t, source, backup.Dump, newRepository(t, t.TempDir())))
	wantClass(t, err, fault.Refused, "general tablespaces", "wide")
}

// TestWithoutBinaryLog: a backup of a server that keeps no log says so.
func TestWithoutBinaryLog(t *testing.T) {
	cases(t, func(t *testing.T, d server.Distribution, driver string) {
		source := servertest.Start(t, d)
		servertest.Exec(t, servertest.Open(t, source, ""), "CREATE DATABASE shop", "CREATE TABLE shop.t (a INT PRIMARY KEY)", "INSERT INTO shop.t VALUES (42)")
		r := newRepository(t, t.TempDir())
		o := options(t, source, driver, r)
		var at backup.Progress
		o.Progress = func(p backup.Progress) {
			if p.Bytes <= at.Bytes || p.Total <= 0 {
				t.Errorf("%+v after %+v", p, at)
			}
			at = p
		}
		m := take(t, o)
		if at.Bytes > m.PlainBytes || at.Bytes < m.PlainBytes-2<<20 {
			t.Errorf("%+v of %d bytes was told last", at, m.PlainBytes)
		}
		if m.File != "" || m.Offset != 0 || m.GTIDs != "" || len(m.Warnings) != 1 {
			t.Errorf("%+v", m)
		}
		target := restore(t, d, r, m.ID)
		if got := row(t, servertest.Open(t, target, ""), "SELECT a FROM shop.t"); got[0] != "42" {
			t.Errorf("%q", got)
		}
	})
}
