package recovery

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/test/compare"
	"github.com/lifeboat-db/lifeboat/test/faults/rig"
	"github.com/lifeboat-db/lifeboat/test/readme"
)

// TestReadme runs README's commands as they stand there: those that archive and
// back up, then, when the server is lost, those that bring it back.
func TestReadme(t *testing.T) {
	blocks := readme.Blocks(t, "test/recovery", 3)
	bin := t.TempDir()
	if _, err := rig.Build(bin); err != nil {
		t.Fatal(err)
	}
	d := servertest.Of(t, server.MariaDB)
	w := &way{t: t, d: d, i: servertest.Start(t, d, "--log-bin=bin", "--server-id=7")}
	w.exec("CREATE DATABASE shop", "CREATE TABLE shop.orders (id INT PRIMARY KEY AUTO_INCREMENT, what TEXT)", "INSERT INTO shop.orders (what) VALUES ('before')")
	mysqld, err := d.Tool("mysqld")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	env := append(os.Environ(), "PATH="+bin+":"+filepath.Dir(mysqld)+":"+os.Getenv("PATH"), "LIFEBOAT_SET=orders", "LIFEBOAT_SERVER1_DSN="+w.i.DSN(""),
		"LIFEBOAT_REPO1_URL="+filepath.Join(dir, "repository"), "NEW="+filepath.Join(dir, "new"),
		"LIFEBOAT_DRILL_SCRATCH="+filepath.Join(dir, "drill"), "LIFEBOAT_DRILL_REPORT="+filepath.Join(dir, "reports"))
	sh := func(script string) string {
		t.Helper()
		c := exec.CommandContext(t.Context(), "sh", "-e", "-c", script)
		c.Dir, c.Env = dir, env
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s\n%s", err, script, out)
		}
		t.Logf("%s", out)
		return string(out)
	}
	// What README leaves running ends with what follows it here.
	sh(blocks[0] + `lifeboat_archive=$!
` + mysqlCommand(w, "INSERT INTO shop.orders (what) SELECT what FROM shop.orders; INSERT INTO shop.orders (what) VALUES ('last'); FLUSH BINARY LOGS") + `
until lifeboat archive status | grep -q bin.000002; do sleep 0.1; done
sleep 2
kill $lifeboat_archive
wait $lifeboat_archive`)
	want := w.state(w.i)
	if err := w.i.Kill(); err != nil {
		t.Fatal(err)
	}
	if out := sh(blocks[1]); !strings.Contains(out, "The drill has passed") || !strings.Contains(out, "as it was written") {
		t.Errorf("%s", out)
	}
	if pages, err := filepath.Glob(filepath.Join(dir, "reports", "drill-*.html")); err != nil || len(pages) != 1 {
		t.Errorf("the drill has left %v %v", pages, err)
	}
	if out := sh(blocks[2]); !strings.Contains(out, "is restored") {
		t.Errorf("%s", out)
	}
	checkPredictions(t, sh, filepath.Join(dir, "reports"))
	i := servertest.StartWith(t, d, server.Options{DataDir: filepath.Join(dir, "new"), SkipNetworking: true})
	if diff := compare.Diff(want, w.state(i), "lost", "restored", compare.AtMost); diff != "" {
		t.Error(diff)
	}
}

// checkPredictions: how long a restore will take is told by the drill that there
// was, else by the restore that there was, else it is unknown; and info alarms if
// that is longer than a recovery may take.
func checkPredictions(t *testing.T, sh func(string) string, reports string) {
	t.Helper()
	for _, c := range []struct{ remove, plan, alarm string }{
		{"", "by the drill of", "4"}, {"history.jsonl", "by the restore of", "4"}, {"restores.jsonl", "unknown: no drill and no restore", "0"},
	} {
		if c.remove != "" {
			if err := os.Remove(filepath.Join(reports, c.remove)); err != nil {
				t.Error(err)
			}
		}
		if out := sh("lifeboat restore --dir other --plan"); !strings.Contains(out, c.plan) {
			t.Errorf("%q is not in\n%s", c.plan, out)
		}
		if out := sh("lifeboat info --drill-objective 10ms && echo ended with 0 || echo ended with $?"); !strings.Contains(out, "ended with "+c.alarm) {
			t.Errorf("no alarm by %s:\n%s", c.plan, out)
		}
		sh("lifeboat info") // within the objective of the default
	}
}

func mysqlCommand(w *way, statements string) string {
	return "mysql --no-defaults -u root -S " + w.i.Socket() + ` -e "` + statements + `"`
}
