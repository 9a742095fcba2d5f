package golden

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/repository/store"
	"github.com/lifeboat-db/lifeboat/internal/restore"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/internal/verify"
)

var makeVersion = flag.String("make", "", "make testdata/VERSION anew, which must not be there")

// rows are those that each repository brings back: the first are in the dump, the
// others in the log.
var rows = []string{"1 dumped", "2 dumped", "3 logged äöü", "4 logged"}

// TestGolden: what each version of the format has written is read, whole, and
// comes back.
func TestGolden(t *testing.T) {
	at, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	if *makeVersion != "" {
		makeGolden(t, filepath.Join(at, *makeVersion))
	}
	all, err := filepath.Glob(at + "/v*/*/repository.json")
	if err != nil || len(all) < 2 {
		t.Fatal(all, err)
	}
	for _, marker := range all {
		dir := filepath.Dir(marker)
		t.Run(strings.TrimPrefix(dir, at+"/"), func(t *testing.T) { check(t, dir) })
	}
}

func check(t *testing.T, dir string) {
	r, err := repository.Open(t.Context(), repository.Location{Name: "golden", Options: store.Options{URL: dir}, Identities: []string{filepath.Join(filepath.Dir(dir), "key")}})
	if err != nil {
		t.Fatal(err)
	}
	inv, err := restore.Look(t.Context(), r, "s")
	if err != nil {
		t.Fatal(err)
	}
	info := restore.Inform(inv, 0, nil)
	if err := info.Err(); err != nil || len(info.Backups) != 1 || info.Backups[0].Problem != "" || len(inv.Logs) != 1 || len(inv.Logs[0].Gaps()) > 0 {
		t.Errorf("%+v %v", info, err)
	}
	rep, err := verify.Run(t.Context(), verify.Options{Repository: r, Decrypt: true})
	if err != nil || len(rep.Findings) > 0 || !rep.Complete || !rep.Content || rep.Checked < 5 {
		t.Errorf("%+v %v", rep, err)
	}
	if !long && len(r.Recipients()) == 0 {
		return // the encrypted one takes all steps
	}
	if got := bring(t, r); !slices.Equal(got, rows) {
		t.Errorf("%q came back, want %q", got, rows)
	}
}

// bring restores a repository, and returns the rows of the server that it makes.
func bring(t *testing.T, r *repository.Repository) (rows []string) {
	t.Helper()
	d := servertest.Of(t, server.MariaDB)
	mysqld, err := d.Tool("mysqld")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "data")
	rep, err := restore.Run(t.Context(), restore.Options{Repository: r, Set: "s", Dir: dir, Mysqld: mysqld, Tools: d.Tools(), Memory: 256 << 20})
	if err != nil || !rep.Finished || rep.Replay == nil {
		t.Fatalf("%+v %v", rep, err)
	}
	i := servertest.StartWith(t, d, server.Options{DataDir: dir, SkipNetworking: true})
	found, err := servertest.Open(t, i, "").QueryContext(t.Context(), "SELECT CONCAT(a, ' ', b) FROM d.t ORDER BY a")
	if err != nil {
		t.Fatal(err)
	}
	defer found.Close()
	for found.Next() {
		var row string
		if err := found.Scan(&row); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	return rows
}

// makeGolden makes a plain repository and an encrypted one, of the same server.
func makeGolden(t *testing.T, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "key"), fmt.Appendf(nil, "# for this test only\n%s\n", id), 0o600); err != nil {
		t.Fatal(err)
	}
	d := servertest.Of(t, server.MariaDB)
	i := servertest.Start(t, d, "--log-bin=bin", "--server-id=7", "--binlog-format=ROW")
	db := servertest.Open(t, i, "")
	servertest.Exec(t, db, "CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY, b VARCHAR(100)) CHARACTER SET utf8mb4", "INSERT INTO d.t VALUES (1, 'dumped'), (2, 'dumped')", "SET sql_log_bin = 0",
		"TRUNCATE mysql.help_topic", "TRUNCATE mysql.help_keyword", "TRUNCATE mysql.help_relation", "TRUNCATE mysql.help_category", "SET sql_log_bin = 1", "FLUSH BINARY LOGS")
	var all []*repository.Repository
	for name, recipients := range map[string][]string{"plain": nil, "encrypted": {id.Recipient().String()}} {
		r, err := repository.Create(t.Context(), repository.Location{Name: name, Options: store.Options{URL: filepath.Join(dir, name)}}, recipients)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	if _, err := backup.Take(t.Context(), backup.Options{Repositories: all, Set: "s", Driver: backup.Dump, Source: backup.Source{DSN: i.DSN(""), Tools: d.Tools()}}); err != nil {
		t.Fatal(err)
	}
	servertest.Exec(t, db, "INSERT INTO d.t VALUES (3, 'logged äöü')", "FLUSH BINARY LOGS", "INSERT INTO d.t VALUES (4, 'x')", "UPDATE d.t SET b = 'logged' WHERE a = 4")
	for _, r := range all {
		archiveAll(t, r, i.DSN(""))
	}
}

// archiveAll archives until both files are there.
func archiveAll(t *testing.T, r *repository.Repository, dsn string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- archive.Follow(ctx, archive.Options{Set: "s", Server: archive.Server{DSN: dsn}, Repository: r, Flush: 20 * time.Millisecond})
	}()
	for transactions := int64(0); transactions < 3; time.Sleep(50 * time.Millisecond) {
		logs, err := archive.Load(t.Context(), r, "s")
		if err != nil {
			t.Fatal(err)
		}
		transactions = 0
		for _, l := range logs {
			for _, f := range l.Files {
				transactions += f.Transactions
			}
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
