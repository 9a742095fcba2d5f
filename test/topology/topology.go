// Package topology gives tests real servers that replicate from one another,
// gone when the test is.
package topology

import (
	"database/sql"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// Node is one server with a pool of connections as root.
type Node struct {
	*server.Instance
	DB *sql.DB
	ID int // server_id
}

// Args are the options every node gets: a binary log, GTIDs, the updates of its
// sources logged, little memory.
func Args(d server.Distribution, id int) []string {
	args := []string{
		"--server-id=" + strconv.Itoa(id), "--log-bin=bin", "--innodb-buffer-pool-size=16M",
		"--relay-log=relay", "--max-connections=40",
	}
	if d.Flavor == server.MariaDB {
		return append(args, "--log-slave-updates", "--innodb-log-file-size=8M")
	}
	return append(args, "--gtid-mode=ON", "--enforce-gtid-consistency=ON", "--performance-schema=ON",
		"--innodb-redo-log-capacity=16M")
}

// Start starts a server that takes writes. Further options come last.
func Start(t testing.TB, d server.Distribution, id int, args ...string) *Node {
	t.Helper()
	i := servertest.Start(t, d, append(Args(d, id), args...)...)
	return &Node{Instance: i, DB: servertest.Open(t, i, ""), ID: id}
}

// MariaDB reports the node's vendor.
func (n *Node) MariaDB() bool { return n.Distribution().Flavor == server.MariaDB }

// Exec runs statements as root on one connection.
func (n *Node) Exec(t testing.TB, statements ...string) {
	t.Helper()
	servertest.Exec(t, n.DB, statements...)
}

// Query returns the first column of the first row.
func (n *Node) Query(t testing.TB, query string) (value string) {
	t.Helper()
	if err := n.DB.QueryRowContext(t.Context(), query).Scan(&value); err != nil {
		t.Fatalf("%v\n\t%s", err, query)
	}
	return value
}

// Pair is a source and a proven replica of it.
func Pair(t testing.TB, d server.Distribution, replicaArgs ...string) (source, replica *Node) {
	t.Helper()
	source = Start(t, d, 1)
	replica = Start(t, d, 2, replicaArgs...)
	replica.Follow(t, source)
	return source, replica
}

// Follow makes the node a read-only replica of a source and waits until it has
// everything.
func (n *Node) Follow(t testing.TB, source *Node) {
	t.Helper()
	n.Attach(t, source)
	n.Await(t, source)
}

// Attach makes the node a read-only replica and does not wait for data. options
// are further clauses of CHANGE MASTER or CHANGE REPLICATION SOURCE, such as
// "SOURCE_DELAY=60".
func (n *Node) Attach(t testing.TB, source *Node, options ...string) {
	t.Helper()
	n.AttachPort(t, source.Port(), options...)
}

// AttachPort is Attach to a source of which only the port is known.
func (n *Node) AttachPort(t testing.TB, port int, options ...string) {
	t.Helper()
	clauses := []string{"MASTER_HOST='127.0.0.1'", fmt.Sprintf("MASTER_PORT=%d", port), "MASTER_USER='root'", "MASTER_CONNECT_RETRY=1"}
	command := "CHANGE MASTER TO "
	if n.MariaDB() {
		clauses = append(clauses, "MASTER_USE_GTID=slave_pos", "MASTER_SSL_VERIFY_SERVER_CERT=0")
	} else {
		command = "CHANGE REPLICATION SOURCE TO "
		for i := range clauses {
			clauses[i] = strings.Replace(clauses[i], "MASTER", "SOURCE", 1)
		}
		clauses = append(clauses, "SOURCE_AUTO_POSITION=1", "GET_SOURCE_PUBLIC_KEY=1")
	}
	n.Exec(t, command+strings.Join(append(clauses, options...), ", "))
	n.ReadOnly(t, true)
	n.StartReplication(t)
}

// ReadOnly sets what keeps clients from writing.
func (n *Node) ReadOnly(t testing.TB, on bool) {
	t.Helper()
	value := "OFF"
	if on {
		value = "ON"
	}
	n.Exec(t, "SET GLOBAL read_only="+value)
	if !n.MariaDB() {
		n.Exec(t, "SET GLOBAL super_read_only="+value)
	}
}

// word is what this node's vendor calls a replica.
func (n *Node) word() string {
	if n.MariaDB() {
		return "SLAVE"
	}
	return "REPLICA"
}

// StartReplication starts both threads and waits until they run.
func (n *Node) StartReplication(t testing.TB) {
	t.Helper()
	n.Exec(t, "START "+n.word())
	n.AwaitThreads(t, "Yes", "Yes")
}

// StopReplication stops threads: "" both, "IO_THREAD", "SQL_THREAD".
func (n *Node) StopReplication(t testing.TB, thread string) {
	t.Helper()
	n.Exec(t, "STOP "+n.word()+" "+thread)
}

// Status is one row of SHOW SLAVE STATUS by column name, in MySQL's new words
// (Replica_IO_Running, Source_Host); nil if there is none.
func (n *Node) Status(t testing.TB) map[string]string {
	t.Helper()
	rows, err := n.DB.QueryContext(t.Context(), "SHOW "+n.word()+" STATUS")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		return nil
	}
	cells, targets := make([]sql.NullString, len(columns)), make([]any, len(columns))
	for i := range cells {
		targets[i] = &cells[i]
	}
	if err := rows.Scan(targets...); err != nil {
		t.Fatal(err)
	}
	status := map[string]string{}
	for i, c := range columns {
		c = strings.Replace(strings.Replace(c, "Slave", "Replica", 1), "Master", "Source", 1)
		status[c] = cells[i].String
	}
	return status
}

// AwaitThreads waits until the receiver's and the applier's states are these.
func (n *Node) AwaitThreads(t testing.TB, io, sql string) {
	t.Helper()
	Eventually(t, func() error {
		s := n.Status(t)
		if s["Replica_IO_Running"] != io || s["Replica_SQL_Running"] != sql {
			return fmt.Errorf("replication threads %s/%s, want %s/%s: %s %s", s["Replica_IO_Running"], s["Replica_SQL_Running"],
				io, sql, s["Last_IO_Error"], s["Last_SQL_Error"])
		}
		return nil
	})
}

// Await waits until the node has applied what the source has now.
func (n *Node) Await(t testing.TB, source *Node) {
	t.Helper()
	if n.MariaDB() {
		want := source.Query(t, "SELECT @@global.gtid_current_pos")
		if got := n.Query(t, "SELECT MASTER_GTID_WAIT('"+want+"', 30)"); got != "0" {
			t.Fatalf("replica did not reach %s", want)
		}
		return
	}
	want := source.Query(t, "SELECT @@global.gtid_executed")
	if got := n.Query(t, "SELECT WAIT_FOR_EXECUTED_GTID_SET('"+want+"', 30)"); got != "0" {
		t.Fatalf("replica did not reach %s", want)
	}
}

// Eventually tries for half a minute.
func Eventually(t testing.TB, try func() error) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
