package mysqld

import (
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/guard/fact"
)

// replica is what Role takes for a replica.
func replica() State {
	return State{
		Flavor: gtid.MySQL, PID: 7, ReadOnly: true, SuperReadOnly: true,
		Channels: []Channel{{IO: "Yes", SQL: "Yes", SourceHost: "a"}, {Name: "b", IO: "Yes", SQL: "Yes"}},
	}
}

// TestRole changes one thing at a time of a proven replica.
func TestRole(t *testing.T) {
	if kind, role, why := Role(replica()); kind != fact.ServerReplica || role != RoleReplica {
		t.Fatalf("%s %s: %s", kind, role, why)
	}
	for _, test := range []struct {
		name string
		do   func(*State)
		kind fact.Kind
		role string
	}{
		{"nothing", func(s *State) { *s = State{} }, fact.ServerUnproven, ""},
		{"no vendor", func(s *State) { s.Flavor = 0 }, fact.ServerUnproven, ""},
		{"no process", func(s *State) { s.PID = 0 }, fact.ServerUnproven, ""},
		{"group", func(s *State) { s.Group = Group{Loaded: true, State: "ONLINE"} }, fact.ServerSource, RoleGroupMember},
		{"left group", func(s *State) { s.Group = Group{Loaded: true, Name: "x", State: "OFFLINE"} }, fact.ServerSource, RoleGroupMember},
		{"galera", func(s *State) { s.Galera.On = true }, fact.ServerSource, RoleGaleraNode},
		{"no channel", func(s *State) { s.Channels = nil }, fact.ServerSource, RoleStandalone},
		{"no channel, replicas", func(s *State) { s.Channels, s.Dumps = nil, 1 }, fact.ServerSource, RoleSource},
		{"dump", func(s *State) { s.Dumps = 1 }, fact.ServerSource, RoleIntermediate},
		{"registered", func(s *State) { s.Replicas = []Replica{{}} }, fact.ServerSource, RoleIntermediate},
		{"semi-sync", func(s *State) { s.SemiSyncSent = 1 }, fact.ServerSource, RoleIntermediate},
		{"receiver", func(s *State) { s.Channels[0].IO = "No" }, fact.ServerSource, RoleDetachedReplica},
		{"receiver connects", func(s *State) { s.Channels[0].IO = "Connecting" }, fact.ServerSource, RoleDetachedReplica},
		{"applier", func(s *State) { s.Channels[0].SQL = "No" }, fact.ServerSource, RoleDetachedReplica},
		{"second channel", func(s *State) { s.Channels[1].SQL = "No" }, fact.ServerSource, RoleDetachedReplica},
		{"read_only", func(s *State) { s.ReadOnly = false }, fact.ServerSource, RoleWritableReplica},
		{"super_read_only", func(s *State) { s.SuperReadOnly = false }, fact.ServerSource, RoleWritableReplica},
		{"write", func(s *State) { s.WriteTrx = 1 }, fact.ServerSource, RoleWritableReplica},
		{"xa", func(s *State) { s.PreparedXA = 1 }, fact.ServerSource, RoleWritableReplica},
	} {
		s := replica()
		test.do(&s)
		if kind, role, why := Role(s); kind != test.kind || role != test.role || why == "" {
			t.Errorf("%s: %s %q (%s), want %s %q", test.name, kind, role, why, test.kind, test.role)
		}
	}
	s := replica()
	s.Flavor, s.SuperReadOnly = gtid.MariaDB, false
	if kind, _, why := Role(s); kind != fact.ServerReplica {
		t.Errorf("MariaDB has no super_read_only: %s", why)
	}
}

func TestComplete(t *testing.T) {
	own := []string{"1", "2"}
	list := []session{{id: "1", user: "g"}, {id: "2", user: "g"}, {id: "3", user: "system user"}, {id: "4", user: "event_scheduler", command: "Daemon"}, {id: "5", command: "Binlog Dump GTID"}}
	if err := complete(list, own, 3); err != nil {
		t.Error(err)
	}
	if err := complete(list, own, 4); !errors.Is(err, ErrHidden) {
		t.Errorf("a session is hidden: %v", err)
	}
	if err := complete(list[1:], own, 2); !errors.Is(err, ErrHidden) {
		t.Errorf("our own connection is hidden: %v", err)
	}
	if dumps, clients := count(append(list, session{id: "6", user: "event_scheduler"}), own); dumps != 1 || clients != 1 {
		t.Errorf("%d dumps, %d clients", dumps, clients)
	}
}

func TestClientTransactions(t *testing.T) {
	list := []session{{id: "3", user: "system user"}, {id: "5", user: "app"}}
	rows := []row{
		{"id": "3", "modified": "4", "locks": "1"}, // applier
		{"id": "5", "modified": "0", "locks": "0"}, // reader
		{"id": "5", "modified": "1", "locks": "0"},
		{"id": "5", "modified": "0", "locks": "1"},
		{"id": "0", "modified": "1", "locks": "1"}, // recovered
	}
	if open, write := clientTransactions(rows, list); open != 4 || write != 3 {
		t.Errorf("%d open, %d write", open, write)
	}
}

func TestAccept(t *testing.T) {
	l := &link{target: Target{PIDs: []int{4, 5}}}
	for _, test := range []struct {
		pid int
		ok  bool
	}{{0, false}, {6, false}, {4, true}, {4, true}, {5, false}} {
		if err := l.accept(test.pid); (err == nil) != test.ok || err != nil && !errors.Is(err, ErrPeer) {
			t.Errorf("process %d: %v", test.pid, err)
		}
	}
	if err := (&link{}).accept(0); !errors.Is(err, ErrPeer) {
		t.Errorf("a process that is not visible: %v", err)
	}
}

// greet answers every connection with some bytes.
func greet(t testing.TB, greeting []byte) Target {
	var lc net.ListenConfig
	path := filepath.Join(t.TempDir(), "s")
	l, err := lc.Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write(greeting)
			_ = conn.Close()
		}
	}()
	return Target{Socket: path, User: "root", Timeout: time.Second}
}

// TestProtocol: what listens is no server, and the driver panics.
func TestProtocol(t *testing.T) {
	if s, err := Ask(t.Context(), greet(t, []byte{5, 0, 0, 0, 10, 8, 1, 26, 0})); !errors.Is(err, ErrProtocol) {
		t.Errorf("%+v %v", s, err)
	}
}

// FuzzGreeting: whatever a listener says first, it is no answer.
func FuzzGreeting(f *testing.F) {
	f.Add([]byte{5, 0, 0, 0, 11, 8, 5, 26, 0})
	f.Add([]byte("\x4a\x00\x00\x00\x0a5.5.5-10.11.0-MariaDB\x00\x01\x00\x00\x00abcdefgh\x00\xfe\xf7\x08\x02\x00\xff\x81\x15\x00\x00\x00\x00\x00\x00\x1d\x00\x00\x00abcdefghijkl\x00mysql_native_password\x00"))
	f.Fuzz(func(t *testing.T, greeting []byte) {
		if s, err := Ask(t.Context(), greet(t, greeting)); err == nil {
			t.Errorf("%+v", s)
		}
	})
}

func TestVersions(t *testing.T) {
	for _, test := range []struct {
		s  dbconn.Server
		ok bool
	}{
		{dbconn.Server{Flavor: gtid.MySQL, Major: 8}, true}, {dbconn.Server{Flavor: gtid.MySQL, Major: 9, Minor: 7}, true},
		{dbconn.Server{Flavor: gtid.MySQL, Major: 5, Minor: 7}, false}, {dbconn.Server{Flavor: gtid.MySQL, Major: 10}, false},
		{dbconn.Server{Flavor: gtid.MariaDB, Major: 10, Minor: 5}, true}, {dbconn.Server{Flavor: gtid.MariaDB, Major: 10, Minor: 4}, false},
		{dbconn.Server{Flavor: gtid.MariaDB, Major: 11, Minor: 8}, true}, {dbconn.Server{}, false},
	} {
		if err := knownVersion(test.s); (err == nil) != test.ok {
			t.Errorf("%+v: %v", test.s, err)
		}
	}
}

func TestGroupAndGalera(t *testing.T) {
	var g Group
	if err := g.find(nil, "u"); err == nil {
		t.Error("performance_schema is off, and it was an answer")
	}
	if err := g.find([]row{{"MEMBER_ID": "x", "MEMBER_STATE": "ONLINE"}, {"MEMBER_ID": "y", "MEMBER_STATE": "ONLINE"}}, "u"); err == nil {
		t.Error("other members only, and it was an answer")
	}
	if err := g.find([]row{{"MEMBER_ID": "", "MEMBER_STATE": "OFFLINE"}}, "u"); err != nil || g.State != "OFFLINE" {
		t.Errorf("%v %+v", err, g)
	}
	for _, test := range []struct {
		g        Galera
		provider string
		want     bool
	}{
		{Galera{Status: "Disconnected", Size: "0"}, "none", false},
		{Galera{Status: "Disconnected", Size: "0"}, "/usr/lib/galera/libgalera_smm.so", false},
		{Galera{Status: "Primary", Size: "3"}, "/usr/lib/galera/libgalera_smm.so", true},
		{Galera{Status: "Disconnected", Size: "1"}, "/usr/lib/galera/libgalera_smm.so", true},
	} {
		if got := connected(test.g, test.provider); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
	for _, value := range []string{"", "maybe", "2"} {
		if _, err := on("read_only", value); err == nil {
			t.Errorf("read_only=%q was understood", value)
		}
	}
	if yes, err := on("read_only", "NO_LOCK"); !yes || err != nil {
		t.Error(err)
	}
}

func TestFurthest(t *testing.T) {
	set, err := Furthest("0-1-5,1-1-7", "0-2-9", "1-3-2,2-1-1")
	if err != nil || set.String() != "0-2-9,1-1-7,2-1-1" {
		t.Errorf("%s %v", set, err)
	}
	if _, err := Furthest("0-1"); err == nil {
		t.Error("malformed position")
	}
}

func TestCheckGrants(t *testing.T) {
	ok := []string{
		"GRANT SELECT, PROCESS, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO `g`@`%` WITH GRANT OPTION",
		"GRANT BACKUP_ADMIN,XA_RECOVER_ADMIN ON *.* TO `g`@`%`",
	}
	if err := CheckGrants(gtid.MySQL, "g@%", ok); err != nil {
		t.Error(err)
	}
	for name, lines := range map[string][]string{
		"none":                 nil,
		"all without dynamic":  {"GRANT ALL PRIVILEGES ON *.* TO `g`@`%`"},
		"another schema":       {ok[1], "GRANT PROCESS, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO `g`@`%`", "GRANT SELECT ON `performance_schema2`.* TO `g`@`%`"},
		"a table of that name": {ok[1], "GRANT SELECT, PROCESS, REPLICATION SLAVE, REPLICATION CLIENT ON `*`.`*` TO `g`@`%`"},
		"partial revoke":       {ok[0], ok[1], "REVOKE SELECT ON `performance_schema`.* FROM `g`@`%`"},
		"proxy":                {ok[1], "GRANT PROXY ON ``@`` TO `root`@`localhost` WITH GRANT OPTION"},
		"columns":              {ok[1], "GRANT SELECT (PROCESS, `REPLICATION SLAVE`) ON *.* TO `g`@`%`"},
		"a role of that name":  {ok[1], "GRANT `PROCESS`@`%` TO `g`@`%`"},
	} {
		if err := CheckGrants(gtid.MySQL, "g@%", lines); err == nil {
			t.Errorf("%s: sufficient", name)
		}
	}
	for _, schema := range []string{"GRANT SELECT ON `performance_schema`.* TO `g`@`%`", "GRANT ALL PRIVILEGES ON `performance_schema`.* TO `g`@`%`"} {
		if err := CheckGrants(gtid.MySQL, "g@%", []string{strings.Replace(ok[0], "SELECT, ", "", 1), ok[1], schema}); err != nil {
			t.Error(err)
		}
	}
	err := CheckGrants(gtid.MariaDB, "o'x@local@host", []string{"GRANT PROCESS ON *.* TO `r`"})
	if want := "GRANT BINLOG MONITOR, SLAVE MONITOR, REPLICATION MASTER ADMIN ON *.* TO 'o''x@local'@'host';"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
}

// FuzzCheckGrants: only lines of GRANT that name a privilege on *.* give it.
func FuzzCheckGrants(f *testing.F) {
	f.Add("GRANT PROCESS ON *.* TO `r`", true)
	f.Add("GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost`", false)
	f.Add("REVOKE SELECT ON `a`.* FROM `g`@`%`", false)
	f.Fuzz(func(t *testing.T, text string, mysql bool) {
		flavor := gtid.MariaDB
		if mysql {
			flavor = gtid.MySQL
		}
		if err := CheckGrants(flavor, "a@b", strings.Split(text, "\n")); err != nil {
			return
		}
		all := strings.Contains(text, "GRANT ALL PRIVILEGES ON *.* TO ")
		for _, need := range Needed(flavor) {
			if !strings.Contains(text, need) && !all {
				t.Errorf("sufficient without %s: %q", need, text)
			}
		}
	})
}
