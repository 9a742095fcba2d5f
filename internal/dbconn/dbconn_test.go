package dbconn_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

func TestConfig(t *testing.T) {
	for _, test := range []struct {
		dsn  string
		fail bool
	}{
		{"root@unix(/run/mysqld/mysqld.sock)/", false},
		{"root:secret@tcp(127.0.0.1:3306)/some_database?parseTime=true&multiStatements=true&interpolateParams=false&maxAllowedPacket=1000&loc=Local", false},
		{"root@tcp(db:3306)", true},
		{"://", true},
	} {
		cfg, err := dbconn.Config(test.dsn)
		if (err != nil) != test.fail {
			t.Errorf("%s: %v", test.dsn, err)
		}
		if err != nil {
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the error shows the password: %v", err)
			}
			continue
		}
		if cfg.DBName != "" || cfg.MultiStatements || !cfg.InterpolateParams || cfg.MaxAllowedPacket != 0 || cfg.Loc != time.UTC || cfg.ParseTime || cfg.Timeout == 0 {
			t.Errorf("%s: %+v", test.dsn, cfg)
		}
	}
}

func open(t *testing.T, i *server.Instance, change func(*mysql.Config)) *sql.DB {
	t.Helper()
	cfg, err := dbconn.Config(i.DSN(""))
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(cfg)
	}
	db, err := dbconn.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestRealServers(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		i := servertest.Start(t, d, "--server-id=42")
		db := open(t, i, nil)
		t.Run("identify", func(t *testing.T) { testIdentify(t, d, db) })
		t.Run("classify", func(t *testing.T) { testClassify(t, i, db) })
	})
}

func testIdentify(t *testing.T, d server.Distribution, db *sql.DB) {
	s, err := dbconn.Identify(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	want := map[server.Flavor]gtid.Flavor{server.MySQL: gtid.MySQL, server.MariaDB: gtid.MariaDB}[d.Flavor]
	var major, minor int
	_, _ = fmt.Sscanf(d.Version, "%d.%d", &major, &minor)
	if s.Flavor != want || s.Major != major || s.Minor != minor || s.ServerID != 42 || !strings.HasSuffix(s.String(), d.Version) {
		t.Errorf("%+v, %s; the program is %s %s", s, s, d.Flavor, d.Version)
	}
	if !s.AtLeast(major, minor) || s.AtLeast(major, minor+1) || s.AtLeast(major+1, 0) || !s.AtLeast(major-1, 99) {
		t.Errorf("%d.%d is compared wrongly", major, minor)
	}
	if v, err := dbconn.Variable(t.Context(), db, "SERVER_ID"); v != "42" || err != nil {
		t.Errorf("server_id is %q, %v", v, err)
	}
	if _, err := dbconn.Variable(t.Context(), db, "no_such_variable"); !errors.Is(err, dbconn.ErrNoVariable) {
		t.Errorf("%v, want %v", err, dbconn.ErrNoVariable)
	}
	pairs, err := dbconn.Pairs(t.Context(), db, "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('server_id', 'no_such_variable')")
	if err != nil || !maps.Equal(pairs, map[string]string{"server_id": "42"}) {
		t.Errorf("%v, %v", pairs, err)
	}
	if pairs, err := dbconn.Pairs(t.Context(), db, "SELECT 'null', NULL"); err != nil || !maps.Equal(pairs, map[string]string{"null": ""}) {
		t.Errorf("%v, %v", pairs, err)
	}
	for _, query := range []string{"SELECT", "SELECT 1"} {
		if pairs, err := dbconn.Pairs(t.Context(), db, query); err == nil {
			t.Errorf("%s: %v", query, pairs)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s, err := dbconn.Identify(ctx, db); err == nil {
		t.Errorf("%+v without a connection", s)
	}
}

func TestQuoteName(t *testing.T) {
	if got := dbconn.QuoteName("a`b", "c"); got != "`a``b`.`c`" {
		t.Error(got)
	}
}

// TestClassifyOurOwnErrors: what is not the server's word and not the
// network's is no lost connection: trying again on a new one would not help.
func TestClassifyOurOwnErrors(t *testing.T) {
	for _, test := range []struct {
		err  error
		want dbconn.Class
	}{
		{errors.New("a defect"), dbconn.Fatal},
		{fmt.Errorf("short row image: %w", io.ErrShortWrite), dbconn.Fatal},
		{context.Canceled, dbconn.Fatal},
		{fmt.Errorf("apply: %w", context.DeadlineExceeded), dbconn.Fatal},
		{mysql.ErrPktTooLarge, dbconn.Fatal},
		{sql.ErrNoRows, dbconn.Fatal},
		{driver.ErrBadConn, dbconn.Connection},
		{fmt.Errorf("apply: %w", mysql.ErrInvalidConn), dbconn.Connection},
		{sql.ErrConnDone, dbconn.Connection},
		{io.ErrUnexpectedEOF, dbconn.Connection},
		{io.EOF, dbconn.Connection},
		{&net.OpError{Op: "read", Err: errors.New("connection reset by peer")}, dbconn.Connection},
		{mysql.ErrMalformPkt, dbconn.Connection},
		{&mysql.MySQLError{Number: 1030, Message: `Got error 28 "No space left on device" from storage engine InnoDB`}, dbconn.Full},
		{&mysql.MySQLError{Number: 1030, Message: `Got error 127 "Record has been deleted" from storage engine`}, dbconn.Fatal},
		{&mysql.MySQLError{Number: 1026, Message: `Error writing file 'x' (OS errno 28 - No space left on device)`}, dbconn.Full},
		{&mysql.MySQLError{Number: 3, Message: `Error writing file 'x' (OS errno 28 - No space left on device)`}, dbconn.Full},
		{&mysql.MySQLError{Number: 3675, Message: `Create table/tablespace 'verify2' failed, as disk is full`}, dbconn.Full},
		{&mysql.MySQLError{Number: 1041, Message: "Out of memory"}, dbconn.Fatal},
		{&mysql.MySQLError{Number: 1053, Message: "Server shutdown in progress"}, dbconn.Connection},
		{&mysql.MySQLError{Number: 4031, Message: "The client was disconnected by the server because of inactivity"}, dbconn.Connection},
	} {
		if got := dbconn.Classify(test.err); got != test.want {
			t.Errorf("%v: class %d, want %d", test.err, got, test.want)
		}
	}
}

// testClassify makes servers give the errors.
func testClassify(t *testing.T, i *server.Instance, db *sql.DB) {
	servertest.Exec(t, db, "CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY, b INT UNIQUE)", "INSERT INTO d.t VALUES (1, 1), (2, 2), (3, 3)",
		"CREATE USER nobody@localhost IDENTIFIED BY 'x'", "CREATE USER reader@localhost", "GRANT SELECT ON d.* TO reader@localhost")
	for _, test := range []struct {
		name string
		want dbconn.Class
		make func(t *testing.T) error
	}{
		{"deadlock", dbconn.Retry, func(t *testing.T) error { return deadlock(t, db) }},
		{"lock timeout", dbconn.Retry, func(t *testing.T) error { return lockTimeout(t, db) }},
		{"duplicate primary key", dbconn.Conflict, exec(db, "INSERT INTO d.t VALUES (1, 9)")},
		{"duplicate key", dbconn.Conflict, exec(db, "INSERT INTO d.t VALUES (9, 1)")},
		{"syntax", dbconn.Fatal, exec(db, "SELEKT 1")},
		{"no such table", dbconn.Fatal, exec(db, "SELECT * FROM d.none")},
		{"wrong password", dbconn.Privilege, exec(open(t, i, func(c *mysql.Config) { c.User, c.Passwd = "nobody", "y" }), "SELECT 1")},
		{"no such account", dbconn.Privilege, exec(open(t, i, func(c *mysql.Config) { c.User = "nonsense" }), "SELECT 1")},
		{"may not write", dbconn.Privilege, exec(open(t, i, func(c *mysql.Config) { c.User = "reader" }), "DELETE FROM d.t")},
		{"may not see the database", dbconn.Privilege, exec(open(t, i, func(c *mysql.Config) { c.User = "reader" }), "CREATE DATABASE e")},
		{"may not set", dbconn.Privilege, exec(open(t, i, func(c *mysql.Config) { c.User = "reader" }), "SET GLOBAL max_connections = 100")},
		{"killed connection", dbconn.Connection, func(t *testing.T) error { return killed(t, db, "KILL %d") }},
		{"killed while it ran", dbconn.Connection, func(t *testing.T) error { return killedRunning(t, db) }},
		{"nobody listens", dbconn.Connection, exec(open(t, i, func(c *mysql.Config) { c.Addr += "x" }), "SELECT 1")},
		{"too large for the server", dbconn.Fatal, exec(db, "SELECT '"+strings.Repeat("x", 70<<20)+"'")},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.make(t)
			if got := dbconn.Classify(err); err == nil || got != test.want {
				t.Errorf("class %d, want %d: %.200v (%T)", got, test.want, err, errors.Unwrap(err))
			}
		})
	}
	// Last, because the server is gone then.
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := i.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.ExecContext(t.Context(), "SELECT 1"); dbconn.Classify(err) != dbconn.Connection {
		t.Errorf("the server died: class %d: %v", dbconn.Classify(err), err)
	}
	_ = conn.Close()
}

func exec(db *sql.DB, statement string) func(*testing.T) error {
	return func(t *testing.T) error {
		_, err := db.ExecContext(t.Context(), statement)
		return err
	}
}

func connect(t *testing.T, db *sql.DB) *sql.Conn {
	t.Helper()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func must(t *testing.T, conn *sql.Conn, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := conn.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func deadlock(t *testing.T, db *sql.DB) error {
	a, b := connect(t, db), connect(t, db)
	must(t, a, "BEGIN", "UPDATE d.t SET b = 11 WHERE a = 1")
	must(t, b, "BEGIN", "UPDATE d.t SET b = 12 WHERE a = 2")
	waiting := make(chan error, 1)
	go func() {
		_, err := a.ExecContext(t.Context(), "UPDATE d.t SET b = 21 WHERE a = 2")
		waiting <- err
	}()
	_, err := b.ExecContext(t.Context(), "UPDATE d.t SET b = 22 WHERE a = 1")
	if first := <-waiting; err == nil {
		err = first
	}
	must(t, a, "ROLLBACK")
	must(t, b, "ROLLBACK")
	return err
}

func lockTimeout(t *testing.T, db *sql.DB) error {
	a, b := connect(t, db), connect(t, db)
	must(t, a, "BEGIN", "UPDATE d.t SET b = 11 WHERE a = 1")
	must(t, b, "SET innodb_lock_wait_timeout = 1", "BEGIN")
	_, err := b.ExecContext(t.Context(), "UPDATE d.t SET b = 12 WHERE a = 1")
	must(t, a, "ROLLBACK")
	must(t, b, "ROLLBACK")
	return err
}

func killed(t *testing.T, db *sql.DB, kill string) error {
	conn := connect(t, db)
	var id int
	if err := conn.QueryRowContext(t.Context(), "SELECT CONNECTION_ID()").Scan(&id); err != nil {
		t.Fatal(err)
	}
	must(t, connect(t, db), fmt.Sprintf(kill, id))
	time.Sleep(50 * time.Millisecond)
	_, err := conn.ExecContext(t.Context(), "SELECT 1")
	return err
}

// killedRunning kills a connection while it executes a statement.
func killedRunning(t *testing.T, db *sql.DB) error {
	conn := connect(t, db)
	var id int
	if err := conn.QueryRowContext(t.Context(), "SELECT CONNECTION_ID()").Scan(&id); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := conn.ExecContext(t.Context(), "UPDATE d.t SET b = b + SLEEP(20)")
		done <- err
	}()
	time.Sleep(200 * time.Millisecond)
	must(t, connect(t, db), fmt.Sprintf("KILL %d", id))
	err := <-done
	if _, after := conn.ExecContext(t.Context(), "SELECT 1"); dbconn.Classify(after) != dbconn.Connection {
		t.Errorf("the connection lives on: %v", after)
	}
	t.Logf("%v", err)
	return err
}
