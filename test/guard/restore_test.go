package guard

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/askguard"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/guard/agent"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// TestRestoreAsks: a restore asks the agent of its machine, which knows where a
// server lives, and what it cannot know.
func TestRestoreAsks(t *testing.T) {
	m := newMachine(t, servertest.Of(t, server.MariaDB))
	i := m.start()
	m.guard()
	g := askguard.Guard{Socket: filepath.Join(m.dir, "guard.sock")}
	l, err := agent.Listen(t.Context(), g.Socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- agent.Serve(ctx, l, m.agent) }()
	refused := func(dir, says string) {
		t.Helper()
		if err := g.Restore(t.Context(), dir); fault.ClassOf(err) != fault.Refused || err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", dir, err, says)
		}
	}
	if err := g.Restore(t.Context(), filepath.Join(m.mnt, "other")); err != nil {
		t.Errorf("beside a live server: %v", err)
	}
	refused(m.datadir(), "ACTIVE")
	refused(m.mnt, "ACTIVE")
	refused(filepath.Join(m.datadir(), "mysql"), "ACTIVE")
	if err := i.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := g.Restore(t.Context(), m.datadir()); err != nil { // what is in it is the restore's own question
		t.Errorf("the server is down: %v", err)
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	g.Config = filepath.Join(m.dir, "guard.yaml")
	refused(filepath.Join(m.mnt, "other"), "does not say what lives here")
}
