package interlock

import (
	"crypto/ed25519"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/guard/mysqld"
	"github.com/lifeboat-db/lifeboat/internal/guard/operation"
	"github.com/lifeboat-db/lifeboat/internal/guard/seal"
)

const (
	idA  = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	idB  = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	idC  = "cccccccccccccccccccccccccccccccc"
	idX  = "dddddddddddddddddddddddddddddddd"
	uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
)

func key(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune('A'+n)), ed25519.SeedSize)))
}

func line(n byte) string {
	p, err := ssh.NewPublicKey(key(n).Public())
	if err != nil {
		panic(err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(p)))
}

func sealKey(n byte, name string, roles ...string) seal.Key {
	p, err := seal.ParseKey(line(n))
	if err != nil {
		panic(err)
	}
	return seal.Key{Name: name, Roles: roles, PublicKey: p}
}

// people: 10 makes manifests, 11 to 13 approve (13 is alice's second key), 14
// may do nothing, 15 is the requester.
var people = []seal.Key{
	sealKey(10, "root", ManifestRole), sealKey(11, "alice", ClearRole), sealKey(12, "bob", ClearRole),
	sealKey(13, "alice", ClearRole), sealKey(14, "guest", "request"), sealKey(15, "carol", ClearRole),
}

func manifest() Manifest {
	return Manifest{Version: 1, Set: "s", Epoch: 2, Members: []Member{
		{idA, "a", line(0)}, {idB, "b", line(1)}, {idC, "c", line(2)},
	}}
}

func gtids(t testing.TB, text string) gtid.Set {
	t.Helper()
	s, err := gtid.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func health(t testing.TB, machine string) Health {
	h := Health{Version: 1, Set: "s", Epoch: 2, Machine: machine, BootID: "boot-" + machine, Made: noon}
	h.State = State{Role: Replica, Server: "server-" + machine, Source: "server-" + idA, ReadOnly: true, Threads: true, Lag: 1,
		GTIDs: gtids(t, uuid+":1-9")}
	if machine == idA {
		h.State = State{Role: Source, Server: "server-" + idA, Lag: -1, Replicas: []string{"server-" + idB, "server-" + idC},
			GTIDs: gtids(t, uuid+":1-10")}
	}
	return h
}

// scene is a set of a (source), b, c in which c may go.
type scene struct {
	v       View
	a       Ask
	A, B, C Health
}

func good(t testing.TB) *scene {
	s := &scene{A: health(t, idA), B: health(t, idB), C: health(t, idC)}
	s.v = View{Manifest: manifest(), Records: map[string]Record{}}
	s.a = Ask{Set: "s", Machine: idC, Operation: operation.Reinstall, Local: State{Role: Down, Server: "server-" + idC, GTIDs: gtids(t, uuid+":1-9")},
		Own: "own", Epoch: 2, Now: noon.Add(time.Second), Limits: Limits{MaxLag: 60 * time.Second, MaxAge: 30 * time.Second}}
	return s
}

func (s *scene) view(drop ...string) View {
	for _, h := range []Health{s.A, s.B, s.C} {
		if _, there := s.v.Records[h.Machine]; !there && !slices.Contains(drop, h.Machine) {
			s.v.Records[h.Machine] = Record{Health: h}
		}
	}
	return s.v
}

func codes(reasons []Reason) (list []Code) {
	for _, r := range reasons {
		list = append(list, r.Code)
	}
	return list
}

func TestDecide(t *testing.T) {
	bad := errors.New("bad")
	for _, c := range []struct {
		name   string
		change func(*scene)
		want   []Code
	}{
		{"well", func(*scene) {}, nil},
		{"own intent", func(s *scene) { s.v.Disruption = &Disruption{ID: "own"} }, nil},
		{"no data", func(s *scene) { s.a.Local = State{Role: Down, NoData: true} }, nil},
		{"stopped replica ahead", func(s *scene) {
			s.a.Operation = operation.StopServer
			s.a.Local.GTIDs = gtids(t, uuid+":1-11")
		}, nil},
		{"own record missing", func(s *scene) { s.v.Records[idC] = Record{Health: Health{State: State{Role: Down}}} }, nil},
		{"no manifest", func(s *scene) { s.v.ManifestErr = bad }, []Code{NoManifest}},
		{"other set", func(s *scene) { s.v.Manifest.Set = "x" }, []Code{OtherSet}},
		{"epoch back", func(s *scene) { s.a.Epoch = 3 }, []Code{WrongEpoch}},
		{"not a member", func(s *scene) {
			s.v.Manifest.Members[2].Machine = idX
			s.C.Machine = idX
			// All that is left looks healthy: only membership is wrong.
			s.A.State.Replicas = []string{"server-" + idB, "server-" + idC}
		}, []Code{NotMember}},
		{"disruption", func(s *scene) { s.v.Disruption = &Disruption{ID: "x", Machine: idB} }, []Code{Disrupted}},
		{"own machine's", func(s *scene) { s.v.Disruption = &Disruption{ID: "x", Machine: idC} }, []Code{Disrupted}},
		{"unreadable disruption", func(s *scene) { s.a.Own = ""; s.v.Disruption = &Disruption{} }, []Code{Disrupted}},
		{"source here", func(s *scene) { s.a.Local.Role = Source }, []Code{IsSource}},
		{"other here", func(s *scene) { s.a.Local.Role = Other }, []Code{IsSource}},
		{"unknown here", func(s *scene) { s.a.Local.Role = "" }, []Code{UnknownRole}},
		{"own record bad", func(s *scene) { s.v.Records[idC] = Record{Err: bad} }, []Code{UnknownRole}},
		{"published source", func(s *scene) { s.C.State.Role = Source }, []Code{IsSource}},
		{"followed", func(s *scene) { s.a.Local.Server = "server-" + idA }, []Code{IsSource}},
		{"missing", func(s *scene) { delete(s.v.Records, idB); s.B.Machine = idX }, []Code{SurvivorMissing}},
		{"bad record", func(s *scene) { s.v.Records[idB] = Record{Health: s.B, Err: bad} }, []Code{SurvivorRecord}},
		{"old epoch", func(s *scene) { s.B.Epoch = 1 }, []Code{WrongEpoch}},
		{"old", func(s *scene) { s.B.Made = noon.Add(-time.Minute) }, []Code{SurvivorStale}},
		{"future", func(s *scene) { s.B.Made = noon.Add(time.Minute) }, []Code{SurvivorStale}},
		{"two sources", func(s *scene) { s.B.State.Role = Source; s.B.State.ReadOnly = false }, []Code{SurvivorUnhealthy}},
		{"source read-only", func(s *scene) { s.A.State.ReadOnly = true }, []Code{SurvivorUnhealthy}},
		{"replica down", func(s *scene) { s.B.State.Role = Down }, []Code{SurvivorUnhealthy}},
		{"threads", func(s *scene) { s.B.State.Threads = false }, []Code{SurvivorUnhealthy}},
		{"writable", func(s *scene) { s.B.State.ReadOnly = false }, []Code{SurvivorUnhealthy}},
		{"lag", func(s *scene) { s.B.State.Lag = 61 }, []Code{SurvivorUnhealthy}},
		{"lag unknown", func(s *scene) { s.B.State.Lag = -1 }, []Code{SurvivorUnhealthy}},
		{"filtered replica", func(s *scene) { s.B.State.Filter = "x" }, []Code{SurvivorUnhealthy}},
		{"filtered log", func(s *scene) { s.A.State.Filter = "x" }, []Code{SurvivorUnhealthy}},
		{"filtered here", func(s *scene) { s.C.State.Filter, s.a.Local.Filter = "x", "x" }, nil},
		{"other source", func(s *scene) { s.B.State.Source = "x" }, []Code{SurvivorUnhealthy}},
		{"not connected", func(s *scene) { s.A.State.Replicas = []string{"server-" + idC} }, []Code{SurvivorUnhealthy}},
		{"replica unnamed", func(s *scene) { s.B.State.Server = ""; s.A.State.Replicas = []string{""} }, []Code{SurvivorUnhealthy}},
		{"source unnamed", func(s *scene) { s.A.State.Server = ""; s.B.State.Source = "" }, []Code{SurvivorUnhealthy}},
		{"unique", func(s *scene) { s.a.Local.GTIDs = gtids(t, uuid+":1-11") }, []Code{UniqueData}},
		{"unknown", func(s *scene) { s.a.Local.GTIDs = gtid.Set{} }, []Code{UnknownData}},
		{"own machine's, ended", func(s *scene) { s.v.Disruption = &Disruption{ID: "x", Machine: idC, Phase: Done} }, nil},
		{"own machine's, running", func(s *scene) { s.v.Disruption = &Disruption{ID: "x", Machine: idC, Phase: Committed} }, []Code{Disrupted}},
		{"another's, ended", func(s *scene) { s.v.Disruption = &Disruption{ID: "x", Machine: idB, Phase: Done} }, []Code{Disrupted}},
		{"without an ID", func(s *scene) { s.v.Disruption = &Disruption{Machine: idC, Phase: Done} }, []Code{Disrupted}},
		{"data that stay", func(s *scene) { s.a.Operation = operation.Reboot; s.a.Local.GTIDs = gtid.Set{} }, nil},
	} {
		s := good(t)
		c.change(s)
		if got := codes(Decide(s.view(), s.a)); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	s := good(t)
	s.A.State.Role = Replica
	if got := Decide(s.view(), s.a); len(got) != 1 || got[0].Code != SurvivorUnhealthy {
		t.Errorf("no source: %v", got)
	}
}

func TestDecideClear(t *testing.T) {
	bad := errors.New("bad")
	for _, c := range []struct {
		name   string
		change func(s *scene, fresh *bool)
		ok     bool
	}{
		{"done", func(*scene, *bool) {}, true},
		{"committed, rebooted", func(s *scene, _ *bool) { s.v.Disruption.Phase = Committed; s.v.Disruption.BootID = "old" }, true},
		{"committed, same boot", func(s *scene, _ *bool) { s.v.Disruption.Phase = Committed; s.v.Disruption.BootID = s.C.BootID }, false},
		{"committed, boot unknown", func(s *scene, _ *bool) { s.v.Disruption.Phase = Committed }, false},
		{"no manifest", func(s *scene, _ *bool) { s.v.ManifestErr = bad }, false},
		{"epoch back", func(s *scene, _ *bool) { s.a.Epoch = 3 }, false},
		{"not a member", func(s *scene, _ *bool) { s.v.Disruption.Machine = idX; s.v.Records[idX] = Record{Health: s.C} }, false},
		{"old record", func(_ *scene, fresh *bool) { *fresh = false }, false},
		{"seen before", func(s *scene, _ *bool) { s.v.Disruption.Ended = noon }, false},
		{"stale", func(s *scene, _ *bool) { s.C.Made = noon.Add(-time.Hour) }, false},
		{"down", func(s *scene, _ *bool) { s.C.State.Role = Down }, false},
		{"another unwell", func(s *scene, _ *bool) { s.B.State.Threads = false }, false},
	} {
		s, fresh := good(t), true
		s.v.Disruption = &Disruption{ID: "x", Machine: idC, Phase: Done}
		c.change(s, &fresh)
		if got := DecideClear(s.view(), s.a, fresh); (len(got) == 0) != c.ok {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestParseManifest(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Manifest)
		keys   []ed25519.PrivateKey
		ok     bool
	}{
		{"good", func(*Manifest) {}, []ed25519.PrivateKey{key(10)}, true},
		{"unsigned", func(*Manifest) {}, nil, false},
		{"guest", func(*Manifest) {}, []ed25519.PrivateKey{key(14)}, false},
		{"stranger", func(*Manifest) {}, []ed25519.PrivateKey{key(20)}, false},
		{"version", func(m *Manifest) { m.Version = 2 }, []ed25519.PrivateKey{key(10)}, false},
		{"set", func(m *Manifest) { m.Set = "a/b" }, []ed25519.PrivateKey{key(10)}, false},
		{"epoch", func(m *Manifest) { m.Epoch = 0 }, []ed25519.PrivateKey{key(10)}, false},
		{"two", func(m *Manifest) { m.Members = m.Members[:2] }, []ed25519.PrivateKey{key(10)}, false},
		{"four", func(m *Manifest) { m.Members = append(m.Members, Member{idX, "x", line(3)}) }, []ed25519.PrivateKey{key(10)}, false},
		{"machine", func(m *Manifest) { m.Members[0].Machine = "*" }, []ed25519.PrivateKey{key(10)}, false},
		{"name", func(m *Manifest) { m.Members[0].Name = "" }, []ed25519.PrivateKey{key(10)}, false},
		{"key", func(m *Manifest) { m.Members[0].Key = "ssh-ed25519 x" }, []ed25519.PrivateKey{key(10)}, false},
		{"machine twice", func(m *Manifest) { m.Members[1].Machine = idA }, []ed25519.PrivateKey{key(10)}, false},
		{"name twice", func(m *Manifest) { m.Members[1].Name = "a" }, []ed25519.PrivateKey{key(10)}, false},
		{"key twice", func(m *Manifest) { m.Members[1].Key = line(0) }, []ed25519.PrivateKey{key(10)}, false},
	} {
		m := manifest()
		c.change(&m)
		text, err := Seal(ManifestNamespace, m, c.keys...)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseManifest(text, people); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestParseHealth(t *testing.T) {
	m := manifest()
	for _, c := range []struct {
		name   string
		change func(*Health)
		by     byte
		ns     string
		ok     bool
	}{
		{"good", func(*Health) {}, 1, HealthNamespace, true},
		{"other's key", func(*Health) {}, 0, HealthNamespace, false},
		{"a person's key", func(*Health) {}, 10, HealthNamespace, false},
		{"other namespace", func(*Health) {}, 1, ManifestNamespace, false},
		{"version", func(h *Health) { h.Version = 2 }, 1, HealthNamespace, false},
		{"set", func(h *Health) { h.Set = "x" }, 1, HealthNamespace, false},
		{"machine", func(h *Health) { h.Machine = idA }, 1, HealthNamespace, false},
	} {
		h := health(t, idB)
		c.change(&h)
		text, err := Seal(c.ns, h, key(c.by))
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseHealth(text, m, m.Members[1])
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
		if c.ok && (got.State.GTIDs.String() != uuid+":1-9" || !got.Made.Equal(noon)) {
			t.Errorf("%+v", got)
		}
	}
}

func TestClearance(t *testing.T) {
	d := Disruption{ID: "x", Machine: idC, Requester: "carol"}
	for _, c := range []struct {
		name   string
		change func(*Clearance)
		keys   []byte
		ok     bool
	}{
		{"good", func(*Clearance) {}, []byte{11, 12}, true},
		{"one", func(*Clearance) {}, []byte{11}, false},
		{"one with two keys", func(*Clearance) {}, []byte{11, 13}, false},
		{"guest", func(*Clearance) {}, []byte{11, 12, 14}, false},
		{"requester", func(*Clearance) {}, []byte{11, 12, 15}, false},
		{"version", func(c *Clearance) { c.Version = 2 }, []byte{11, 12}, false},
		{"set", func(c *Clearance) { c.Set = "x" }, []byte{11, 12}, false},
		{"epoch", func(c *Clearance) { c.Epoch = 1 }, []byte{11, 12}, false},
		{"machine", func(c *Clearance) { c.Machine = idA }, []byte{11, 12}, false},
		{"token", func(c *Clearance) { c.Token = 6 }, []byte{11, 12}, false},
		{"expired", func(c *Clearance) { c.Expires = noon }, []byte{11, 12}, false},
		{"too long", func(c *Clearance) { c.Expires = noon.Add(2 * time.Hour) }, []byte{11, 12}, false},
	} {
		clearance := Clearance{Version: 1, Set: "s", Epoch: 2, Machine: idC, Token: 7, Expires: noon.Add(time.Minute), Reason: "r"}
		c.change(&clearance)
		var keys []ed25519.PrivateKey
		for _, n := range c.keys {
			keys = append(keys, key(n))
		}
		text, err := Seal(ClearNamespace, clearance, keys...)
		if err != nil {
			t.Fatal(err)
		}
		got, by, err := ParseClearance(text, people)
		if err == nil {
			err = JudgeClearance(got, by, "s", 2, d, 7, noon)
		}
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestFromServer(t *testing.T) {
	replica := mysqld.State{Flavor: gtid.MySQL, PID: 1, ServerUUID: "u2", ReadOnly: true, SuperReadOnly: true, Executed: gtids(t, uuid+":1"),
		Channels: []mysqld.Channel{{IO: "Yes", SQL: "Yes", SourceUUID: "u1", Lag: 3}}}
	if s := FromServer(replica); s.Role != Replica || s.Server != "u2" || s.Source != "u1" || !s.Threads || s.Lag != 3 || s.GTIDs.IsEmpty() {
		t.Errorf("%+v", s)
	}
	replica.Channels[0].Filter = "b"
	if s := FromServer(replica); s.Filter != "b" {
		t.Errorf("filtered: %+v", s)
	}
	replica.LogFilter = "a"
	if s := FromServer(replica); s.Filter != "a b" {
		t.Errorf("filtered twice: %+v", s)
	}
	replica.Untracked = "gap"
	replica.Channels = append(replica.Channels, replica.Channels[0])
	if s := FromServer(replica); s.GTIDs.Flavor() != 0 || s.Source != "" || s.Threads || s.Lag != -1 {
		t.Errorf("untracked, two channels: %+v", s)
	}
	source := mysqld.State{Flavor: gtid.MariaDB, PID: 1, ServerID: 7, Dumps: 1, Replicas: []mysqld.Replica{{ServerID: "8", UUID: "x"}}}
	if s := FromServer(source); s.Role != Source || s.Server != "7" || !slices.Equal(s.Replicas, []string{"8"}) {
		t.Errorf("%+v", s)
	}
	source.Dumps = 0
	if s := FromServer(source); len(s.Replicas) != 0 {
		t.Errorf("listed, not connected: %+v", s)
	}
	source.Galera.On = true
	if s := FromServer(source); s.Role != Other {
		t.Errorf("galera: %+v", s)
	}
	if s := FromServer(mysqld.State{}); s.Role != "" {
		t.Errorf("nobody: %+v", s)
	}
}

// FuzzRecords: nothing that is not signed is read, and nothing panics.
func FuzzRecords(f *testing.F) {
	m := manifest()
	for _, seed := range []struct {
		ns string
		v  any
	}{{ManifestNamespace, m}, {HealthNamespace, health(f, idB)}, {ClearNamespace, Clearance{}}} {
		text, err := Seal(seed.ns, seed.v, key(20))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"version":1,"id":"x"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		_, err1 := ParseManifest(text, people)
		_, err2 := ParseHealth(text, m, m.Members[1])
		_, _, err3 := ParseClearance(text, people)
		if err1 == nil || err2 == nil || err3 == nil {
			t.Fatalf("believed: %s", text)
		}
		d, err := ParseDisruption(text)
		s := good(t)
		s.v.Disruption = &d
		if err != nil && len(Decide(s.view(), s.a)) == 0 {
			t.Fatal("a disruption that cannot be read does not count")
		}
	})
}
