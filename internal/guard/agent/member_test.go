package agent

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/guard/config"
	"github.com/lifeboat-db/lifeboat/internal/guard/fact"
	"github.com/lifeboat-db/lifeboat/internal/guard/interlock"
	"github.com/lifeboat-db/lifeboat/internal/guard/interlock/etcdtest"
	"github.com/lifeboat-db/lifeboat/internal/guard/mysqld"
	"github.com/lifeboat-db/lifeboat/internal/guard/operation"
	"github.com/lifeboat-db/lifeboat/internal/guard/policy"
	"github.com/lifeboat-db/lifeboat/internal/guard/request"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/test/topology"
)

func TestDataDirs(t *testing.T) {
	data := func(dir string) fact.Fact {
		return fact.Fact{Kind: fact.DataAtRest, Verdict: fact.Active, Evidence: map[string]string{"datadir": dir}}
	}
	none := fact.Fact{Kind: fact.DataAtRest, Verdict: fact.Clear}
	for name, c := range map[string]struct {
		facts []fact.Fact
		want  string // "" for an error
	}{
		"none, proven":       {[]fact.Fact{none}, "[]"},
		"one":                {[]fact.Fact{data("/d")}, "[/d]"},
		"one, named twice":   {[]fact.Fact{data("/d"), data("/d/")}, "[/d]"},
		"two":                {[]fact.Fact{data("/d"), data("/e")}, "[/d /e]"},
		"nothing is proven":  {nil, ""},
		"only memory looked": {[]fact.Fact{{Kind: fact.VolatileData, Verdict: fact.Clear}}, ""},
		"without directory":  {[]fact.Fact{data("")}, ""},
		"unknown":            {[]fact.Fact{none, {Kind: fact.DataAtRest}}, ""},
		"called so":          {[]fact.Fact{{Kind: fact.DataAtRest, Evidence: map[string]string{"datadir": "/d"}}}, ""},
		"a layer":            {[]fact.Fact{data("/d"), {Kind: fact.Layer}}, ""},
		"in memory":          {[]fact.Fact{none, {Kind: fact.VolatileData, Verdict: fact.Active}}, ""},
		"something else":     {[]fact.Fact{none, {Kind: fact.OpenFile}}, "[]"},
	} {
		dirs, err := dataDirs(c.facts)
		if (err != nil) != (c.want == "") || err == nil && fmt.Sprint(dirs) != c.want {
			t.Errorf("%s: %v %v", name, dirs, err)
		}
	}
}

func testKey(letter string) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte(strings.Repeat(letter, ed25519.SeedSize)))
}

// TestLastServer: what a server has said comes back as it was, or not at all.
func TestLastServer(t *testing.T) {
	executed, err := gtid.ParseSet(gtid.MySQL, "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-9")
	if err != nil {
		t.Fatal(err)
	}
	said := mysqld.State{Flavor: gtid.MySQL, ServerUUID: "u", ServerID: 7, DataDir: "/d/", LogIndex: "/d/bin.index", LogBin: true, LogUpdates: true, Executed: executed}
	l := lastServer{path: filepath.Join(t.TempDir(), "last-server"), key: testKey("a")}
	if _, err := l.load(); err == nil {
		t.Error("nobody has said anything")
	}
	begin := time.Now()
	if err := l.keep(said, begin); err != nil {
		t.Fatal(err)
	}
	got, err := l.load()
	if err != nil || !sameServer(got, said) || !got.Executed.Equal(executed) {
		t.Errorf("%+v %v", got, err)
	}
	stat := func() time.Time {
		info, err := os.Stat(l.path)
		if err != nil {
			t.Fatal(err)
		}
		return info.ModTime()
	}
	written := stat()
	if err := l.keep(said, begin.Add(time.Second)); err != nil || !stat().Equal(written) {
		t.Error("written again for nothing", err)
	}
	for name, change := range map[string]func(*mysqld.State){
		"flavor": func(s *mysqld.State) { s.Flavor = gtid.MariaDB }, "uuid": func(s *mysqld.State) { s.ServerUUID = "v" },
		"id": func(s *mysqld.State) { s.ServerID++ }, "datadir": func(s *mysqld.State) { s.DataDir = "/e/" },
		"index": func(s *mysqld.State) { s.LogIndex = "" }, "log": func(s *mysqld.State) { s.LogBin = false },
		"updates": func(s *mysqld.State) { s.LogUpdates = false }, "untracked": func(s *mysqld.State) { s.Untracked = "x" },
	} {
		other := said
		change(&other)
		if sameServer(said, other) {
			t.Errorf("%s does not count", name)
		}
	}
	for name, at := range map[string]time.Time{"a minute later": begin.Add(keepEvery), "a clock that went back": begin.Add(-time.Second)} {
		before := stat()
		time.Sleep(10 * time.Millisecond)
		if err := l.keep(said, at); err != nil || stat().Equal(before) {
			t.Errorf("%s: not written %v", name, err)
		}
		l.at = begin
	}
	text, err := os.ReadFile(l.path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range text {
		for bit := range 8 {
			damaged := append([]byte(nil), text...)
			damaged[i] ^= 1 << bit
			if err := os.WriteFile(l.path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			if got, err := l.load(); err == nil && (!sameServer(got, said) || !got.Executed.Equal(executed)) {
				t.Fatalf("bit %d of byte %d changes what the server said: %+v", bit, i, got)
			}
		}
	}
	stranger := lastServer{path: l.path, key: testKey("b")}
	if err := os.WriteFile(l.path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := stranger.load(); err == nil {
		t.Error("another guard's word counts")
	}
}

// TestTheServer: the one server that runs, by its own word.
func TestTheServer(t *testing.T) {
	d := servertest.All(t)[0]
	one, two := servertest.Start(t, d), servertest.Start(t, d)
	m := &member{sight: &sight{}, config: config.Config{}, last: lastServer{path: filepath.Join(t.TempDir(), "x"), key: testKey("a")}}
	open := func(pids ...int) fact.Fact {
		return fact.Fact{Kind: fact.OpenFile, Verdict: fact.Active, PIDs: pids}
	}
	none := fact.Fact{Kind: fact.OpenFile, Verdict: fact.Clear}
	if s, err := m.theServer(t.Context(), []fact.Fact{none}); s != nil || err != nil {
		t.Error("none runs:", s, err)
	}
	if s, err := m.theServer(t.Context(), []fact.Fact{open(one.PID())}); err != nil || s.DataDir != one.DataDir()+"/" {
		t.Error("one runs:", s, err)
	}
	for what, facts := range map[string][]fact.Fact{
		"two run":             {open(one.PID(), two.PID())},
		"one does not answer": {open(one.PID(), os.Getpid())},
		"not all is seen":     {open(one.PID()), {Kind: fact.Visibility, Verdict: fact.Unknown}},
		"nothing is seen":     {},
	} {
		if s, err := m.theServer(t.Context(), facts); err == nil {
			t.Errorf("%s: %+v", what, s)
		}
		if s, err := m.local(t.Context(), operation.StopServer, facts); err == nil {
			t.Errorf("%s: %+v", what, s)
		}
	}
	its := fact.Fact{Kind: fact.DataAtRest, Verdict: fact.Active, Evidence: map[string]string{"datadir": one.DataDir()}}
	s, err := m.local(t.Context(), operation.Reinstall, []fact.Fact{open(one.PID()), its})
	if err != nil || s.Role != interlock.Source {
		t.Errorf("%+v %v", s, err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(one.DataDir(), link); err != nil {
		t.Fatal(err)
	}
	linked := fact.Fact{Kind: fact.DataAtRest, Verdict: fact.Active, Evidence: map[string]string{"datadir": link}}
	if _, err := m.local(t.Context(), operation.Reinstall, []fact.Fact{open(one.PID()), linked}); err != nil {
		t.Errorf("its own data by another name: %v", err)
	}
	others := fact.Fact{Kind: fact.DataAtRest, Verdict: fact.Active, Evidence: map[string]string{"datadir": two.DataDir()}}
	for what, facts := range map[string][]fact.Fact{"others' data": {others}, "others' data, too": {its, others}, "unknown data": {its, {Kind: fact.Layer}}} {
		if s, err := m.local(t.Context(), operation.Wipe, append(facts, open(one.PID()))); err == nil {
			t.Errorf("the running server has spoken for %s: %+v", what, s)
		}
	}
	clear := fact.Fact{Kind: fact.DataAtRest, Verdict: fact.Clear}
	data := func(dir string) fact.Fact {
		return fact.Fact{Kind: fact.DataAtRest, Verdict: fact.Active, Evidence: map[string]string{"datadir": dir}}
	}
	if s, err := m.local(t.Context(), operation.Reinstall, []fact.Fact{none, clear}); err != nil || s.Role != interlock.Down || !s.NoData {
		t.Errorf("no data: %+v %v", s, err)
	}
	if s, err := m.local(t.Context(), operation.Reboot, []fact.Fact{none}); err != nil || s.Role != interlock.Down || s.NoData {
		t.Errorf("data that stay: %+v %v", s, err)
	}
	if s, err := m.local(t.Context(), operation.Reinstall, []fact.Fact{none, data("/d")}); err == nil {
		t.Errorf("data that nobody has spoken for: %+v", s)
	}
	said, err := m.theServer(t.Context(), []fact.Fact{open(one.PID())})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.last.keep(*said, time.Now()); err != nil {
		t.Fatal(err)
	}
	for want, dirs := range map[string][]fact.Fact{
		"data lie in /d, /e": {none, data("/d"), data("/e")}, "/nowhere": {none, data("/nowhere")},
	} {
		if s, err := m.local(t.Context(), operation.Reinstall, dirs); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %+v %v", dirs, s, err)
		}
	}
	if s := m.down(); s.Server != fmt.Sprint(said.ServerID) {
		t.Errorf("who it was is forgotten: %+v", s)
	}
}

// stopped makes a member that has seen a server, which has then written and
// stopped cleanly. change is called before that, while the server is down.
func stopped(t *testing.T, d server.Distribution, change func(*topology.Node), args ...string) (m *member, n *topology.Node) {
	t.Helper()
	m = &member{sight: &sight{}, last: lastServer{path: filepath.Join(t.TempDir(), "x"), key: testKey("a")}}
	n = topology.Start(t, d, 1, args...)
	n.Exec(t, "CREATE DATABASE early")
	shut := func() {
		t.Helper()
		if err := n.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	shut()
	change(n)
	if err := n.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	said, err := m.theServer(t.Context(), []fact.Fact{{Kind: fact.OpenFile, Verdict: fact.Active, PIDs: []int{n.PID()}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.last.keep(*said, time.Now()); err != nil {
		t.Fatal(err)
	}
	n.Exec(t, "CREATE DATABASE late")
	shut()
	return m, n
}

func atRest(dirs ...string) []fact.Fact {
	facts := []fact.Fact{{Kind: fact.OpenFile, Verdict: fact.Clear}}
	for _, dir := range dirs {
		facts = append(facts, fact.Fact{Kind: fact.DataAtRest, Verdict: fact.Active, Evidence: map[string]string{"datadir": dir}})
	}
	return facts
}

// TestCopyBeside: with an old copy beside them, the data are not those of the copy.
func TestCopyBeside(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		old := filepath.Join(t.TempDir(), "old")
		m, n := stopped(t, d, func(n *topology.Node) {
			if out, err := exec.CommandContext(t.Context(), "cp", "-a", n.DataDir(), old).CombinedOutput(); err != nil {
				t.Fatal(err, string(out))
			}
		})
		if s, err := m.local(t.Context(), operation.Reinstall, atRest(n.DataDir())); err != nil || s.GTIDs.IsEmpty() {
			t.Errorf("the data alone: %+v %v", s, err)
		}
		if s, err := m.local(t.Context(), operation.Reinstall, atRest(old, n.DataDir())); err == nil {
			t.Errorf("the copy has spoken for both: %+v", s)
		}
	})
}

// TestLogsElsewhere: a server whose log is not among its data speaks for its own
// data, and for nobody else's.
func TestLogsElsewhere(t *testing.T) {
	d := servertest.Of(t, server.MariaDB)
	logs := t.TempDir()
	m, n := stopped(t, d, func(*topology.Node) {}, "--log-bin="+filepath.Join(logs, "bin"))
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(n.DataDir(), link); err != nil {
		t.Fatal(err)
	}
	for _, dirs := range [][]string{{n.DataDir()}, {n.DataDir(), logs}, {link}, {link, logs}} {
		if s, err := m.local(t.Context(), operation.Reinstall, atRest(dirs...)); err != nil || s.GTIDs.IsEmpty() {
			t.Errorf("%v: %+v %v", dirs, s, err)
		}
	}
	stranger := topology.Start(t, d, 1)
	stranger.Exec(t, "CREATE DATABASE of_its_own")
	if err := stranger.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, dirs := range [][]string{{stranger.DataDir()}, {stranger.DataDir(), logs}} {
		if s, err := m.local(t.Context(), operation.Wipe, atRest(dirs...)); err == nil {
			t.Errorf("it has spoken for a stranger's data in %v: %+v", dirs, s)
		}
	}
}

// TestOverrideNonceInSet: an override counts once in all of the set, and where
// etcd is away the machine's own memory has to do.
func TestOverrideNonceInSet(t *testing.T) {
	etcd := etcdtest.Start(t)
	dir := t.TempDir()
	a, err := newAgent(t, dir, plain+"interlock: {set: s1, timeout: 1s, endpoints: [\""+etcd.Endpoint+"\"]}\n")
	if err != nil {
		t.Fatal(err)
	}
	nonce, expiry := request.NewNonce(), time.Now().Add(time.Minute)
	if err := a.spendInSet(t.Context(), nonce, expiry); err != nil {
		t.Fatal(err)
	}
	var refused *interlock.Refused
	if err := a.spendInSet(t.Context(), nonce, expiry); !errors.As(err, &refused) {
		t.Errorf("spent twice: %v", err)
	}
	etcd.Kill()
	if err := a.spendInSet(t.Context(), request.NewNonce(), expiry); err != nil {
		t.Errorf("without etcd: %v", err)
	}
}

// TestSetCalls: what people do with a set is signed, recorded, and told apart.
func TestSetCalls(t *testing.T) {
	alone, err := newAgent(t, t.TempDir(), plain)
	if err != nil {
		t.Fatal(err)
	}
	if _, denial := alone.Set(t.Context(), SetCall{Verb: SetLook}); denial == nil {
		t.Error("a machine without a set has shown one")
	}
	etcd := etcdtest.Start(t)
	a, err := newAgent(t, t.TempDir(), plain+"interlock: {set: s1, timeout: 1s, endpoints: [\""+etcd.Endpoint+"\"]}\n")
	if err != nil {
		t.Fatal(err)
	}
	view, denial := a.Set(t.Context(), SetCall{Verb: SetLook})
	if denial != nil || view.Set != "s1" || view.Problem == "" {
		t.Errorf("%+v %+v", view, denial)
	}
	before := a.log.Head().Seq
	for _, call := range []SetCall{{Verb: SetPublish, Envelope: []byte("{}")}, {Verb: SetClear, Envelope: []byte("{}")}, {Verb: "other"}} {
		_, denial := a.Set(t.Context(), call)
		if denial == nil {
			t.Errorf("%s: done", call.Verb)
		} else if call.Verb != "other" && denial.Class != policy.Signature {
			t.Errorf("%s: %+v", call.Verb, denial)
		}
	}
	if after := a.log.Head().Seq; after != before+2 {
		t.Errorf("%d records of two attempts", after-before)
	}
	etcd.Kill()
	if _, denial := a.Set(t.Context(), SetCall{Verb: SetLook}); denial == nil || denial.Class != policy.Unavailable {
		t.Errorf("%+v", denial)
	}
}
