package guard

import (
	"bufio"
	"database/sql"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lifeboat-db/lifeboat/internal/guard/agent"
	"github.com/lifeboat-db/lifeboat/internal/guard/gate"
	"github.com/lifeboat-db/lifeboat/internal/guard/interlock"
	"github.com/lifeboat-db/lifeboat/internal/guard/interlock/etcdtest"
	"github.com/lifeboat-db/lifeboat/internal/guard/seal"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/test/topology"
)

const setName = "orders"

func manifestKeys(t testing.TB) []seal.Key {
	t.Helper()
	public, err := seal.ParseKey(publicLine(keyOf("alice")))
	if err != nil {
		t.Fatal(err)
	}
	return []seal.Key{{Name: "alice", Roles: []string{interlock.ManifestRole}, PublicKey: public}}
}

// trio is a machine with a guard in a set of three, each with a real server,
// and a real etcd.
type trio struct {
	*machine
	etcd            *etcdtest.Server // nil if there are three
	three           *etcdtest.Trio
	conn            net.Conn
	in              *json.Decoder
	source, replica *sql.DB // the other machines' servers
	ports           [2]int
	own             *topology.Node // the machine's own server
}

// newTrio starts all three: the machine's own server is a replica. With a
// network etcd has three servers, each in a network namespace.
func newTrio(t *testing.T, d server.Distribution, network bool) *trio {
	m := newMachine(t, d)
	x := &trio{machine: m}
	var endpoints []string
	if network {
		x.three = etcdtest.StartTrio(t)
		endpoints = x.three.Endpoints()
	} else {
		// In memory: etcd syncs every change, and the machines keep the disk busy.
		memory := m.dir + "/etcd"
		if err := os.Mkdir(memory, 0o700); err != nil {
			t.Fatal(err)
		}
		m.run("mount", "-t", "tmpfs", "none", memory)
		t.Cleanup(func() { _ = unix.Unmount(memory, unix.MNT_DETACH) })
		x.etcd = etcdtest.StartIn(t, memory)
		endpoints = []string{x.etcd.Endpoint}
	}
	list, err := json.Marshal(endpoints)
	if err != nil {
		t.Fatal(err)
	}
	prefix := "/" + strings.ReplaceAll(t.Name(), "/", "-")
	m.config += fmt.Sprintf("interlock: {set: %s, endpoints: %s, prefix: %q, timeout: 3s, health_ttl: 3s, intent_ttl: 3s, max_lag: 5s, pace: {operations: 1000}}\n"+
		"keys: [{name: alice, roles: [manifest], key: %q}]\n", setName, list, prefix, publicLine(keyOf("alice")))
	conn, err := net.Dial("unix", os.Getenv(others)) //nolint:noctx // a local socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	x.conn, x.in = conn, json.NewDecoder(bufio.NewReader(conn))
	a := x.others(call{Distribution: d.Name, Endpoints: endpoints, Prefix: prefix})
	x.ports = [2]int{a.Source, a.ReplicaPort}
	x.source, x.replica = x.open(a.Source), x.open(a.ReplicaPort)
	i := m.start(topology.Args(d, 3)...)
	x.own = &topology.Node{Instance: i, DB: servertest.Open(t, i, ""), ID: 3}
	x.own.AttachPort(t, a.Source)
	return x
}

func (x *trio) others(c call) (a answer) {
	x.t.Helper()
	if err := json.NewEncoder(x.conn).Encode(c); err != nil {
		x.t.Fatal(err)
	}
	if err := x.in.Decode(&a); err != nil || a.Error != "" {
		x.t.Fatal(a.Error, err)
	}
	return a
}

func (x *trio) open(port int) *sql.DB {
	x.t.Helper()
	db, err := sql.Open("mysql", fmt.Sprintf("root@tcp(127.0.0.1:%d)/", port))
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() { _ = db.Close() })
	return db
}

// join starts the guard and publishes the manifest, and waits until all three
// have been seen by it.
func (x *trio) join() {
	x.t.Helper()
	x.guard()
	x.manifest(x.agent.Status(x.t.Context()).Machine, 1)
	x.settled()
}

func (x *trio) manifest(self agent.Machine, epoch int64) {
	x.t.Helper()
	m := interlock.Manifest{Version: 1, Set: setName, Epoch: epoch, Members: []interlock.Member{
		{Machine: sourceID, Name: "a", Key: publicLine(keyOf(sourceID))},
		{Machine: replicaID, Name: "b", Key: publicLine(keyOf(replicaID))},
		{Machine: self.MachineID, Name: "c", Key: self.GuardKey},
	}}
	text, err := interlock.Seal(interlock.ManifestNamespace, m, keyOf("alice"))
	if err != nil {
		x.t.Fatal(err)
	}
	if _, denial := x.agent.Set(x.t.Context(), agent.SetCall{Verb: agent.SetPublish, Envelope: text}); denial != nil {
		x.t.Fatal(denial)
	}
}

// settled waits until everybody has published something later than now.
func (x *trio) settled() {
	x.t.Helper()
	since, last := time.Now(), ""
	for range 200 {
		v, denial := x.agent.Set(x.t.Context(), agent.SetCall{Verb: agent.SetLook})
		if denial == nil && len(v.Members) == 3 && !slices.ContainsFunc(v.Members, func(m agent.MemberView) bool {
			return m.Problem != "" || !m.Made.After(since)
		}) {
			return
		}
		last = fmt.Sprintf("%+v %+v", v, denial)
		time.Sleep(100 * time.Millisecond)
	}
	x.t.Fatalf("not everybody publishes: %s", last)
}

func (x *trio) sql(db *sql.DB, statements ...string) {
	x.t.Helper()
	servertest.Exec(x.t, db, statements...)
}

// caughtUp writes something on the source and waits until the machine has it.
func (x *trio) caughtUp() {
	x.t.Helper()
	x.sql(x.source, "CREATE DATABASE IF NOT EXISTS d", "CREATE TABLE IF NOT EXISTS d.t (a INT AUTO_INCREMENT PRIMARY KEY)", "INSERT INTO d.t VALUES (NULL)")
	topology.Eventually(x.t, func() error {
		var here, there string
		if err := x.own.DB.QueryRowContext(x.t.Context(), "SELECT COUNT(*) FROM d.t").Scan(&here); err != nil {
			return err
		}
		if err := x.source.QueryRowContext(x.t.Context(), "SELECT COUNT(*) FROM d.t").Scan(&there); err != nil || here != there {
			return fmt.Errorf("%s of %s rows: %w", here, there, err)
		}
		return nil
	})
}

// shutdown stops the machine's own server; its guard has seen it before.
func (x *trio) shutdown() {
	x.t.Helper()
	if err := x.own.Shutdown(x.t.Context()); err != nil {
		x.t.Fatal(err)
	}
}

// stopReplica is STOP REPLICA in the vendor's words.
func (x *trio) stopReplication() string {
	if x.dist.Flavor == server.MariaDB {
		return "STOP SLAVE"
	}
	return "STOP REPLICA"
}

func (x *trio) set(name, value string) []string {
	list := []string{"SET GLOBAL read_only=" + value}
	if x.dist.Flavor != server.MariaDB {
		list = append(list, "SET GLOBAL super_read_only="+value)
	}
	return list
}

// promote makes the machine's own server the source of the others.
func (x *trio) promote() {
	x.t.Helper()
	x.caughtUp()
	x.own.StopReplication(x.t, "")
	reset := "RESET SLAVE ALL"
	if x.dist.Flavor != server.MariaDB {
		reset = "RESET REPLICA ALL"
	}
	x.own.Exec(x.t, reset)
	x.own.ReadOnly(x.t, false)
	for i, db := range []*sql.DB{x.source, x.replica} {
		if i == 1 {
			x.sql(db, x.stopReplication())
		}
		change := fmt.Sprintf("CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT=%d, MASTER_USER='root', MASTER_CONNECT_RETRY=1, MASTER_USE_GTID=slave_pos, MASTER_SSL_VERIFY_SERVER_CERT=0", x.own.Port())
		start := "START SLAVE"
		if x.dist.Flavor != server.MariaDB {
			change = fmt.Sprintf("CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT=%d, SOURCE_USER='root', SOURCE_CONNECT_RETRY=1, SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1", x.own.Port())
			start = "START REPLICA"
		}
		if x.dist.Flavor == server.MariaDB && i == 0 {
			change = strings.Replace(change, "slave_pos", "current_pos", 1)
		}
		x.sql(db, x.set("", "ON")...)
		x.sql(db, change, start)
	}
	time.Sleep(time.Second) // connected
}

// setStates are what a set is in, what its machine must allow, and what code a
// refusal of wiping must have.
var setStates = []struct {
	name  string
	build func(x *trio) // before join unless it calls join itself
	allow []attempt
	code  string

	network bool // etcd is reached by a network of its own
}{
	{"replica of a healthy set", func(x *trio) { x.caughtUp(); x.join() }, attempts[:1], "server-replica", false},
	{"drained replica of a healthy set", func(x *trio) {
		x.caughtUp()
		x.join()
		x.shutdown()
		x.settled()
		x.unmount()
		x.mount(x.data, x.mnt)
	}, wholeMachine(), "", false},
	{"lagging replica", func(x *trio) {
		x.caughtUp()
		x.own.StopReplication(x.t, "SQL_THREAD")
		x.sql(x.source, "INSERT INTO d.t VALUES (NULL)")
		x.join()
	}, nothing, "server-source", false}, // it may be the last to have what it has
	{"the other replica does not replicate", func(x *trio) {
		x.sql(x.replica, x.stopReplication())
		x.join()
	}, nothing, "server-replica", false},
	{"last healthy copy beside the source, stopped", func(x *trio) {
		x.caughtUp()
		x.join()
		x.shutdown()
		x.others(call{Do: "kill-replica"})
		x.settled()
	}, nothing, "interlock:survivor-unhealthy", false},
	{"the other replica's guard is silent", func(x *trio) {
		x.join()
		x.shutdown()
		x.others(call{Do: "silence-replica"})
		time.Sleep(16 * time.Second) // its record expires
	}, nothing, "interlock:survivor-missing", false},
	{"source", func(x *trio) { x.promote(); x.join() }, nothing, "server-source", false},
	{"source that was stopped, nobody promoted", func(x *trio) { x.promote(); x.join(); x.shutdown(); x.settled() }, nothing, "interlock:is-source", false},
	{"stopped replica with a transaction of its own", func(x *trio) {
		x.caughtUp()
		x.own.ReadOnly(x.t, false)
		x.own.Exec(x.t, "CREATE DATABASE errant")
		x.own.ReadOnly(x.t, true)
		x.join()
		x.shutdown()
		x.settled()
	}, inPlace, "interlock:unique-data", false},
	{"stopped replica with a transaction of its own, below the source's last", func(x *trio) {
		x.caughtUp()
		x.own.ReadOnly(x.t, false)
		x.own.Exec(x.t, "CREATE DATABASE errant")
		x.own.ReadOnly(x.t, true)
		for range 5 { // MariaDB's positions have the last number of a domain only
			x.caughtUp()
		}
		x.join()
		x.shutdown()
		x.settled()
	}, inPlace, "interlock:unique-data", false},
	{"replica that was killed", func(x *trio) {
		x.caughtUp()
		x.join()
		if err := x.own.Kill(); err != nil {
			x.t.Fatal(err)
		}
		x.settled()
	}, inPlace, "interlock:unknown-data", false},
	{"data of a server that the guard has never seen", func(x *trio) {
		x.shutdown()
		x.join()
	}, inPlace, "interlock:unknown-data", false},
	{"etcd killed", func(x *trio) { x.caughtUp(); x.join(); x.shutdown(); x.settled(); x.etcd.Kill() }, nothing, "interlock-unavailable", false},
	{"etcd hangs", func(x *trio) {
		x.caughtUp()
		x.join()
		x.shutdown()
		x.settled()
		x.signal(x.etcd.PID(), unix.SIGSTOP)
	}, nothing, "interlock-unavailable", false},
	{"network down", func(x *trio) { x.caughtUp(); x.join(); x.shutdown(); x.settled(); x.three.CutClients(x.t) }, nothing, "interlock-unavailable", true},
	{"no manifest", func(x *trio) { x.guard(); x.shutdown() }, nothing, "interlock:no-manifest", false},
	{"not in the manifest", func(x *trio) {
		x.guard()
		self := x.agent.Status(x.t.Context()).Machine
		self.MachineID = strings.Repeat("d", 32)
		x.manifest(self, 1)
		x.shutdown()
	}, nothing, "interlock:not-a-member", false},
	{"another member is leaving", func(x *trio) {
		x.caughtUp()
		x.join()
		x.shutdown()
		x.settled()
		x.leaving(replicaID)
	}, nothing, "interlock:disruption", false},
}

// wholeMachine are the attempts that a mounted data disk allows.
func wholeMachine() []attempt {
	return slices.DeleteFunc(slices.Clone(attempts), func(a attempt) bool { return a.narrow })
}

// leaving has another member announce that it goes.
func (x *trio) leaving(id string) {
	x.t.Helper()
	client, err := interlock.Open(interlock.Options{
		Endpoints: []string{x.etcd.Endpoint}, Prefix: "/" + strings.ReplaceAll(x.t.Name(), "/", "-"), Set: setName, Machine: id,
		BootID: "boot", Key: keyOf(id), Keys: manifestKeys(x.t), StateFile: x.dir + "/other",
	})
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() { _ = client.Close() })
	text, err := json.Marshal(interlock.Disruption{Version: 1, ID: "x", Epoch: 1, Machine: id, Operation: "reboot", Phase: interlock.Committed})
	if err != nil {
		x.t.Fatal(err)
	}
	x.etcd.Put(x.t, "/"+strings.ReplaceAll(x.t.Name(), "/", "-")+"/sets/"+setName+"/disruption", string(text))
}

// TestSetAttempts: every attempt on a machine of a set.
func TestSetAttempts(t *testing.T) {
	tried, refused := 0, 0
	for i, s := range setStates {
		for _, d := range distributions(t, i < 2) {
			t.Run(strings.ReplaceAll(s.name, " ", "-")+"/"+d.Name, func(t *testing.T) {
				x := newTrio(t, d, s.network)
				s.build(x)
				found := false
				for _, a := range attempts {
					r := x.exec(x.ask(a))
					tried++
					switch want := slices.Contains(s.allow, a); {
					case want && r.Verdict != gate.Ran:
						t.Errorf("%s is refused at %s: %s", a, r.Stage, reasons(r))
					case !want && r.Verdict != gate.Refused:
						t.Errorf("%s IS ALLOWED", a)
					case !want:
						refused++
						t.Logf("%s: %s: %.200s", a, r.Class, reasons(r))
						found = found || strings.Contains(reasons(r), "["+s.code+"]")
					}
				}
				if s.code != "" && !found {
					t.Errorf("nothing was refused with %s", s.code)
				}
			})
		}
	}
	t.Logf("%d attempts, %d refused", tried, refused)
}
