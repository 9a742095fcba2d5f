package check_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/check"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/repository/store"
	"github.com/lifeboat-db/lifeboat/internal/repository/store/storetest"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/test/smalldisk"
)

// world is what is checked.
type world struct {
	t *testing.T
	o check.Options
}

// lines are what was found, "FAIL server db1: connect: …".
func (w *world) lines() (list []string) {
	w.t.Helper()
	r, err := check.Run(w.t.Context(), w.o)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, l := range r.Lines {
		list = append(list, string(l.Level)+" "+l.About+": "+l.What+": "+l.Why+"; "+l.Next)
		if l.Level == check.Fail && l.Next == "" {
			w.t.Errorf("it does not say what to do: %+v", l)
		}
	}
	return list
}

// finds demands exactly these lines that are not ok, by their beginnings.
func (w *world) finds(want ...string) {
	w.t.Helper()
	got := slices.DeleteFunc(w.lines(), func(l string) bool { return strings.HasPrefix(l, "ok ") })
	same := len(got) == len(want)
	for i := 0; same && i < len(want); i++ {
		same = strings.HasPrefix(got[i], want[i])
	}
	if !same {
		w.t.Errorf("it finds\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func member(name, dsn string) check.Server {
	return check.Server{Name: name, DSN: func() (string, error) { return dsn, nil }}
}

func place(l repository.Location) check.Place {
	return check.Place{Name: l.Name, Location: func() (repository.Location, error) { return l, nil }}
}

func create(t *testing.T, name string, o store.Options, recipients ...string) repository.Location {
	t.Helper()
	l := repository.Location{Name: name, Options: o, Recipients: recipients}
	if _, err := repository.Create(t.Context(), l, recipients); err != nil {
		t.Fatal(err)
	}
	return l
}

func start(t *testing.T, d server.Distribution, args ...string) *server.Instance {
	t.Helper()
	args = append([]string{"--log-bin=bin", "--server-id=7", "--sync-binlog=1", "--innodb-flush-log-at-trx-commit=1", "--binlog-format=ROW", "--loose-log-slave-updates=ON"}, args...)
	if d.Flavor == server.MySQL {
		args = append(args, "--gtid-mode=ON", "--enforce-gtid-consistency=ON")
	}
	return servertest.Start(t, d, args...)
}

// TestServers: a server that is well has nothing to be looked at once its log
// is archived; and whatever is wrong with one shows.
func TestServers(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		i := start(t, d)
		root := servertest.Open(t, i, "")
		servertest.Exec(t, root, "CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY)",
			"CREATE USER archiver@localhost IDENTIFIED BY 'x'", "GRANT REPLICATION CLIENT ON *.* TO archiver@localhost")
		if d.Flavor == server.MySQL {
			servertest.Exec(t, root, "INSTALL PLUGIN clone SONAME 'mysql_clone.so'")
		}
		l := create(t, "near", store.Options{URL: filepath.Join(t.TempDir(), "r")})
		w := &world{t, check.Options{Set: "s", Servers: []check.Server{member("db1", i.DSN(""))}, Places: []check.Place{place(l)},
			BackupOf: "db1", Source: backup.Source{Tools: d.Tools()}}}

		w.finds("FAIL server db1, repository near: archived: nothing of its log is there")
		stop := follow(t, i, l)
		w.o.Wait = time.Minute
		w.finds()
		stop()
		w.o.Wait = 0
		servertest.Exec(t, root, "INSERT INTO d.t VALUES (1)")
		w.finds("FAIL server db1, repository near: archived: it has the log up to bin.")
		w.o.Places = nil

		reset := "RESET MASTER"
		if d.Flavor == server.MySQL {
			reset = "RESET BINARY LOGS AND GTIDS"
		}
		servertest.Exec(t, root, reset)
		w.o.Places = []check.Place{place(l)}
		w.finds("FAIL server db1, repository near: archived: the server")
		w.o.Places = nil

		for _, c := range []struct {
			dsn, want string
		}{
			{"nobody@unix(" + i.Socket() + ")/", "FAIL server db1: connect: "},
			{"root@unix(" + i.Socket() + "x)/", "FAIL server db1: connect: "},
			{"root@unix(", "FAIL server db1: connect: "},
			{i.DSN("") + "?timestamp=1000000000", "FAIL server db1: clock: the server's clock is"},
		} {
			w.o.Servers[0] = member("db1", c.dsn)
			w.finds(c.want)
		}
		w.o.BackupOf = ""
		w.o.Servers[0] = member("db1", "archiver:x@unix("+i.Socket()+")/")
		w.finds("FAIL server db1: archive account: archive: stream: ")
		w.o.Servers = []check.Server{member("db1", i.DSN("")), member("db2", i.DSN(""))}
		w.finds("FAIL server db2: name: ")
		w.o.Servers = w.o.Servers[:1]
		w.o.BackupOf, w.o.Driver = "db1", backup.Dump
		w.o.Source.Tools = map[string]string{"mysqldump": "/none"}
		w.finds("FAIL server db1: backup: ")
		w.o.BackupOf = ""

		for _, c := range []struct{ name, value, want string }{
			{"binlog_row_image", "MINIMAL", "replay"},
			{"binlog_format", "MIXED", "replay"},
			{"sync_binlog", "0", "durability"},
			{"binlog_expire_logs_seconds", "3600", "log expiry"},
		} {
			old := servertest.Column(t, root, "SELECT @@GLOBAL."+c.name)[0]
			servertest.Exec(t, root, "SET GLOBAL "+c.name+" = "+quoted(c.value))
			w.finds("warn server db1: " + c.want + ": ")
			servertest.Exec(t, root, "SET GLOBAL "+c.name+" = "+quoted(old))
		}
		w.finds()
		servertest.Exec(t, root, "XA START 'x'", "INSERT INTO d.t VALUES (2)", "XA END 'x'", "XA PREPARE 'x'", "XA COMMIT 'x'")
		w.finds("FAIL server db1: replay: 2 XA statements")
	})
}

func quoted(value string) string {
	if strings.Trim(value, "0123456789") == "" {
		return value
	}
	return "'" + value + "'"
}

// follow archives until stop is called.
func follow(t *testing.T, i *server.Instance, l repository.Location) (stop func()) {
	t.Helper()
	r, err := repository.Open(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- archive.Follow(ctx, archive.Options{Set: "s", Server: archive.Server{DSN: i.DSN("")}, Repository: r, Flush: 20 * time.Millisecond, MaxWait: time.Second})
	}()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// What a server can only be started with: no log, and a log without some of the
// changes.
func TestStartedWrongly(t *testing.T) {
	for _, flavor := range []server.Flavor{server.MySQL, server.MariaDB} {
		t.Run(string(flavor), func(t *testing.T) {
			d := servertest.Of(t, flavor)
			for _, c := range []struct{ arg, want string }{
				{"--skip-log-bin", "FAIL server db1: binary log: it is off"},
				{"--binlog-ignore-db=d", "FAIL server db1: binary log: it has no changes of d"},
			} {
				i := start(t, d, c.arg)
				w := &world{t, check.Options{Set: "s", Servers: []check.Server{member("db1", i.DSN(""))}}}
				w.finds(c.want)
			}
		})
	}
}

func newKey(t *testing.T) (recipient, path string) {
	t.Helper()
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(key.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return key.Recipient().String(), path
}

// TestPlaces: a directory and a bucket that are well leave nothing to be looked
// at, and nothing in them; and whatever is wrong with one shows.
func TestPlaces(t *testing.T) {
	recipient, key := newKey(t)
	_, other := newKey(t)
	for name, options := range map[string]func(t *testing.T) store.Options{
		"directory": func(t *testing.T) store.Options { return store.Options{URL: filepath.Join(t.TempDir(), "r")} },
		"bucket":    func(t *testing.T) store.Options { return storetest.Fake(t).Options(t) },
	} {
		t.Run(name, func(t *testing.T) {
			l := create(t, "main", options(t), recipient)
			w := &world{t: t, o: check.Options{Set: "s"}}
			with := func(change func(*repository.Location), want ...string) {
				t.Helper()
				changed := l
				change(&changed)
				w.o.Places = []check.Place{place(changed)}
				w.finds(want...)
			}
			with(func(*repository.Location) {})
			empty(t, l)
			with(func(l *repository.Location) { l.Identities = []string{key} })
			with(func(l *repository.Location) { l.Identities = []string{other} }, "FAIL repository main: encryption: ")
			with(func(l *repository.Location) { l.Recipients = nil }, "warn repository main: encryption: ")
			with(func(l *repository.Location) { l.Recipients = []string{"age1other"} }, "FAIL repository main: open: ")
			with(func(l *repository.Location) { l.URL += "x" }, "FAIL repository main: open: ")
			empty(t, l)
		})
	}
}

// empty demands that nothing is in a repository.
func empty(t *testing.T, l repository.Location) {
	t.Helper()
	r, err := repository.Open(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	for e, err := range r.List(t.Context(), "") {
		t.Errorf("there is %s, %v", e.Name, err)
	}
}

// What an S3 server or its account can have wrong shows.
func TestBuckets(t *testing.T) {
	s := storetest.Fake(t)
	l := create(t, "main", s.Options(t))
	w := &world{t: t, o: check.Options{Set: "s", Places: []check.Place{place(l)}}}
	failures := 1
	isLease := func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/leases/") }
	for _, c := range []struct {
		fault storetest.Fault
		want  []string
	}{
		{func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			r.Header.Del("If-None-Match")
			next.ServeHTTP(w, r)
		}, []string{"FAIL repository main: conditional writes: "}},
		{func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if storetest.IsPut(r) {
				storetest.Refuse(w, http.StatusForbidden, "AccessDenied")
				return
			}
			next.ServeHTTP(w, r)
		}, []string{"FAIL repository main: conditional writes: ", "FAIL repository main: objects: "}},
		{func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if storetest.IsGet(r) && isLease(r) {
				storetest.Refuse(w, http.StatusForbidden, "AccessDenied")
				return
			}
			next.ServeHTTP(w, r)
		}, []string{"FAIL repository main: objects: "}},
		{func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if !storetest.IsPut(r) && !storetest.IsGet(r) {
				storetest.Refuse(w, http.StatusForbidden, "AccessDenied")
				return
			}
			next.ServeHTTP(w, r)
		}, []string{"FAIL repository main: objects: "}}, // neither list nor delete
		{func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if r.Method == http.MethodDelete {
				storetest.Refuse(w, http.StatusForbidden, "AccessDenied")
				return
			}
			next.ServeHTTP(w, r)
		}, nil},
		{func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if storetest.IsPut(r) && failures > 0 {
				failures--
				storetest.Refuse(w, http.StatusInternalServerError, "InternalError")
				return
			}
			next.ServeHTTP(w, r)
		}, nil}, // the second try cannot tell the first one's marker from the old one
		{func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			storetest.Refuse(w, http.StatusForbidden, "RequestTimeTooSkewed")
		}, []string{"FAIL repository main: open: repository main (" + l.URL + "): get: RequestTimeTooSkewed"}},
	} {
		s.Break(c.fault)
		w.finds(c.want...)
	}
	s.Break(nil)
	hour := storetest.Fake(t, s3mem.WithTimeSource(gofakes3.FixedTimeSource(time.Now().Add(-time.Hour))))
	w.o.Places[0] = place(create(t, "main", hour.Options(t)))
	w.finds("FAIL repository main: clock: the repository's clock is")
}

// A directory on a disk that is full shows.
func TestFull(t *testing.T) {
	disk := smalldisk.Mount(t, 200<<10)
	w := &world{t: t, o: check.Options{Set: "s", Places: []check.Place{place(create(t, "near", store.Options{URL: filepath.Join(disk, "r")}))}}}
	w.finds("FAIL repository near: space: ")
}
