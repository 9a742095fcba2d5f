package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/repository/store/storetest"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

const password = "geheim'\\#%@/"

// site is a server with the account that docs/archive.md names, and a
// configuration with a repository in a directory.
type site struct {
	t      *testing.T
	i      *server.Instance
	dir    string
	config string
}

func newSite(t *testing.T, d server.Distribution) *site {
	t.Helper()
	args := []string{"--log-bin=bin", "--server-id=7"}
	if d.Flavor == server.MySQL {
		args = append(args, "--gtid-mode=ON", "--enforce-gtid-consistency=ON")
	}
	s := &site{t: t, i: servertest.Start(t, d, args...), dir: t.TempDir()}
	s.exec("CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY AUTO_INCREMENT, b TEXT)")
	s.exec(accountOfDocs(t)...)
	s.configure("near", "url: "+s.place("near"))
	return s
}

// accountOfDocs are the statements that docs/archive.md has for the account.
func accountOfDocs(t *testing.T) []string { return statementsOfDocs(t, "run") }

// statementsOfDocs are those below a mark.
func statementsOfDocs(t *testing.T, mark string) []string {
	t.Helper()
	text, err := os.ReadFile("../../docs/archive.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, ok := strings.Cut(string(text), "<!-- "+mark+" by cmd/lifeboat -->\n```sql\n")
	block, _, _ = strings.Cut(block, "\n```")
	if !ok {
		t.Fatalf("docs/archive.md has no statements to %s", mark)
	}
	return strings.Split(strings.Replace(block, "…", quoted(password), 1), "\n")
}

// quoted is a text for the inside of '…' in SQL.
func quoted(text string) string {
	return strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(text)
}

func (s *site) exec(statements ...string) {
	s.t.Helper()
	servertest.Exec(s.t, servertest.Open(s.t, s.i, ""), statements...)
}

func (s *site) place(name string) string { return filepath.Join(s.dir, name) }

// configure writes the configuration with one repository.
func (s *site) configure(name, repository string) {
	s.t.Helper()
	option := file(s.t, "db1.cnf", "[client]\nuser=lifeboat\npassword="+password+"\n")
	s.config = file(s.t, "lifeboat.yaml", fmt.Sprintf(`version: 1
set: orders
servers:
  - name: db1
    dsn: "@unix(%s)/"
    defaults_file: %s
repositories:
  - name: %s
    %s
archive: {flush: 20ms, max_wait: 200ms}
`, s.i.Socket(), option, name, repository))
}

func (s *site) args(args ...string) []string { return append(args, "--config", s.config) }

func (s *site) start(more ...string) *service {
	s.t.Helper()
	return background(s.t, command(s.t, append(s.args("archive", "run"), more...)...))
}

func (s *site) traffic(n int) {
	s.t.Helper()
	for k := range n {
		s.exec(fmt.Sprintf("INSERT INTO d.t (b) VALUES (REPEAT('%d', %d))", k%10, 100*k))
		if k%7 == 3 {
			s.exec("FLUSH BINARY LOGS")
		}
	}
}

// status is that of the log of the server, with the exit code that is wanted.
func (s *site) status(code int) archive.LogStatus {
	s.t.Helper()
	st := report[archive.Status](s.t, lifeboat(s.t, code, s.args("archive", "status", "--json")))
	if st.SchemaVersion != archive.StatusVersion || st.Set != "orders" || len(st.Repositories) != 1 || len(st.Repositories[0].Logs) != 1 {
		s.t.Fatalf("status: %+v", st)
	}
	return st.Repositories[0].Logs[0]
}

// caughtUp waits until everything that the server has is archived.
func (s *site) caughtUp() archive.LogStatus {
	s.t.Helper()
	for {
		if st := s.status(0); st.BehindBytes != nil && *st.BehindBytes == 0 {
			return st
		}
		if s.t.Context().Err() != nil {
			s.t.Fatal("the archive does not catch up")
		}
	}
}

// saysCaughtUp waits until a reader is told so. A server writes to its log by
// itself too (MariaDB: a checkpoint, some time after it has begun a file).
func (s *site) saysCaughtUp() {
	s.t.Helper()
	for {
		text := lifeboat(s.t, 0, s.args("archive", "status"), "Repository near, set orders", "db1").out
		if strings.Contains(text, "nothing") {
			return
		}
		if s.t.Context().Err() != nil {
			s.t.Fatalf("the archive does not catch up: %s", text)
		}
	}
}

// The command as a process: it is killed, started again, runs twice at once, is
// asked to end; and everything is there, without a gap.
func TestArchiveProcess(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		s := newSite(t, d)
		lifeboat(t, 0, s.args("repository", "create"), "near", "not encrypted")
		first := s.start()
		first.says("msg=receiving server=db1 repository=near")
		s.traffic(10)
		s.caughtUp()
		first.signal(syscall.SIGKILL)
		first.ends(-1)
		s.traffic(10)
		if st := s.status(0); st.BehindBytes == nil || *st.BehindBytes == 0 {
			t.Errorf("nobody archives, and nothing is behind: %+v", st)
		}
		second, third := s.start("--archive-segment", "4KiB"), s.start("--archive-flush", "50ms")
		s.traffic(10)
		s.caughtUp()
		second.signal(syscall.SIGTERM)
		second.ends(0)
		s.traffic(5)
		st := s.caughtUp()
		s.saysCaughtUp()
		third.signal(syscall.SIGINT)
		third.ends(0)
		third.says("all that was received")
		if st.Name != "db1" || st.Files < 5 || st.Bytes < 5_000 || st.First.IsZero() || st.Last.Before(st.First) || len(st.Gaps) != 0 {
			t.Errorf("status: %+v", st)
		}
		if d.Flavor == server.MySQL && !strings.HasPrefix(st.Reached, st.Server+":1-") {
			t.Errorf("it reaches %q", st.Reached)
		}
	})
}

// The log of a server that is gone comes back as files, which inspect reads: to
// find what a restore is to stop before.
func TestArchiveFetch(t *testing.T) {
	s := newSite(t, servertest.All(t)[0])
	lifeboat(t, 0, s.args("repository", "create"))
	d := s.start()
	s.traffic(10)
	s.exec("DROP TABLE d.t")
	s.caughtUp()
	d.signal(syscall.SIGTERM)
	d.ends(0)
	if err := s.i.Kill(); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "logs")
	args := s.args("archive", "fetch", "--dir", dir)
	lifeboat(t, 0, args, "bin.000001", "bin.000002", "Next: lifeboat inspect "+dir+"/*")
	again := report[archive.FetchReport](t, lifeboat(t, 0, append(args, "--json")))
	if again.SchemaVersion != archive.FetchVersion || again.Server != "mariadb-7" || len(again.Files) < 2 || !again.Files[0].Kept || again.Files[0].First.IsZero() {
		t.Errorf("%+v", again)
	}
	var files []string
	for _, f := range again.Files {
		files = append(files, f.Path)
	}
	lifeboat(t, 0, append([]string{"inspect"}, files...), "DROP TABLE")
	lifeboat(t, 5, append(args, "--since", "2101-01-01T00:00:00Z"), "no commit in that time")
	lifeboat(t, 2, append(args, "--server", "mariadb-8"), "mariadb-7")
	lifeboat(t, 2, append(args, "--until", "yesterday"), "--until")
	lifeboat(t, 2, append(args, "--repository", "far"), "no repository of this name")
	lifeboat(t, 2, s.args("archive", "fetch"), "--dir is missing")
	for _, command := range []string{"verify", "expire", "info"} {
		lifeboat(t, 2, s.args(command, "--repository", "far"), "no repository of this name")
	}
}

// A server that is down stops nothing and is archived when it is back.
func TestArchiveServerAway(t *testing.T) {
	s := newSite(t, servertest.All(t)[0])
	lifeboat(t, 0, s.args("repository", "create"))
	if err := s.i.Kill(); err != nil {
		t.Fatal(err)
	}
	d := s.start("--json")
	var line struct{ Level, Msg, Server, Error string }
	if err := json.Unmarshal([]byte(d.says("not archiving")), &line); err != nil || line.Level != "WARN" || line.Server != "db1" || line.Error == "" {
		t.Errorf("%+v, %v", line, err)
	}
	st := lifeboat(t, 0, s.args("archive", "status"), "nothing is archived", "Server db1 does not answer")
	if strings.Contains(st.out, password) {
		t.Errorf("the password is shown: %s", st.out)
	}
	if err := s.i.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.says("receiving")
	s.caughtUp()
	d.signal(syscall.SIGTERM)
	d.ends(0)
}

// What can never work is said at once, with its exit code.
func TestArchiveRefusals(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		s := newSite(t, d)
		lifeboat(t, 8, s.args("archive", "run"), "repository near", "create")
		lifeboat(t, 8, s.args("archive", "status"), "repository near", "cannot be read")
		made := report[struct {
			Repositories []created `json:"repositories"`
		}](t, lifeboat(t, 0, s.args("repository", "create", "--json")))
		if len(made.Repositories) != 1 || made.Repositories[0].Name != "near" || len(made.Repositories[0].ID) != 32 {
			t.Errorf("made: %+v", made)
		}
		lifeboat(t, 8, s.args("repository", "create"), "there is a repository already")
		lifeboat(t, 2, s.args("repository", "create", "far"), "no repository \"far\"")
		key, err := age.GenerateX25519Identity()
		if err != nil {
			t.Fatal(err)
		}
		lifeboat(t, 8, s.args("archive", "run", "--repo1-recipients", key.Recipient().String()), "its recipients are not those that are configured")
		s.exec("ALTER USER lifeboat@localhost IDENTIFIED BY 'another'")
		r := lifeboat(t, 8, s.args("archive", "run"), "server db1", "Access denied", "check the account")
		if strings.Contains(r.err, password) {
			t.Errorf("the password is shown: %s", r.err)
		}
		s.exec("ALTER USER lifeboat@localhost IDENTIFIED BY '"+quoted(password)+"'",
			"REVOKE REPLICATION CLIENT ON *.* FROM lifeboat@localhost")
		lifeboat(t, 8, s.args("archive", "run"), "server db1", "denied")
	})
}

// A repository that is encrypted needs no private key on the host.
func TestArchiveEncrypted(t *testing.T) {
	s := newSite(t, servertest.All(t)[0])
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	s.configure("near", "url: "+s.place("near")+"\n    recipients: ["+key.Recipient().String()+"]")
	lifeboat(t, 0, s.args("repository", "create"), "encrypted for "+key.Recipient().String())
	d := s.start()
	s.traffic(5)
	s.caughtUp()
	d.signal(syscall.SIGTERM)
	d.ends(0)
}

// A gap is an exit code of its own, and a place; the first scrape of the metrics
// shows the alarm, and no restore passes it.
func TestArchiveGap(t *testing.T) {
	s := newSite(t, servertest.Of(t, server.MySQL))
	lifeboat(t, 0, s.args("repository", "create"))
	d := s.start()
	backup := s.args("backup", "--server1-dsn", s.i.DSN(""), "--server1-defaults-file", file(t, "root.cnf", "[client]\nuser=root\n"), "--backup-driver", "dump", "--tool", "mysqldump="+s.i.Distribution().Tools()["mysqldump"])
	lifeboat(t, 0, backup)
	s.traffic(3)
	s.caughtUp()
	d.signal(syscall.SIGTERM)
	d.ends(0)
	s.exec("FLUSH BINARY LOGS", "INSERT INTO d.t (b) VALUES ('lost')", "FLUSH BINARY LOGS")
	logs, err := s.i.BinaryLogs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.exec("PURGE BINARY LOGS TO '" + filepath.Base(logs[len(logs)-1]) + "'")
	d = s.start("--archive-metrics", "127.0.0.1:0")
	_, url, _ := strings.Cut(d.says("msg=metrics"), "url=")
	d.says("alarm")
	if text := get(t, url); !strings.Contains(text, `lifeboat_archive_alarms_total{repository="near",server="db1"} 1`) {
		t.Errorf("no alarm in\n%s", text)
	}
	for st := s.look(); st.BehindBytes == nil || *st.BehindBytes > 0; st = s.look() {
		time.Sleep(20 * time.Millisecond)
	}
	d.signal(syscall.SIGTERM)
	d.ends(0)
	st := s.status(5)
	if len(st.Gaps) != 1 || !strings.HasPrefix(st.Gaps[0].Before, filepath.Base(logs[len(logs)-1])) {
		t.Errorf("gaps: %+v", st.Gaps)
	}
	lifeboat(t, 5, s.args("archive", "status"), "GAP of db1, "+st.Gaps[0].After)
	mysqld, err := s.i.Distribution().Tool("mysqld")
	if err != nil {
		t.Fatal(err)
	}
	lifeboat(t, 5, s.args("restore", "--dir", s.place("restored"), "--mysqld", mysqld), "goes on behind a gap")

	// What is missing is needed no more when there is a backup behind it.
	time.Sleep(time.Second) // both are told by the second
	lifeboat(t, 0, backup)
	if st := s.status(0); len(st.Gaps) != 1 || st.Gaps[0].Backup == "" {
		t.Errorf("gaps: %+v", st.Gaps)
	}
	lifeboat(t, 0, s.args("archive", "status"), "was taken since, and leads on")
	lifeboat(t, 0, s.args("restore", "--dir", s.place("again"), "--mysqld", mysqld))
}

// look is the status whatever its exit code.
func (s *site) look() archive.LogStatus {
	s.t.Helper()
	st := report[archive.Status](s.t, finish(s.t, command(s.t, s.args("archive", "status", "--json")...)))
	return st.Repositories[0].Logs[0]
}

// A second signal does not wait for a place that does not answer.
func TestArchiveSecondSignal(t *testing.T) {
	s := newSite(t, servertest.All(t)[0])
	place := storetest.Fake(t)
	o := place.Options(t)
	s.configure("far", fmt.Sprintf("{url: %q, endpoint: %q, path_style: true, access_key_file: %q, secret_key_file: %q}",
		o.URL, o.Endpoint, file(t, "access", o.AccessKey), file(t, "secret", o.SecretKey)))
	text, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	s.config = file(t, "lifeboat.yaml", strings.Replace(string(text), "  - name: far\n    {", "  - {name: far, ", 1))
	lifeboat(t, 0, s.args("repository", "create"))
	d := s.start()
	s.caughtUp()
	hangs := make(chan struct{}, 100)
	place.Break(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method != http.MethodPut {
			next.ServeHTTP(w, r)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		hangs <- struct{}{}
		<-r.Context().Done()
	})
	s.exec("INSERT INTO d.t (b) VALUES ('x')")
	<-hangs
	d.signal(syscall.SIGTERM)
	d.says("msg=ending")
	d.signal(syscall.SIGTERM)
	d.ends(130)
	d.says("second signal")
}

// systemd hears when the first connection stands, how it goes, that it lives,
// and that it ends.
func TestArchiveNotify(t *testing.T) {
	s := newSite(t, servertest.All(t)[0])
	lifeboat(t, 0, s.args("repository", "create"))
	path := filepath.Join(s.dir, "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	cmd := command(t, s.args("archive", "run", "--archive-metrics", "127.0.0.1:0")...)
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+path, "WATCHDOG_USEC=300000")
	d := background(t, cmd)
	heard := func(want string) {
		t.Helper()
		buffer := make([]byte, 4096)
		for {
			n, err := socket.Read(buffer)
			if err != nil {
				t.Fatal(err)
			}
			if text := string(buffer[:n]); strings.Contains(text, want) {
				return
			}
		}
	}
	heard("READY=1")
	heard("STATUS=1 of 1 connections stand")
	heard("WATCHDOG=1")
	_, url, _ := strings.Cut(d.says("msg=metrics"), "url=")
	s.traffic(3)
	s.caughtUp()
	heard("archived up to")
	text := get(t, url)
	for _, want := range []string{`lifeboat_archive_connected{repository="near",server="db1"} 1`, `lifeboat_archive_alarms_total{repository="near",server="db1"} 0`,
		`lifeboat_archive_lag_seconds{repository="near",server="db1"}`, "process_resident_memory_bytes"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	d.signal(syscall.SIGTERM)
	heard("STOPPING=1")
	d.ends(0)
}

func get(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// With hold the account that docs/archive.md names is enough, and one that lacks
// a privilege is told which; logs that are archived go.
func TestArchiveHold(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		s := newSite(t, d)
		lifeboat(t, 0, s.args("repository", "create"))
		first := s.start()
		s.traffic(10)
		s.caughtUp()
		first.signal(syscall.SIGTERM)
		first.ends(0)
		grants := map[server.Flavor]string{server.MySQL: "hold, MySQL: run", server.MariaDB: "hold, MariaDB: run"}
		hold := []string{"--archive-purge", "hold", "--archive-keep", "0s",
			// The same server under another name is one more to be asked what it needs.
			"--server2-dsn", fmt.Sprintf("@unix(%s)/", s.i.Socket()), "--server2-defaults-file", file(t, "db2.cnf", "[client]\nuser=lifeboat\npassword="+password+"\n")}
		for _, grant := range statementsOfDocs(t, grants[d.Flavor]) {
			privilege, _, _ := strings.Cut(strings.TrimPrefix(grant, "GRANT "), " ON ")
			run := s.start(hold...)
			if line := run.says("logs are held"); !strings.Contains(line, "the account needs") || !strings.Contains(line, privilege) {
				t.Errorf("%s is missing, and it says %s", privilege, line)
			}
			run.signal(syscall.SIGTERM)
			run.ends(0)
			s.exec(grant)
		}
		run := s.start(hold...)
		run.says("msg=purged")
		run.signal(syscall.SIGTERM)
		run.ends(0)
		if logs, err := s.i.BinaryLogs(t.Context()); err != nil || len(logs) != 1 {
			t.Errorf("the server has %v, %v", logs, err)
		}
		s.status(0)
	})
}

// That a server removes its logs itself is told where hold promises otherwise,
// and where it does so very early.
func TestArchiveExpiryWarning(t *testing.T) {
	s := newSite(t, servertest.All(t)[0])
	lifeboat(t, 0, s.args("repository", "create"))
	s.exec("SET GLOBAL binlog_expire_logs_seconds = 864000")
	if r := lifeboat(t, 0, s.args("archive", "status")); strings.Contains(r.out, "WARNING") {
		t.Errorf("ten days are a reason to warn: %s", r.out)
	}
	lifeboat(t, 0, s.args("archive", "status", "--archive-purge", "hold"), "WARNING, server db1: the server removes its logs itself", "240 h")
	s.exec("SET GLOBAL binlog_expire_logs_seconds = 3600")
	lifeboat(t, 0, s.args("archive", "status"), "WARNING, server db1: the server removes its logs", "1 h")
	run := s.start()
	run.says("level=WARN msg=expiry")
	run.signal(syscall.SIGTERM)
	run.ends(0)
}

// A server of another database is refused by archive and backup, also where it
// has the number of a member, and shows; it is let in if that is asked for.
func TestArchiveStranger(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		s := newSite(t, d)
		lifeboat(t, 0, s.args("repository", "create"))
		run := s.start()
		s.traffic(5)
		s.caughtUp()
		run.signal(syscall.SIGTERM)
		run.ends(0)
		time.Sleep(time.Second) // servers of one second are told apart by what they do later
		other := newSite(t, d)
		other.configure("near", "url: "+s.place("near"))
		other.traffic(3)
		lifeboat(t, 6, other.args("archive", "status"), "REFUSED, server db1", "let it in once")
		run = other.start("--archive-metrics", "127.0.0.1:0")
		_, url, _ := strings.Cut(run.says("msg=metrics"), "url=")
		if line := run.says("not archiving"); !strings.Contains(line, "--admit") {
			t.Errorf("it says %s", line)
		}
		if text, want := get(t, url), `lifeboat_archive_errors_total{kind="refused",repository="near",server="db1"}`; !strings.Contains(text, want) || strings.Contains(text, want+" 0\n") {
			t.Errorf("no refusal in\n%s", text)
		}
		run.signal(syscall.SIGTERM)
		run.ends(0)
		tool := "mysqldump=" + d.Tools()["mysqldump"]
		lifeboat(t, 6, other.args("backup", "--server1-defaults-file", "", "--server1-dsn", other.i.DSN(""), "--backup-driver", "dump", "--tool", tool), "let it in once")
		lifeboat(t, 2, other.args("archive", "run", "--admit", "db9"), "no server of this name")
		if d.Flavor == server.MariaDB {
			return // it has the other's number: who lets it in mixes them
		}
		run = other.start("--admit", "db1")
		run.says("receiving")
		run.signal(syscall.SIGTERM)
		run.ends(0)
		if text := finish(t, command(t, other.args("archive", "status")...)).out; strings.Contains(text, "REFUSED") {
			t.Errorf("it was let in: %s", text)
		}
	})
}
