package main

import (
	"crypto/ed25519"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/lifeboat-db/lifeboat/internal/guard/gate"
	"github.com/lifeboat-db/lifeboat/internal/guard/machine"
	"github.com/lifeboat-db/lifeboat/internal/guard/operation"
	"github.com/lifeboat-db/lifeboat/internal/guard/request"
	"github.com/lifeboat-db/lifeboat/internal/guard/ticket"
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

// TestTicketOnce: of many who bring the same ticket at a time one is let in, and
// none afterwards.
func TestTicketOnce(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	public, err := machine.PublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	const uuid = "0d1c2b3a-0000-4000-8000-0123456789ab"
	known := []ticket.Known{{MachineID: strings.Repeat("a", 32), DMIUUID: uuid, GuardKey: public}}
	ledger := filepath.Join(t.TempDir(), "spent")
	for range 20 {
		now := time.Now().UTC().Truncate(time.Second)
		text, err := ticket.Seal(ticket.Ticket{
			Version: ticket.Version, Operation: operation.Reinstall, Machine: machine.Target{MachineID: known[0].MachineID, DMIUUID: uuid},
			BootID: "b", Run: "r", Nonce: request.NewNonce(), Made: now, Expires: now.Add(time.Minute),
		}, key)
		if err != nil {
			t.Fatal(err)
		}
		var in atomic.Int64
		var wait sync.WaitGroup
		bring := func() {
			c := &cobra.Command{}
			c.SetOut(io.Discard)
			if redeem(c, text, known, uuid, ledger) == nil {
				in.Add(1)
			}
		}
		for range 4 {
			wait.Go(bring)
		}
		wait.Wait()
		bring()
		if n := in.Load(); n != 1 {
			t.Fatalf("the ticket was good %d times", n)
		}
	}
}
