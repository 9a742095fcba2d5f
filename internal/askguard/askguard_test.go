package askguard

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/fault"
)

// TestJudge: alive in, above or below the directory, or not known: refused. A
// fact that is missing is not known. (test/guard asks a real agent.)
func TestJudge(t *testing.T) {
	clear := []fact{{"visibility", "CLEAR", "machine", ""}, {"engine-lock", "CLEAR", "", ""}, {"open-file", "CLEAR", "", ""}}
	with := func(f ...fact) []fact { return append(append([]fact(nil), clear...), f...) }
	for name, c := range map[string]struct {
		facts []fact
		says  string
	}{
		"nothing lives":            {clear, ""},
		"a server elsewhere":       {with(fact{"engine-lock", "ACTIVE", "/srv/other/ibdata1", "locked"}, fact{"open-file", "ACTIVE", "/srv/database", "open"}), ""},
		"data at rest, a source":   {with(fact{"data-at-rest", "ACTIVE", "/srv/db", ""}, fact{"server-source", "ACTIVE", "", ""}, fact{"layer", "UNKNOWN", "", ""}), ""},
		"a lock in it":             {with(fact{"engine-lock", "ACTIVE", "/srv/db/ibdata1", "locked"}), "ACTIVE: locked"},
		"open files in it":         {with(fact{"open-file", "ACTIVE", "/srv/db", "open"}), "ACTIVE: open"},
		"below it":                 {with(fact{"open-file", "ACTIVE", "/srv/db/data/", "open"}), "ACTIVE: open"},
		"above it":                 {with(fact{"open-file", "ACTIVE", "/srv", "open"}), "ACTIVE: open"},
		"processes are hidden":     {with(fact{"visibility", "UNKNOWN", "processes", "hidden"}), "UNKNOWN: hidden"},
		"not visible, whatever":    {with(fact{"visibility", "ACTIVE", "/elsewhere", "odd"}), "odd"},
		"a lock cannot be tested":  {with(fact{"engine-lock", "UNKNOWN", "/elsewhere", "untested"}), "UNKNOWN: untested"},
		"a verdict of a later one": {with(fact{"open-file", "MAYBE", "/elsewhere", "new"}), "MAYBE: new"},
		"no locks were looked at":  {append(append([]fact(nil), clear[:1]...), clear[2:]...), "nothing about engine-lock"},
		"no files":                 {clear[:2], "nothing about open-file"},
		"no visibility":            {clear[1:], "nothing about visibility"},
		"nothing":                  {nil, "UNKNOWN"},
	} {
		err := judge(c.facts, "/srv/db")
		if (err == nil) != (c.says == "") || err != nil && (fault.ClassOf(err) != fault.Refused || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}

// TestInstalled: a machine without a guard is not asked; one that has a guard
// and no agent that answers is refused.
func TestInstalled(t *testing.T) {
	dir := t.TempDir()
	g := Guard{Socket: filepath.Join(dir, "run", "guard.sock"), Config: filepath.Join(dir, "guard.yaml")}
	if err := g.Restore(t.Context(), "/srv/db"); err != nil {
		t.Errorf("no guard: %v", err)
	}
	if err := os.WriteFile(g.Config, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refused := func(when string) {
		t.Helper()
		if err := g.Restore(t.Context(), "/srv/db"); fault.ClassOf(err) != fault.Refused || err == nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	refused("a configuration, and no agent")
	if err := os.Remove(g.Config); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Dir(g.Socket), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", g.Socket) //nolint:noctx // closed below
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	refused("an agent that hangs up")
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	refused("the socket of an agent that is dead")
}
