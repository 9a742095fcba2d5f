package guard

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/guard/gate"
	"github.com/lifeboat-db/lifeboat/internal/guard/operation"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// crowd is how many processes a busy machine has.
const crowd = 2000

// BenchmarkDecision is one decision on a machine with 2,000 processes more,
// each with a descriptor of a file of its own, a mapped program and libraries:
//
//	go test ./test/guard -run '^$' -bench Decision -benchtime 10x
//
// Reported beside the time: what each probe has taken, and the peak of resident
// memory (VmHWM) of the test, which is the agent and more.
func BenchmarkDecision(b *testing.B) {
	for _, c := range []struct {
		name string
		op   operation.Operation
		live bool
	}{
		{"drained/reboot", operation.Reboot, false},
		{"drained/wipe", operation.Wipe, false},
		{"live-server/reboot", operation.Reboot, true},
		{"live-server/stop-server", operation.StopServer, true},
	} {
		b.Run(c.name, func(b *testing.B) {
			m := newMachine(b, servertest.All(b)[0])
			if c.live {
				m.start()
			}
			people(b, crowd)
			m.guard()
			ask := m.ask(attempt{c.op, false})
			probes := map[string]int64{}
			b.ResetTimer()
			for b.Loop() {
				r := m.agent.Check(b.Context(), ask)
				if (r.Verdict == gate.Allowed) == c.live {
					b.Fatalf("%s: %s", r.Verdict, reasons(r))
				}
				for _, f := range r.Facts {
					probes[f.Probe] = max(probes[f.Probe], f.Micros)
				}
			}
			names := []string{}
			for name := range probes {
				names = append(names, name)
			}
			slices.Sort(names)
			for _, name := range names {
				b.ReportMetric(float64(probes[name])/1000, name+"-ms")
			}
			b.ReportMetric(peak(b), "MiB-peak")
		})
	}
}

// people starts processes that sleep, each with a file open.
func people(b *testing.B, n int) {
	b.Helper()
	dir := b.TempDir()
	for i := range n {
		f, err := os.Create(dir + "/" + strconv.Itoa(i))
		if err != nil {
			b.Fatal(err)
		}
		cmd := exec.Command("sleep", "3600") //nolint:noctx // ended below
		cmd.ExtraFiles = []*os.File{f}
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		_ = f.Close()
		b.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
	}
	time.Sleep(time.Second) // all have become sleep
}

var highWater = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

func peak(b *testing.B) float64 {
	b.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	m := highWater.FindSubmatch(text)
	if m == nil {
		b.Fatal("no VmHWM")
	}
	kib, err := strconv.Atoi(string(m[1]))
	if err != nil {
		b.Fatal(err)
	}
	return float64(kib) / 1024
}
