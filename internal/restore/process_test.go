package restore_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/repository/store"
	"github.com/lifeboat-db/lifeboat/internal/restore"
)

// child makes the test's own binary a process that does one restore: its value
// is a childTask.
const child = "LIFEBOAT_TEST_RESTORE"

// childTask is what such a process does.
type childTask struct {
	URL, Dir, Mysqld string
	Tools            map[string]string
}

func TestMain(m *testing.M) {
	if text := os.Getenv(child); text != "" {
		if err := restoreOnce(text); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// restoreOnce writes a line for each step that begins.
func restoreOnce(text string) error {
	var c childTask
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	repo, err := repository.Open(context.Background(), repository.Location{Name: "main", Options: store.Options{URL: c.URL}})
	if err != nil {
		return err
	}
	_, err = restore.Run(context.Background(), restore.Options{Repository: repo, Set: "s", Dir: c.Dir, Mysqld: c.Mysqld, Tools: c.Tools, Memory: 256 << 20,
		Step: func(s restore.Step) {
			if s.Seconds == 0 {
				fmt.Println("step", s.Name)
			}
		}})
	return err
}

// killed runs restores into a directory in processes that are killed, each a
// little after it has begun to replay a log, or goes over to the next one. It
// reports whether any was; those that are refused end before.
func (p *pair) killed(dir string, r *rand.Rand) (killed bool) {
	p.t.Helper()
	kills := 1
	if long {
		kills += r.IntN(3)
	}
	for range kills {
		after := time.Duration(r.IntN(400)) * time.Millisecond
		if r.IntN(3) == 0 {
			after = 0
		}
		if !p.kill(dir, 1+r.IntN(2), after) {
			break
		}
		killed = true
	}
	return killed
}

// kill kills a restore after the n-th step of it that replays a log has begun.
func (p *pair) kill(dir string, n int, after time.Duration) (killed bool) {
	p.t.Helper()
	task, err := json.Marshal(childTask{URL: p.url, Dir: dir, Mysqld: p.mysqld(), Tools: p.d.Tools()})
	if err != nil {
		p.t.Fatal(err)
	}
	cmd := exec.CommandContext(p.t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), child+"="+string(task))
	out, err := cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if n--; !strings.HasPrefix(lines.Text(), "step "+restore.StepReplay) {
			n++
		}
		if n == 0 {
			time.Sleep(after)
			_ = cmd.Process.Kill()
		}
	}
	_ = cmd.Wait()
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled()
}
