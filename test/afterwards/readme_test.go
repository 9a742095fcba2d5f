package afterwards

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/test/faults/rig"
	"github.com/lifeboat-db/lifeboat/test/readme"
)

// README's commands are run as they stand there, in a directory with the logs
// and with TARGET and POSITION set.
func TestReadmeCommands(t *testing.T) {
	blocks := readme.Blocks(t, "test/afterwards", 2)
	bin := t.TempDir()
	if _, err := rig.Build(bin); err != nil {
		t.Fatal(err)
	}
	w := strike(t, servertest.All(t)[0])
	target := w.restore(t)
	for _, b := range blocks {
		sh := exec.CommandContext(t.Context(), "sh", "-e", "-c", b)
		sh.Dir = filepath.Dir(w.logs[0])
		sh.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "TARGET="+target.DSN(""), "POSITION="+w.position)
		out, err := sh.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s\n%s", err, b, out)
		}
		if strings.Contains(b, "--finalize") && !strings.Contains(oneLine(string(out)), "The target is ready for use") {
			t.Errorf("README's replay does not say that the target is ready:\n%s", out)
		}
	}
	db := servertest.Open(t, target, "")
	if n := count(t.Context(), t, db, "SELECT COUNT(*) FROM shop.orders"); n != w.rows {
		t.Errorf("%d rows, want %d", n, w.rows)
	}
}

// The two commands of README are targets of the Makefile.
func TestReadmeTargets(t *testing.T) {
	make := exec.CommandContext(t.Context(), "make", "-n", "demo", "test")
	make.Dir = filepath.Join("..", "..")
	if out, err := make.CombinedOutput(); err != nil {
		t.Fatalf("make -n demo test: %v\n%s", err, out)
	}
}
