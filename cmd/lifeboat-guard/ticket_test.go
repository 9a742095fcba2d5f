package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/guard/gate"
	"github.com/lifeboat-db/lifeboat/internal/guard/operation"
)

// asProgram has this test binary be the program itself.
const asProgram = "LIFEBOAT_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// TestTicketIsTheGates: a ticket is issued by the command that the gate runs for
// a reinstall, and by no other process. (The machine of this test may have no
// UUID: then what is allowed to issue one fails at that, with another code.)
func TestTicketIsTheGates(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		name    string
		running *gate.Entry
		mark    string
		want    string // in its message; "": the gate has let it pass
	}{
		{"nothing runs", nil, "run-1", "no command is being run"},
		{"another command runs", &gate.Entry{Run: "run-1", Operation: operation.Reinstall, Begin: time.Now()}, "", "this is not it"},
		{"the mark of an earlier run", &gate.Entry{Run: "run-1", Operation: operation.Reinstall, Begin: time.Now()}, "run-0", "this is not it"},
		{"another operation", &gate.Entry{Run: "run-1", Operation: operation.Wipe, Begin: time.Now()}, "run-1", "this one is of wipe"},
		{"it is the command", &gate.Entry{Run: "run-1", Operation: operation.Reinstall, Begin: time.Now()}, "run-1", ""},
	} {
		state := filepath.Join(dir, strings.ReplaceAll(c.name, " ", "-"))
		if err := os.Mkdir(state, 0o700); err != nil {
			t.Fatal(err)
		}
		if c.running != nil {
			text, err := json.Marshal(c.running)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(state, "running.json"), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.CommandContext(t.Context(), os.Args[0], "ticket", "issue", "--state", state, "--valid", "1s")
		cmd.Env = append(os.Environ(), asProgram+"=1", "LIFEBOAT_GUARD_RUN="+c.mark)
		out, _ := cmd.CombinedOutput()
		code := cmd.ProcessState.ExitCode()
		if (code == codeRefused) != (c.want != "") || !strings.Contains(string(out), c.want) {
			t.Errorf("%s: exit %d: %s", c.name, code, out)
		}
	}
}
