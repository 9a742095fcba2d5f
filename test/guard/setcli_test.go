package guard

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/guard/interlock"
	"github.com/lifeboat-db/lifeboat/internal/guard/interlock/etcdtest"
)

// desk is where people work with a set: the real program, an agent, their keys.
type desk struct {
	t      *testing.T
	dir    string
	etcd   *etcdtest.Server
	socket string
}

func newDesk(t *testing.T) *desk {
	d := &desk{t: t, dir: t.TempDir(), etcd: etcdtest.Start(t)}
	d.socket = filepath.Join(d.dir, "agent.sock")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", d.dir, "../../cmd/lifeboat-guard").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	config := "version: 1\nrequests: {clock_unchecked: true}\ninterlock: {set: orders, timeout: 1s, endpoints: [\"" + d.etcd.Endpoint + "\"]}\nkeys:\n"
	for person, role := range map[string]string{"alice": "manifest", "bob": "approve", "carol": "approve", "dave": "request"} {
		if out, err := exec.CommandContext(t.Context(), "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(d.dir, person)).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		config += "  - {name: " + person + ", roles: [" + role + "], key: \"" + d.read(person+".pub") + "\"}\n"
	}
	d.write("guard.yaml", config)
	agent := exec.CommandContext(t.Context(), filepath.Join(d.dir, "lifeboat-guard"), "agent", "--config", filepath.Join(d.dir, "guard.yaml"),
		"--state", filepath.Join(d.dir, "state"), "--socket", d.socket)
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = agent.Process.Kill(); _ = agent.Wait() })
	for range 200 {
		if _, err := os.Stat(d.socket); err == nil {
			return d
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("the agent does not listen")
	return nil
}

func (d *desk) read(name string) string {
	d.t.Helper()
	text, err := os.ReadFile(filepath.Join(d.dir, name))
	if err != nil {
		d.t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

func (d *desk) write(name, text string) {
	d.t.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// guard runs the program, demands an exit code, and returns what it prints.
func (d *desk) guard(want int, args ...string) string {
	d.t.Helper()
	cmd := exec.CommandContext(d.t.Context(), "./lifeboat-guard", args...)
	cmd.Dir = d.dir
	var errOut strings.Builder
	cmd.Stderr = &errOut
	out, _ := cmd.Output()
	if code := cmd.ProcessState.ExitCode(); code != want {
		d.t.Errorf("%v: exit %d, want %d: %s%s", args, code, want, out, errOut.String())
	}
	return string(out)
}

// TestSetCommands: from three identities to a manifest, and from a machine that
// does not come back to a set that is whole again, by the real program.
func TestSetCommands(t *testing.T) {
	d := newDesk(t)
	socket := []string{"--socket", d.socket}
	with := func(args ...string) []string { return append(args, socket...) }
	self := d.guard(0, with("identity")...)
	d.write("db1.json", self)
	for n, person := range map[string]string{"2": "bob", "3": "carol"} { // machines of which only identities are here
		var id map[string]string
		if err := json.Unmarshal([]byte(self), &id); err != nil {
			t.Fatal(err)
		}
		id["machine_id"], id["guard_key"] = strings.Repeat(n, 32), strings.Join(strings.Fields(d.read(person + ".pub"))[:2], " ")
		text, err := json.Marshal(id)
		if err != nil {
			t.Fatal(err)
		}
		d.write("db"+n+".json", string(text))
	}
	d.guard(0, with("set", "show")...)
	members := []string{"set", "manifest", "--set", "orders", "--member", "db1=db1.json", "--member", "db2=db2.json"}
	d.guard(2, append(members, "--epoch", "1", "--key", "alice")...) // two are no set
	members = append(members, "--member", "db3=db3.json")
	d.guard(2, append(members, "--epoch", "0", "--key", "alice")...)
	d.write("bad.json", d.guard(0, append(members, "--epoch", "1", "--key", "dave")...))
	d.guard(12, with("set", "publish", "bad.json")...)
	d.write("good.json", d.guard(0, append(members, "--epoch", "1", "--key", "alice")...))
	d.guard(0, with("set", "publish", "good.json")...)
	d.guard(14, with("set", "publish", "good.json")...) // an epoch counts once
	if out := d.guard(0, with("set", "show")...); !strings.Contains(out, "db3") || strings.Contains(out, "LEAVING") {
		t.Error(out)
	}

	// Machine 2 has gone and does not come back.
	gone, err := json.Marshal(interlock.Disruption{Version: 1, ID: "x", Epoch: 1, Machine: strings.Repeat("2", 32), Operation: "reboot",
		Requester: "bob", Phase: interlock.Committed, Made: time.Now().UTC()})
	if err != nil {
		t.Fatal(err)
	}
	d.write("well.json", d.guard(0, with("set", "show", "--json")...))
	d.guard(1, "set", "clearance", "well.json", "--reason", "r", "--key", "bob")
	d.etcd.Put(t, "/lifeboat/v1/sets/orders/disruption", string(gone))
	if out := d.guard(0, with("set", "show")...); !strings.Contains(out, "LEAVING: machine 2222") {
		t.Error(out)
	}
	d.write("set.json", d.guard(0, with("set", "show", "--json")...))
	clearance := func(reason, first, second string) {
		d.write("half.json", d.guard(0, "set", "clearance", "set.json", "--reason", reason, "--key", first))
		d.write("clearance.json", d.guard(0, "set", "clearance", "set.json", "--onto", "half.json", "--key", second))
	}
	d.guard(2, "set", "clearance", "set.json", "--key", "bob")
	clearance("burned", "bob", "carol")
	d.guard(14, with("set", "clear", "half.json")...)      // one person
	d.guard(14, with("set", "clear", "clearance.json")...) // bob has asked for the reboot
	var record interlock.Disruption
	if err := json.Unmarshal(gone, &record); err != nil {
		t.Fatal(err)
	}
	record.Requester = "dave"
	if gone, err = json.Marshal(record); err != nil {
		t.Fatal(err)
	}
	d.etcd.Put(t, "/lifeboat/v1/sets/orders/disruption", string(gone))
	d.guard(14, with("set", "clear", "clearance.json")...) // of a record that has changed
	d.write("set.json", d.guard(0, with("set", "show", "--json")...))
	clearance("burned", "bob", "dave")
	d.guard(12, with("set", "clear", "clearance.json")...) // dave may not approve
	clearance("burned", "bob", "carol")
	if out := d.guard(0, with("set", "clear", "clearance.json")...); strings.Contains(out, "LEAVING") {
		t.Error(out)
	}
	d.guard(14, with("set", "clear", "clearance.json")...)
	if log := d.read("state/audit.log"); strings.Count(log, `"event":"clearance"`) != 6 || strings.Count(log, `"event":"manifest"`) != 3 {
		t.Errorf("%d clearances and %d manifests are recorded", strings.Count(log, `"event":"clearance"`), strings.Count(log, `"event":"manifest"`))
	}
	d.etcd.Kill()
	d.guard(11, with("set", "show")...)
	d.guard(0, "audit", "verify", "--state", "state")
}
