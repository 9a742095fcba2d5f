package clone_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/lifeboat-db/lifeboat/internal/backup/clone"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// child is the variable that makes the test's program the clone that is killed:
// it has the data source name.
const child = "LIFEBOAT_TEST_CLONE"

func TestMain(m *testing.M) {
	if dsn := os.Getenv(child); dsn != "" {
		beKilled(dsn)
	}
	os.Exit(m.Run())
}

// beKilled says that data has come, and takes no more of it.
func beKilled(dsn string) {
	_, err := clone.Take(context.Background(), clone.Options{DSN: dsn}, &tap{w: io.Discard, data: func() error {
		fmt.Println("data")
		select {}
	}})
	fmt.Println(err)
	os.Exit(1)
}

// verbose has the donor tell what becomes of a clone.
const verbose = "--log-error-verbosity=3"

// waits is what a donor says that keeps a snapshot for a recipient to come back.
const waits = "for restart after n/w error"

// free shows that the donor can be cloned, at once.
func free(t *testing.T, i *server.Instance) {
	t.Helper()
	var b bytes.Buffer
	if _, err := take(t.Context(), i, &b); err != nil {
		t.Errorf("the next clone: %v", err)
	}
	if _, err := clone.Check(&b); err != nil {
		t.Errorf("the next clone: %v", err)
	}
}

// at returns a function that does something at the n-th block of data.
func at(n int, do func() error) func() error {
	return func() error {
		if n--; n == 0 {
			return do()
		}
		return nil
	}
}

var errFull = errors.New("no space left")

// TestGivesUp: a clone that ends on our side, by an error or by its context, tells
// the donor, which lets the snapshot go.
func TestGivesUp(t *testing.T) {
	source := donor(t, verbose)
	for _, n := range []int{1, 5, 40} {
		ctx, cancel := context.WithCancel(t.Context())
		for _, c := range []struct {
			name string
			do   func() error
			want error
		}{
			{"the stream cannot be written", func() error { return errFull }, errFull},
			{"cancelled", func() error { cancel(); return nil }, context.Canceled},
		} {
			_, err := take(ctx, source, &tap{w: io.Discard, data: at(n, c.do)})
			if !errors.Is(err, c.want) {
				t.Errorf("%s at block %d: %v", c.name, n, err)
			}
			free(t, source)
		}
		cancel()
	}
	if strings.Contains(errorLog(t, source), waits) {
		t.Error("the donor kept a snapshot for a recipient that has given up")
	}
}

// TestKilled: after a kill -9 of ours the donor keeps the snapshot for a while, but
// the next clone ends that.
func TestKilled(t *testing.T) {
	source := donor(t, verbose)
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), child+"="+source.DSN(""))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 5)
	if _, err := io.ReadFull(out, line); err != nil || string(line) != "data\n" {
		t.Fatalf("%q, %v", line, err)
	}
	if _, err := take(t.Context(), source, io.Discard); !errors.Is(err, clone.ErrBusy) || fault.ClassOf(err) != fault.Busy {
		t.Errorf("a second clone beside one that runs: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	for !strings.Contains(errorLog(t, source), waits) {
		time.Sleep(20 * time.Millisecond)
	}
	free(t, source)
}

// TestDonorKilled: a donor that dies ends the clone, with an error, in each state.
func TestDonorKilled(t *testing.T) {
	for _, state := range []uint32{fileCopy, pageCopy, redoCopy} {
		source := donor(t)
		var b bytes.Buffer
		_, err := take(t.Context(), source, &tap{w: &b, begin: func(s uint32) {
			if s == state {
				_ = source.Kill()
			}
		}})
		if err == nil {
			t.Errorf("state %d: a clone of a dead donor", state)
		}
		t.Logf("state %d: %v", state, err)
		if _, err := clone.Check(&b); !errors.Is(err, clone.ErrTruncated) {
			t.Errorf("state %d: the stream: %v", state, err)
		}
	}
}

// TestNetwork: a connection that is cut, and one that falls silent, end the clone.
func TestNetwork(t *testing.T) {
	source := donor(t)
	for name, silent := range map[string]bool{"cut": false, "silent": true} {
		for _, limit := range []int64{100 << 10, 20 << 20} {
			p := newProxy(t, source, limit, silent)
			_, err := clone.Take(t.Context(), clone.Options{DSN: fmt.Sprintf("root@tcp(%s)/", p), Silence: time.Second}, io.Discard)
			if err == nil {
				t.Errorf("%s after %d bytes: no error", name, limit)
			}
			t.Logf("%s after %d bytes: %v", name, limit, err)
			free(t, source)
		}
	}
}

// newProxy lets limit bytes come from a server, over all connections, and then
// closes them, or says nothing any more.
func newProxy(t *testing.T, i *server.Instance, limit int64, silent bool) (address string) {
	t.Helper()
	servertest.Exec(t, servertest.Open(t, i, ""), "CREATE USER IF NOT EXISTS root@'127.0.0.1'", "GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			up, err := (&net.Dialer{}).Dial("tcp", fmt.Sprintf("127.0.0.1:%d", i.Port()))
			if err != nil {
				return
			}
			t.Cleanup(func() { client.Close(); up.Close() })
			go func() { _, _ = io.Copy(up, client) }()
			go func() {
				_, _ = io.CopyN(client, up, limit)
				if !silent {
					client.Close()
					up.Close()
				}
			}()
		}
	}()
	return l.Addr().String()
}

// TestRefusals: what cannot be cloned is refused, with the next step.
func TestRefusals(t *testing.T) {
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	if err := os.Mkdir(elsewhere, 0o750); err != nil {
		t.Fatal(err)
	}
	source := donor(t, "--innodb-directories="+elsewhere)
	db := servertest.Open(t, source, "")
	servertest.Exec(t, db, "CREATE DATABASE d")
	for user, grants := range map[string]string{"nothing": "", "no_backup": "REPLICATION CLIENT", "no_position": "BACKUP_ADMIN", "enough": "BACKUP_ADMIN, REPLICATION CLIENT"} {
		servertest.Exec(t, db, fmt.Sprintf("CREATE USER %s@localhost IDENTIFIED BY 'x'", user))
		if grants != "" {
			servertest.Exec(t, db, fmt.Sprintf("GRANT %s ON *.* TO %s@localhost", grants, user))
		}
	}
	as := func(user, password string) string {
		return fmt.Sprintf("%s:%s@unix(%s)/", user, password, source.Socket())
	}
	root := source.DSN("")
	for _, c := range []struct {
		name    string
		prepare []string
		dsn     string
		want    error
		class   fault.Class
	}{
		{"no privilege", nil, as("nothing", "x"), clone.ErrDenied, fault.Storage},
		{"no BACKUP_ADMIN", nil, as("no_backup", "x"), clone.ErrDenied, fault.Storage},
		{"no REPLICATION CLIENT", nil, as("no_position", "x"), clone.ErrDenied, fault.Storage},
		{"a wrong password", nil, as("enough", "y"), clone.ErrDenied, fault.Storage},
		{"enough", nil, as("enough", "x"), nil, 0},
		{"a table outside", []string{"CREATE TABLE d.outside (a INT) DATA DIRECTORY = '" + elsewhere + "'"}, root, clone.ErrUnsupported, fault.Refused},
		{"none any more", []string{"DROP TABLE d.outside"}, root, nil, 0},
		{"no plugin", []string{"UNINSTALL PLUGIN clone"}, root, clone.ErrNoPlugin, fault.Refused},
	} {
		for _, statement := range c.prepare {
			prepare(t, db, statement)
		}
		_, err := clone.Take(t.Context(), clone.Options{DSN: c.dsn}, io.Discard)
		if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) || err != nil && fault.ClassOf(err) != c.class {
			t.Errorf("%s: %v, want %v of class %d", c.name, err, c.want, c.class)
		}
		t.Logf("%s: %v", c.name, err)
	}
}

// prepare executes a statement, once the server has let go of the plugin: it does
// so when the sessions of clones that have ended are gone, some time later.
func prepare(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	for {
		_, err := db.ExecContext(t.Context(), statement)
		if err == nil {
			return
		}
		var e *mysql.MySQLError
		if !errors.As(err, &e) || e.Number != 1883 { // ER_PLUGIN_CANNOT_BE_UNINSTALLED
			t.Fatalf("%v\n\t%s", err, statement)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestHoldRefused: without GTIDs commits have to wait for a moment. An account that
// may not do that is told so. DDL that waits for the end of PAGE COPY keeps them
// from being held: the clone is given up, and the DDL goes on.
func TestHoldRefused(t *testing.T) {
	source := donor(t, anonymous...)
	db := servertest.Open(t, source, "")
	servertest.Exec(t, db, "CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY, b INT)", "INSERT INTO d.t VALUES (1, 1)",
		"CREATE USER b@localhost", "GRANT BACKUP_ADMIN, REPLICATION CLIENT ON *.* TO b@localhost")
	o := clone.Options{DSN: fmt.Sprintf("b@unix(%s)/", source.Socket()), DDLTimeout: time.Second}
	if _, err := clone.Take(t.Context(), o, io.Discard); !errors.Is(err, clone.ErrDenied) || fault.ClassOf(err) != fault.Storage || !strings.Contains(err.Error(), "RELOAD") {
		t.Errorf("without RELOAD: %v", err)
	}
	servertest.Exec(t, db, "GRANT RELOAD ON *.* TO b@localhost")
	if taken, err := clone.Take(t.Context(), o, io.Discard); err != nil || !taken.Exact() || taken.Held == 0 {
		t.Errorf("with RELOAD: %+v, %v", taken, err)
	}
	rebuilt := make(chan error, 1)
	_, err := clone.Take(t.Context(), o, &tap{w: io.Discard, begin: func(state uint32) {
		if state != pageCopy {
			return
		}
		go func() {
			_, err := db.ExecContext(t.Context(), "ALTER TABLE d.t ENGINE=InnoDB")
			rebuilt <- err
		}()
		for ask(t, db, "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE = 'Waiting for clone PAGE_COPY state'") == "0" {
			time.Sleep(10 * time.Millisecond)
		}
	}})
	if !errors.Is(err, clone.ErrBusy) || fault.ClassOf(err) != fault.Busy {
		t.Errorf("beside DDL that waits: %v", err)
	}
	if err := <-rebuilt; err != nil {
		t.Error(err)
	}
	servertest.Exec(t, db, "INSERT INTO d.t VALUES (2, 2)")
	free(t, source)
}

// TestMariaDB: it has no clone plugin.
func TestMariaDB(t *testing.T) {
	i := servertest.Start(t, servertest.Of(t, server.MariaDB))
	if _, err := take(t.Context(), i, io.Discard); !errors.Is(err, clone.ErrUnsupported) || fault.ClassOf(err) != fault.Refused {
		t.Error(err)
	}
}

// TestOptions: those that cannot be.
func TestOptions(t *testing.T) {
	for _, o := range []clone.Options{{DDLTimeout: -1}, {DDLTimeout: time.Millisecond}, {DDLTimeout: 25 * time.Hour}, {Silence: -1}, {DSN: "?"}} {
		if _, err := clone.Take(t.Context(), o, io.Discard); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
}
