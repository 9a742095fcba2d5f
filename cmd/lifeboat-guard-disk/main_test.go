package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/guard/fact"
)

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		want int
	}{
		{nil, 2}, {[]string{"--all", "/dev/sda"}, 2}, {[]string{"--wrong"}, 2}, {[]string{"--max-duration", "0", "--all"}, 2},
		{[]string{"--help"}, 0}, {[]string{"--version"}, 0}, {[]string{"/dev/no-such-disk"}, 10},
	} {
		var out, errOut bytes.Buffer
		if got := run(t.Context(), c.args, &out, &errOut); got != c.want {
			t.Errorf("%q: exit %d, want %d: %s%s", c.args, got, c.want, &out, &errOut)
		}
	}
}

func TestJudge(t *testing.T) {
	clear := []fact.Fact{{Kind: fact.BlockClaim, Verdict: fact.Clear}, {Kind: fact.DataAtRest, Verdict: fact.Clear}, {Kind: fact.VolatileData, Verdict: fact.Clear}}
	with := func(f fact.Fact) []fact.Fact { return append(slices.Clone(clear), f) }
	for name, c := range map[string]struct {
		facts []fact.Fact
		want  fact.Verdict
	}{
		"clear":           {clear, fact.Clear},
		"mounted":         {with(fact.Fact{Kind: fact.BlockClaim, Verdict: fact.Active}), fact.Clear},
		"in use":          {with(fact.Fact{Kind: fact.BlockClaim}), fact.Unknown},
		"data":            {with(fact.Fact{Kind: fact.DataAtRest, Verdict: fact.Active}), fact.Active},
		"a layer":         {with(fact.Fact{Kind: fact.Layer}), fact.Unknown},
		"data in memory":  {with(fact.Fact{Kind: fact.VolatileData, Verdict: fact.Active}), fact.Active},
		"nothing":         {nil, fact.Unknown},
		"not looked into": {clear[:1], fact.Unknown},
		"memory not seen": {clear[:2], fact.Unknown},
		"claims not seen": {clear[1:], fact.Unknown},
	} {
		if got := judge(c.facts).Verdict; got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// TestProgram runs the program as an installer does: static, on a disk.
func TestProgram(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, for loop devices")
	}
	dir := t.TempDir()
	program, image := filepath.Join(dir, "lifeboat-guard-disk"), filepath.Join(dir, "disk")
	must := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v: %v: %s", name, args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	must("go", "build", "-o", program, ".")
	must("truncate", "-s", "32M", image)
	device := must("losetup", "-f", "--show", image)
	t.Cleanup(func() { _ = exec.Command("losetup", "-d", device).Run() }) //nolint:noctx // the test has ended
	// In a world of its own: what else this machine hides is not what is tested.
	says := func(args ...string) (int, report) {
		t.Helper()
		const settle = `for i in 1 2 3; do umount -l /dev/shm /dev/pts 2>/dev/null; done; exec "$0" "$@"`
		inside := append([]string{"--pid", "--fork", "--mount", "--mount-proc", "sh", "-c", settle, program, "--json"}, args...)
		cmd := exec.CommandContext(t.Context(), "unshare", inside...)
		var errOut bytes.Buffer
		cmd.Stderr = &errOut
		out, _ := cmd.Output()
		var r report
		if err := json.Unmarshal(out, &r); err != nil {
			t.Fatalf("%v: %s%s", err, out, &errOut)
		}
		return cmd.ProcessState.ExitCode(), r
	}
	if code, r := says(device); code != 0 || r.Verdict != fact.Clear {
		t.Errorf("a blank disk: exit %d, %+v", code, r)
	}
	page := make([]byte, 16<<10)
	page[25], page[49] = 8, 1
	f, err := os.OpenFile(device, os.O_WRONLY|os.O_SYNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(page, 8<<20); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	if code, r := says(device); code != 6 || r.Verdict != fact.Active {
		t.Errorf("a disk with a tablespace: exit %d, %+v", code, r)
	}
	if code, r := says("--max-duration", "1ns", device); code != 10 || r.Verdict != fact.Unknown {
		t.Errorf("no time: exit %d, %+v", code, r)
	}
}

// TestImportSet: what is put into every installer stays small.
func TestImportSet(t *testing.T) {
	const module = "github.com/lifeboat-db/lifeboat/"
	house := []string{"cmd/lifeboat-guard-disk", "internal/guard/engine", "internal/guard/fact", "internal/guard/operation", "internal/guard/probe", "internal/guard/probe/disk"}
	outside := []string{"github.com/spf13/cobra", "github.com/spf13/pflag", "golang.org/x/sys"}
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}} {{.Module.Path}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range strings.Lines(string(out)) {
		path, from, _ := strings.Cut(strings.TrimSpace(line), " ")
		seen++
		ours, isOurs := strings.CutPrefix(path, module)
		if isOurs && !slices.Contains(house, ours) || !isOurs && !slices.Contains(outside, from) {
			t.Errorf("it uses %s", path)
		}
	}
	if seen < len(house) {
		t.Errorf("only %d packages were seen", seen)
	}
}
