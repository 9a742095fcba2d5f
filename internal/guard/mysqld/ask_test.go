package mysqld_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/guard/fact"
	"github.com/lifeboat-db/lifeboat/internal/guard/mysqld"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/test/topology"
)

func target(n *topology.Node) mysqld.Target {
	return mysqld.Target{Socket: n.Socket(), User: "root", PIDs: []int{n.PID()}}
}

func ask(t *testing.T, n *topology.Node) mysqld.State {
	t.Helper()
	s, err := mysqld.Ask(t.Context(), target(n))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func wantRole(t *testing.T, n *topology.Node, kind fact.Kind, role string) mysqld.State {
	t.Helper()
	s := ask(t, n)
	if gotKind, got, why := mysqld.Role(s); gotKind != kind || got != role {
		t.Errorf("%s %s (%s), want %s %s", gotKind, got, why, kind, role)
	}
	return s
}

// TestRoles walks one pair through what a server can be.
func TestRoles(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		source, replica := topology.Pair(t, d)
		source.Exec(t, "CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY) ENGINE=InnoDB", "INSERT INTO d.t VALUES (1)")
		replica.Await(t, source)
		t.Run("source", func(t *testing.T) { sourceState(t, source, replica) })
		t.Run("replica", func(t *testing.T) { replicaState(t, source, replica) })
		t.Run("writable", func(t *testing.T) { writable(t, replica) })
		t.Run("open write", func(t *testing.T) { openWrite(t, replica) })
		t.Run("threads", func(t *testing.T) { threads(t, source, replica) })
		t.Run("receiver looks for its source", func(t *testing.T) { connecting(t, source, replica) })
	})
}

func sourceState(t *testing.T, source, replica *topology.Node) {
	topology.Eventually(t, func() error {
		if s := ask(t, source); len(s.Replicas) != 1 || s.Dumps != 1 {
			return errors.New("replica not registered")
		}
		return nil
	})
	s := wantRole(t, source, fact.ServerSource, mysqld.RoleSource)
	if s.Replicas[0].ServerID != "2" || s.PID != source.PID() || s.ServerID != 1 || s.ReadOnly || s.Clients != 1 || s.Galera.On {
		t.Errorf("state: %+v", s)
	}
	if !source.MariaDB() && s.Replicas[0].UUID != replica.Query(t, "SELECT @@server_uuid") {
		t.Errorf("replica's UUID %s", s.Replicas[0].UUID)
	}
	if filepath.Base(s.LogIndex) != "bin.index" {
		t.Errorf("index of the binary log: %q", s.LogIndex)
	}
	if s.DataDir != source.DataDir()+"/" || !s.LogBin || !s.LogUpdates || s.Untracked != "" {
		t.Errorf("state: %+v", s)
	}
}

func replicaState(t *testing.T, source, replica *topology.Node) {
	s := wantRole(t, replica, fact.ServerReplica, mysqld.RoleReplica)
	if !s.ReadOnly || len(s.Channels) != 1 || s.Channels[0].SourceID != "1" || s.Channels[0].Lag != 0 {
		t.Errorf("state: %+v", s)
	}
	if of := ask(t, source); !of.Executed.Equal(s.Executed) || s.Executed.IsEmpty() {
		t.Errorf("source has %s, replica %s", of.Executed, s.Executed)
	}
	t.Logf("asked in %v", s.Took)
}

func writable(t *testing.T, replica *topology.Node) {
	if !replica.MariaDB() {
		replica.Exec(t, "SET GLOBAL super_read_only=OFF")
		wantRole(t, replica, fact.ServerSource, mysqld.RoleWritableReplica)
	}
	replica.ReadOnly(t, false)
	wantRole(t, replica, fact.ServerSource, mysqld.RoleWritableReplica)
	replica.ReadOnly(t, true)
	wantRole(t, replica, fact.ServerReplica, mysqld.RoleReplica)
}

// openWrite: a transaction that began while the server could be written to.
// MySQL's SET GLOBAL read_only waits for it; MariaDB's, too. A reader with row
// locks takes no part in that.
func openWrite(t *testing.T, replica *topology.Node) {
	tx, err := replica.DB.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	var a int
	if err := tx.QueryRowContext(t.Context(), "SELECT a FROM d.t").Scan(&a); err != nil {
		t.Fatal(err)
	}
	time.Sleep(150 * time.Millisecond) // INNODB_TRX is renewed every 100 ms
	if s := wantRole(t, replica, fact.ServerReplica, mysqld.RoleReplica); s.OpenTrx != 1 || s.WriteTrx != 0 {
		t.Errorf("reader: %d open, %d write", s.OpenTrx, s.WriteTrx)
	}
	if err := tx.QueryRowContext(t.Context(), "SELECT a FROM d.t FOR UPDATE").Scan(&a); err != nil {
		t.Skipf("this server refuses locks to readers: %v", err)
	}
	time.Sleep(150 * time.Millisecond)
	if s := wantRole(t, replica, fact.ServerSource, mysqld.RoleWritableReplica); s.WriteTrx != 1 {
		t.Errorf("%d write", s.WriteTrx)
	}
}

func threads(t *testing.T, source, replica *topology.Node) {
	for _, thread := range []string{"SQL_THREAD", "IO_THREAD", ""} {
		replica.StopReplication(t, thread)
		if thread == "SQL_THREAD" {
			source.Exec(t, "INSERT INTO d.t VALUES (2)")
		}
		wantRole(t, replica, fact.ServerSource, mysqld.RoleDetachedReplica)
		replica.StartReplication(t)
	}
	replica.Await(t, source)
	wantRole(t, replica, fact.ServerReplica, mysqld.RoleReplica)
}

func connecting(t *testing.T, source, replica *topology.Node) {
	if err := source.Kill(); err != nil {
		t.Fatal(err)
	}
	replica.AwaitThreads(t, "Connecting", "Yes")
	wantRole(t, replica, fact.ServerSource, mysqld.RoleDetachedReplica)
}

func TestIntermediateAndDelayed(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		source, middle := topology.Pair(t, d)
		leaf := topology.Start(t, d, 3)
		delay := "SOURCE_DELAY=60"
		if leaf.MariaDB() {
			delay = "MASTER_DELAY=60"
		}
		source.Exec(t, "CREATE DATABASE late")
		middle.Await(t, source)
		leaf.Attach(t, middle, delay)
		topology.Eventually(t, func() error {
			if s := ask(t, middle); s.Dumps != 1 || len(s.Replicas) != 1 {
				return errors.New("no replica yet")
			}
			return nil
		})
		wantRole(t, middle, fact.ServerSource, mysqld.RoleIntermediate)
		// A delayed replica is one; that it lacks transactions its GTIDs tell.
		s := wantRole(t, leaf, fact.ServerReplica, mysqld.RoleReplica)
		if of := ask(t, middle); s.Executed.ContainsSet(of.Executed) || s.Channels[0].Delay != "60" {
			t.Errorf("delayed replica has %s of %s, delay %s", s.Executed, of.Executed, s.Channels[0].Delay)
		}
	})
}

// TestAlone has what needs no replication: grants, accounts, hung servers.
func TestAlone(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		n := topology.Start(t, d, 7, "--skip-networking", "--max-connections=10")
		wantRole(t, n, fact.ServerSource, mysqld.RoleStandalone)
		t.Run("prepared XA", func(t *testing.T) { preparedXA(t, n) })
		t.Run("grants", func(t *testing.T) { grants(t, n) })
		t.Run("TLS", func(t *testing.T) { demandsTLS(t, n) })
		t.Run("socket account", func(t *testing.T) { socketAccount(t, n) })
		t.Run("writes", func(t *testing.T) { wroteMeanwhile(t, n) })
		t.Run("peer", func(t *testing.T) { peer(t, n) })
		t.Run("connections", func(t *testing.T) { exhausted(t, n) })
		t.Run("stopped", func(t *testing.T) { hung(t, n) })
	})
}

func preparedXA(t *testing.T, n *topology.Node) {
	n.Exec(t, "CREATE DATABASE x", "CREATE TABLE x.t (a INT PRIMARY KEY) ENGINE=InnoDB",
		"XA START 'k'", "INSERT INTO x.t VALUES (1)", "XA END 'k'", "XA PREPARE 'k'")
	if s := ask(t, n); s.PreparedXA != 1 {
		t.Errorf("%d prepared", s.PreparedXA)
	}
	n.DB.SetMaxIdleConns(0) // MariaDB leaves it to its connection
	topology.Eventually(t, func() error {
		_, err := n.DB.ExecContext(t.Context(), "XA ROLLBACK 'k'")
		return err
	})
}

// grants: each privilege that is missing is named in a statement which, run,
// makes the account sufficient.
func grants(t *testing.T, n *topology.Node) {
	n.Exec(t, "CREATE USER 'gu''ard'@localhost")
	as := target(n)
	as.User = "gu'ard"
	_, err := mysqld.Ask(t.Context(), as)
	var missing *mysqld.GrantError
	if !errors.As(err, &missing) {
		t.Fatalf("%v, want a GrantError", err)
	}
	statements := strings.Split(strings.TrimSuffix(missing.Statement, ";"), ";")
	n.Exec(t, statements...)
	if _, err := mysqld.Ask(t.Context(), as); err != nil {
		t.Errorf("after %s: %v", missing.Statement, err)
	}
	for _, privilege := range missing.Missing {
		on := privilege
		if !strings.Contains(on, " ON ") {
			on += " ON *.*"
		}
		n.Exec(t, "REVOKE "+on+" FROM 'gu''ard'@localhost")
		if _, err := mysqld.Ask(t.Context(), as); !errors.As(err, &missing) || len(missing.Missing) != 1 {
			t.Errorf("without %s: %v", privilege, err)
		}
		n.Exec(t, "GRANT "+on+" TO 'gu''ard'@localhost")
	}
	role(t, n)
}

// role: what a role gives counts when it is active, and only then.
func role(t *testing.T, n *topology.Node) {
	n.Exec(t, "CREATE ROLE guards", "GRANT "+strings.Join(mysqld.Needed(ask(t, n).Flavor), ", ")+" ON *.* TO guards", "CREATE USER r@localhost", "GRANT guards TO r@localhost")
	if !n.MariaDB() {
		n.Exec(t, "GRANT SELECT ON performance_schema.* TO guards")
	}
	as := target(n)
	as.User = "r"
	var missing *mysqld.GrantError
	if _, err := mysqld.Ask(t.Context(), as); !errors.As(err, &missing) {
		t.Errorf("role not active: %v", err)
	}
	word := "TO"
	if n.MariaDB() {
		word = "FOR"
	}
	n.Exec(t, "SET DEFAULT ROLE guards "+word+" r@localhost")
	if _, err := mysqld.Ask(t.Context(), as); err != nil {
		t.Errorf("role active: %v", err)
	}
}

func demandsTLS(t *testing.T, n *topology.Node) {
	if s := n.Query(t, tlsQuery(n)); s != "YES" {
		t.Skip("the server has no certificate")
	}
	n.Exec(t, "CREATE USER tls@localhost REQUIRE SSL", "GRANT ALL ON *.* TO tls@localhost")
	as := target(n)
	as.User = "tls"
	if _, err := mysqld.Ask(t.Context(), as); err != nil {
		t.Error(err)
	}
}

func tlsQuery(n *topology.Node) string {
	if n.MariaDB() {
		return "SELECT @@have_ssl"
	}
	return "SELECT 'YES'" // it makes a certificate of its own
}

func socketAccount(t *testing.T, n *topology.Node) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: the account is called like the Unix user")
	}
	if n.MariaDB() {
		n.Exec(t, "ALTER USER root@localhost IDENTIFIED VIA unix_socket")
	} else {
		n.Exec(t, "INSTALL PLUGIN auth_socket SONAME 'auth_socket.so'", "ALTER USER root@localhost IDENTIFIED WITH auth_socket")
	}
	wantRole(t, n, fact.ServerSource, mysqld.RoleStandalone)
}

func wroteMeanwhile(t *testing.T, n *topology.Node) {
	topology.Eventually(t, func() error { // InnoDB's own threads may write, too
		if ask(t, n).Moved {
			return errors.New("nobody writes, and it moves")
		}
		return nil
	})
	n.Exec(t, "INSERT INTO x.t VALUES (5)")
	done, stop := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				_, _ = n.DB.ExecContext(t.Context(), "UPDATE x.t SET a = a + 1")
			}
		}
	}()
	topology.Eventually(t, func() error {
		if !ask(t, n).Moved {
			return errors.New("nothing moved")
		}
		return nil
	})
	close(stop)
	<-done
}

func peer(t *testing.T, n *topology.Node) {
	as := target(n)
	as.PIDs = []int{1}
	if _, err := mysqld.Ask(t.Context(), as); !errors.Is(err, mysqld.ErrPeer) {
		t.Errorf("another process answers: %v", err)
	}
	as.Socket = filepath.Join(t.TempDir(), "none")
	if _, err := mysqld.Ask(t.Context(), as); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no socket: %v", err)
	}
	as = target(n)
	as.User = "nobody"
	if _, err := mysqld.Ask(t.Context(), as); !errors.Is(err, mysqld.ErrAccess) {
		t.Errorf("no account: %v", err)
	}
}

// exhausted: with all connections taken, one is left for an administrator; the
// canary does not get one.
func exhausted(t *testing.T, n *topology.Node) {
	n.DB.SetMaxIdleConns(40)
	for range 11 {
		conn, err := n.DB.Conn(t.Context())
		if err != nil {
			break
		}
		defer func() { _ = conn.Close() }()
	}
	if _, err := mysqld.Ask(t.Context(), target(n)); !errors.Is(err, mysqld.ErrConnections) {
		t.Errorf("%v", err)
	}
}

func hung(t *testing.T, n *topology.Node) {
	if err := syscall.Kill(n.PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(n.PID(), syscall.SIGCONT) }()
	as := target(n)
	as.Timeout = 300 * time.Millisecond
	start := time.Now()
	if _, err := mysqld.Ask(t.Context(), as); !errors.Is(err, mysqld.ErrHung) {
		t.Errorf("%v", err)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("took %v", took)
	}
}

// TestGroup is a group of one, before, while and after it is one.
func TestGroup(t *testing.T) {
	d := servertest.Of(t, server.MySQL)
	n := topology.Start(t, d, 9)
	if _, err := n.DB.ExecContext(t.Context(), "INSTALL PLUGIN group_replication SONAME 'group_replication.so'"); err != nil {
		t.Skipf("the plugin is not in this package: %v", err)
	}
	if s := wantRole(t, n, fact.ServerSource, mysqld.RoleStandalone); !s.Group.Loaded {
		t.Error("plugin not noticed")
	}
	n.Exec(t, "SET GLOBAL group_replication_group_name='aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee'")
	wantRole(t, n, fact.ServerSource, mysqld.RoleGroupMember)
	n.Exec(t, fmt.Sprintf("SET GLOBAL group_replication_local_address='127.0.0.1:%d'", freePort(t)),
		"SET GLOBAL group_replication_ip_allowlist='127.0.0.1'", "SET GLOBAL group_replication_bootstrap_group=ON")
	if _, err := n.DB.ExecContext(t.Context(), "START GROUP_REPLICATION"); err != nil {
		log, _ := os.ReadFile(n.ErrorLog())
		t.Skipf("a group of one cannot start here: %v\n%s", err, log)
	}
	if s := wantRole(t, n, fact.ServerSource, mysqld.RoleGroupMember); s.Group.State != "ONLINE" || s.Group.Role != "PRIMARY" || s.Group.Size != 1 {
		t.Errorf("%+v", s.Group)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// TestBackupLocks: locks of an export that is between two statements.
func TestBackupLocks(t *testing.T) {
	n := topology.Start(t, servertest.Of(t, server.MySQL), 10)
	if s := ask(t, n); len(s.Backups) != 0 {
		t.Errorf("nobody exports: %v", s.Backups)
	}
	n.Exec(t, "LOCK INSTANCE FOR BACKUP")
	if s := ask(t, n); len(s.Backups) != 1 {
		t.Errorf("LOCK INSTANCE FOR BACKUP not noticed: %v", s.Backups)
	}
}

// TestUntracked: what is written without a binary log has no GTID.
// TestFilters: GTIDs do not tell that a replica has left something out, nor that
// a server has something that is not in its log.
func TestFilters(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		source, replica := topology.Start(t, d, 1), topology.Start(t, d, 2, "--replicate-ignore-db=lost", "--binlog-ignore-db=own")
		replica.Exec(t, "CREATE DATABASE own")
		before := ask(t, replica)
		replica.Exec(t, "USE own", "CREATE TABLE own.t (a INT PRIMARY KEY)", "INSERT INTO own.t VALUES (1)")
		if s := ask(t, replica); !s.Executed.Equal(before.Executed) || s.Untracked == "" || !strings.Contains(s.LogFilter, "own") {
			t.Errorf("%s, then %s; %q, filter %q", before.Executed, s.Executed, s.Untracked, s.LogFilter)
		}
		replica.Exec(t, "DROP DATABASE own")
		if replica.MariaDB() {
			replica.Exec(t, "RESET MASTER")
		}
		replica.Follow(t, source)
		source.Exec(t, "CREATE DATABASE lost", "USE lost", "CREATE TABLE lost.t (a INT PRIMARY KEY)")
		replica.Await(t, source)
		s := ask(t, replica)
		if n := replica.Query(t, "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA='lost'"); n != "0" {
			t.Errorf("%s tables", n)
		}
		if len(s.Channels) != 1 || !strings.Contains(s.Channels[0].Filter, "lost") {
			t.Errorf("%+v", s.Channels)
		}
		if s := ask(t, source); s.Untracked != "" || s.LogFilter != "" {
			t.Errorf("no filters: %q %q", s.Untracked, s.LogFilter)
		}
	})
}

func TestUntracked(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		i := servertest.Start(t, d)
		s, err := mysqld.Ask(t.Context(), mysqld.Target{Socket: i.Socket(), User: "root"})
		if err != nil || s.Untracked == "" || s.LogBin {
			t.Errorf("%q %v %v", s.Untracked, s.LogBin, err)
		}
	})
}

// TestSkipGrants: a server that checks no passwords cannot say what an account
// may see.
func TestSkipGrants(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		n := topology.Start(t, d, 8, "--skip-grant-tables")
		if s, err := mysqld.Ask(t.Context(), target(n)); err == nil {
			t.Errorf("answered: %+v", s)
		}
	})
}
