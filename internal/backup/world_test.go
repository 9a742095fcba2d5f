package backup_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/repository/store"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// kinds of repositories. In a plain test run each server has one of them.
func kinds(t *testing.T, d server.Distribution, test func(t *testing.T, r *repository.Repository)) {
	first := d == servertest.Of(t, d.Flavor)
	if everywhere || first {
		t.Run("encrypted", func(t *testing.T) { test(t, newEncrypted(t, t.TempDir())) })
	}
	if everywhere || !first {
		t.Run("plain", func(t *testing.T) { test(t, newRepository(t, t.TempDir())) })
	}
}

func newRepository(t testing.TB, dir string, recipients ...string) *repository.Repository {
	t.Helper()
	r, err := repository.Create(context.Background(), location(dir), recipients)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func location(dir string, identities ...string) repository.Location {
	return repository.Location{Options: store.Options{URL: dir}, Name: filepath.Base(dir), Identities: identities}
}

// newEncrypted makes a repository, and opens it with its key.
func newEncrypted(t testing.TB, dir string) *repository.Repository {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(id.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	newRepository(t, dir, id.Recipient().String())
	r, err := repository.Open(t.Context(), location(dir, key))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// tools are the paths of a distribution's programs.
func tools(t testing.TB, d server.Distribution, names ...string) map[string]string {
	t.Helper()
	paths := map[string]string{}
	for _, name := range names {
		lookFor := name
		if name == backup.MariaDBBackup {
			lookFor = "mariabackup"
		}
		path, err := d.Tool(lookFor)
		if err != nil {
			t.Fatal(err)
		}
		paths[name] = path
	}
	return paths
}

func toolsFor(t testing.TB, d server.Distribution, driver string) map[string]string {
	t.Helper()
	if driver == backup.Dump {
		return tools(t, d, "mysqldump")
	}
	return tools(t, d, backup.MariaDBBackup, "mbstream")
}

// cases are all drivers with the servers that they are for. In a plain test run
// MariaDB's drivers have one server each: the first mariadb-backup, the others
// the dump.
func cases(t *testing.T, test func(t *testing.T, d server.Distribution, driver string)) {
	t.Helper()
	first := servertest.Of(t, server.MariaDB)
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		if d.Flavor == server.MariaDB && (everywhere || d == first) {
			t.Run(backup.MariaDBBackup, func(t *testing.T) { test(t, d, backup.MariaDBBackup) })
		}
		if everywhere || d != first {
			t.Run(backup.Dump, func(t *testing.T) { test(t, d, backup.Dump) })
		}
	})
}

// start starts a source with a binary log of rows and GTIDs, and a schema.
func start(t *testing.T, d server.Distribution, transactional bool) *server.Instance {
	t.Helper()
	args := []string{"--log-bin=bin", "--server-id=7", "--binlog-format=ROW"}
	if d.Flavor == server.MySQL {
		args = append(args, "--gtid-mode=ON", "--enforce-gtid-consistency=ON")
	}
	i := servertest.Start(t, d, args...)
	servertest.Exec(t, servertest.Open(t, i, ""),
		"CREATE DATABASE shop",
		"CREATE TABLE shop.orders (writer INT, n INT, amount INT, note TEXT, PRIMARY KEY (writer, n))",
		"CREATE TABLE shop.balance (writer INT PRIMARY KEY, amount BIGINT)",
		"CREATE TABLE shop.parts (a INT PRIMARY KEY, b BLOB) PARTITION BY HASH (a) PARTITIONS 3",
		"INSERT INTO shop.parts VALUES (1, x'00ff27'), (2, x''), (3, NULL)",
		"CREATE VIEW shop.v AS SELECT writer, COUNT(*) AS orders FROM shop.orders GROUP BY writer",
		"CREATE PROCEDURE shop.p() BEGIN\n-- SET GLOBAL gtid_slave_pos='9-9-9';\n-- Dump completed\nSELECT 1; END",
		"CREATE EVENT shop.e ON SCHEDULE EVERY 1 YEAR DO SELECT 1",
		"CREATE TRIGGER shop.tr BEFORE UPDATE ON shop.parts FOR EACH ROW SET @x = 1",
		"CREATE USER keeper@localhost IDENTIFIED BY 'secret'", "GRANT SELECT ON shop.* TO keeper@localhost")
	if !transactional {
		servertest.Exec(t, servertest.Open(t, i, ""), "CREATE TABLE shop.log (writer INT, n INT, PRIMARY KEY (writer, n)) ENGINE="+plainEngine(d))
	}
	return i
}

// plainEngine has no transactions.
func plainEngine(d server.Distribution) string {
	if d.Flavor == server.MariaDB {
		return "Aria"
	}
	return "MyISAM"
}

// traffic writes until the test calls what is returned.
type traffic struct {
	stop context.CancelFunc
	wg   sync.WaitGroup
	n    atomic.Int64
}

var nextWriter atomic.Int64

// write begins some writers.
func write(t *testing.T, i *server.Instance, transactional bool) *traffic {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &traffic{stop: cancel}
	db := servertest.Open(t, i, "shop")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for range 3 {
		writer := int(nextWriter.Add(1))
		r := rand.New(rand.NewPCG(seed, uint64(writer)))
		w.wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if err := order(db, r, writer, n, transactional); err != nil {
					t.Logf("writer %d: %v", writer, err)
					return
				}
				w.n.Add(1)
			}
		})
	}
	t.Cleanup(w.end)
	w.wait(100)
	return w
}

// wait waits for n more transactions.
func (w *traffic) wait(n int64) {
	for until := w.n.Load() + n; w.n.Load() < until; {
		time.Sleep(5 * time.Millisecond)
	}
}

func (w *traffic) end() {
	w.stop()
	w.wg.Wait()
}

// order is a transaction that changes two tables, so that half of it would
// show. Its context does not end: a transaction in flight is finished.
func order(db *sql.DB, r *rand.Rand, writer, n int, transactional bool) error {
	ctx := context.Background()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	amount := r.IntN(1000)
	note := strings.Repeat("x", r.IntN(2000))
	if _, err := tx.ExecContext(ctx, "INSERT INTO orders VALUES (?, ?, ?, ?)", writer, n, amount, note); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO balance VALUES (?, ?) ON DUPLICATE KEY UPDATE amount = amount + ?", writer, amount, amount); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil || transactional {
		return err
	}
	_, err = db.ExecContext(ctx, "INSERT INTO log VALUES (?, ?)", writer, n)
	return err
}

// options are those of a backup with small parts.
func options(t *testing.T, i *server.Instance, driver string, repos ...*repository.Repository) backup.Options {
	t.Helper()
	return backup.Options{
		Repositories: repos, Set: "shop", Driver: driver, PartBytes: 1 << 20,
		Source: backup.Source{DSN: i.DSN(""), Tools: toolsFor(t, i.Distribution(), driver), Dir: t.TempDir()},
	}
}

func take(t *testing.T, o backup.Options) backup.Manifest {
	t.Helper()
	m, err := backup.Take(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// list lists the backups; there must be no errors.
func list(t *testing.T, r *repository.Repository) []backup.Manifest {
	t.Helper()
	all, bad, err := backup.List(t.Context(), r, "shop")
	if err != nil || len(bad) > 0 {
		t.Fatalf("%v %v", bad, err)
	}
	return all
}

// restore unpacks a backup and starts a server on it.
func restore(t *testing.T, d server.Distribution, r *repository.Repository, id string) *server.Instance {
	t.Helper()
	chain, err := backup.Chain(list(t, r), id)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "data")
	o := backup.UnpackOptions{Tools: toolsFor(t, d, chain[0].Driver)}
	if chain[0].Driver != backup.Dump {
		if err := backup.Unpack(t.Context(), r, chain, dir, o); err != nil {
			t.Fatal(err)
		}
		return servertest.StartWith(t, d, server.Options{DataDir: dir})
	}
	i := servertest.Start(t, d)
	o.Load = func(ctx context.Context, statements io.Reader) error { return load(ctx, i, statements) }
	if err := backup.Unpack(t.Context(), r, chain, dir, o); err != nil {
		t.Fatal(err)
	}
	return i
}

// load runs SQL on a server with the vendor's client.
func load(ctx context.Context, i *server.Instance, statements io.Reader) error {
	client, err := i.Distribution().Tool("mysql")
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, client, "--no-defaults", "--user=root", "--socket="+i.Socket(), "--binary-mode")
	cmd.Stdin = statements
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// replay brings a restored server from the backup's position to the end of the
// source's log. A position too early gives duplicate keys, and one too late
// leaves rows out.
func replay(t *testing.T, source, target *server.Instance, m backup.Manifest) {
	t.Helper()
	logs, err := source.BinaryLogs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for len(logs) > 0 && filepath.Base(logs[0]) != m.File {
		logs = logs[1:]
	}
	if len(logs) == 0 {
		t.Fatalf("the source has no log %s", m.File)
	}
	tool, err := source.Distribution().Tool("mysqlbinlog")
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"--no-defaults", "--start-position=" + strconv.FormatInt(m.Offset, 10)}, logs...)
	if source.Distribution().Flavor == server.MySQL {
		args = append(args, "--skip-gtids")
	}
	cmd := exec.CommandContext(t.Context(), tool, args...)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, complaints.String())
	}
	if err := load(t.Context(), target, bytes.NewReader(out)); err != nil {
		t.Errorf("replay from %s: %v", m.Position(), err)
	}
}

// same compares two servers: the tables, and what else is in the schema.
func same(t *testing.T, source, target *server.Instance) {
	t.Helper()
	want, got := state(t, source), state(t, target)
	for what := range want {
		if want[what] != got[what] {
			t.Errorf("%s:\n%s\nwant\n%s", what, got[what], want[what])
		}
	}
	if len(want) != len(got) {
		t.Errorf("%d things, want %d", len(got), len(want))
	}
}

func state(t *testing.T, i *server.Instance) map[string]string {
	t.Helper()
	db := servertest.Open(t, i, "shop")
	all := map[string]string{}
	for _, table := range servertest.Column(t, db, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'shop' AND table_type = 'BASE TABLE'") {
		all["checksum of "+table] = strings.Join(servertest.Column(t, db, "SELECT CONCAT(COUNT(*), ' rows') FROM `"+table+"`"), "") + " " +
			strings.Join(row(t, db, "CHECKSUM TABLE `"+table+"`"), " ")
		all["check of "+table] = row(t, db, "CHECK TABLE `"+table+"`")[3]
	}
	for what, query := range map[string]string{
		"view":     "SELECT CONCAT(writer, ': ', orders) FROM v ORDER BY writer",
		"routines": "SELECT routine_name FROM information_schema.routines WHERE routine_schema = 'shop'",
		"triggers": "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = 'shop'",
		"events":   "SELECT event_name FROM information_schema.events WHERE event_schema = 'shop'",
		"grants":   "SHOW GRANTS FOR keeper@localhost",
	} {
		all[what] = strings.Join(servertest.Column(t, db, query), "\n")
	}
	return all
}

// row is the first row of an answer.
func row(t *testing.T, db *sql.DB, query string) []string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil || !rows.Next() {
		t.Fatalf("%s: no row, %v", query, err)
	}
	values := make([]string, len(names))
	into := make([]any, len(names))
	for i := range values {
		into[i] = &values[i]
	}
	if err := errors.Join(rows.Scan(into...), rows.Err()); err != nil {
		t.Fatal(err)
	}
	return values
}

// wantClass says that an error has a class and texts.
func wantClass(t *testing.T, err error, class fault.Class, texts ...string) {
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

// nothing says that no backup is listed.
func nothing(t *testing.T, r *repository.Repository) {
	t.Helper()
	if all := list(t, r); len(all) != 0 {
		t.Errorf("%d backups are listed", len(all))
	}
}
