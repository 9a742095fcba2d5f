package afterwards

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// README's commands are run as they stand there, in a directory with the logs
// and with TARGET and POSITION set.
func TestReadmeCommands(t *testing.T) {
	root := filepath.Join("..", "..")
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)<!-- run by test/afterwards -->\n```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(blocks) < 2 {
		t.Fatalf("%d blocks to run in README", len(blocks))
	}
	bin := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(bin, "lifeboat"), "./cmd/lifeboat")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	w := strike(t, servertest.All(t)[0])
	target := w.restore(t)
	for _, b := range blocks {
		sh := exec.CommandContext(t.Context(), "sh", "-e", "-c", b[1])
		sh.Dir = filepath.Dir(w.logs[0])
		sh.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "TARGET="+target.DSN(""), "POSITION="+w.position)
		out, err := sh.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s\n%s", err, b[1], out)
		}
		if strings.Contains(b[1], "--finalize") && !strings.Contains(oneLine(string(out)), "The target is ready for use") {
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
