package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/lifeboat-db/lifeboat/internal/atomicfile"
	"github.com/lifeboat-db/lifeboat/internal/guard/agent"
	"github.com/lifeboat-db/lifeboat/internal/guard/gate"
	"github.com/lifeboat-db/lifeboat/internal/guard/machine"
	"github.com/lifeboat-db/lifeboat/internal/guard/operation"
	"github.com/lifeboat-db/lifeboat/internal/guard/request"
	"github.com/lifeboat-db/lifeboat/internal/guard/seal"
	"github.com/lifeboat-db/lifeboat/internal/guard/spent"
	"github.com/lifeboat-db/lifeboat/internal/guard/ticket"
)

func ticketCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "ticket",
		Short: "Release this machine to an installer outside of it, and check such a release",
		Long: `A reinstall that comes from outside (PXE, BMC) cannot go through exec. Instead
the machine is asked for a release ticket, which its guard gives only where it
would let a reinstall run; whoever serves the installer verifies the ticket
first, and lets a machine without one boot from its disk.`,
		Example: `  # on the machine, by whoever wants to install it anew
  lifeboat-guard exec reinstall -- /usr/bin/lifeboat-guard ticket issue --out /run/ticket.json
  # where the installer is served
  lifeboat-guard ticket verify --uuid "$uuid" --machines machines.json --spent spent ticket.json`,
		Args: exactArgs(0, "ticket wants one of issue, verify"),
		RunE: func(*cobra.Command, []string) error { return usagef("ticket wants one of issue, verify") },
	}
	c.AddCommand(ticketIssueCommand(), ticketVerifyCommand())
	return c
}

func ticketIssueCommand() *cobra.Command {
	var state, out string
	var valid time.Duration
	c := &cobra.Command{
		Use:   "issue",
		Short: "Issue a ticket, as the command of exec reinstall, and hold the machine released",
		Long: `Works only as the command of "lifeboat-guard exec reinstall": the machine has
then proven that it may be installed anew. The ticket goes to standard output
and, with --out, into a file. After that the command stays until the ticket has
expired (exit code 13) or the machine goes down: as long as it does, it holds
the engines' locks, so that no server starts on the released machine's data, and
nothing else may be executed.`,
		Example: `  lifeboat-guard exec reinstall -- /usr/bin/lifeboat-guard ticket issue --out /run/ticket.json`,
		Args:    exactArgs(0, "ticket issue takes no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if valid <= 0 || valid > ticket.MaxLife {
				return usagef("--valid must be more than 0 and at most %s", ticket.MaxLife)
			}
			t, err := newTicket(state, valid)
			if err != nil {
				return err
			}
			key, err := machine.LoadOrCreateKey(state)
			if err != nil {
				return err
			}
			text, err := ticket.Seal(t, key)
			if err != nil {
				return err
			}
			text = append(text, '\n')
			if out != "" {
				if err := atomicfile.Replace(out, text); err != nil {
					return err
				}
			}
			if _, err := c.OutOrStdout().Write(text); err != nil {
				return err
			}
			return holdReleased(c.Context(), t, out)
		},
	}
	c.Flags().StringVar(&state, "state", agent.StateDir, "the agent's state directory")
	c.Flags().StringVar(&out, "out", "", "file to write the ticket to as well; removed when it has expired")
	c.Flags().DurationVar(&valid, "valid", 15*time.Minute, "how long the ticket counts, at most 30m")
	return c
}

// newTicket makes a ticket if this process is the command that the gate runs.
func newTicket(state string, valid time.Duration) (ticket.Ticket, error) {
	entry, err := gateRun(state)
	if err != nil {
		return ticket.Ticket{}, &codedError{codeRefused, err}
	}
	id, err := machine.Read("/")
	if err != nil {
		return ticket.Ticket{}, err
	}
	if id.DMIUUID == "" {
		return ticket.Ticket{}, errors.New("this machine has no DMI UUID, by which whoever boots it could know it")
	}
	now := time.Now().UTC().Truncate(time.Second)
	return ticket.Ticket{
		Version: ticket.Version, Operation: operation.Reinstall, Machine: id.Target, BootID: id.BootID, Run: entry.Run,
		Nonce: request.NewNonce(), Made: now, Expires: now.Add(valid),
	}, nil
}

// gateRun returns the journal's entry of the command that is this process.
func gateRun(state string) (gate.Entry, error) {
	why := "a ticket is issued by the command of \"lifeboat-guard exec reinstall\" only: "
	entry, pids, running, err := (&gate.Journal{Dir: state}).Running()
	if err != nil {
		return entry, fmt.Errorf("%s%w", why, err)
	}
	if !running {
		return entry, errors.New(why + "no command is being run")
	}
	if !slices.Contains(pids, os.Getpid()) { //check:ticket-not-the-gates
		return entry, fmt.Errorf("%sthe command that is being run is %q, and this is not it", why, entry.Argv)
	}
	if entry.Operation != operation.Reinstall { //check:ticket-other-operation
		return entry, fmt.Errorf("%sthis one is of %s", why, entry.Operation)
	}
	return entry, nil
}

// holdReleased waits until the ticket has expired.
func holdReleased(ctx context.Context, t ticket.Ticket, out string) error {
	fmt.Fprintf(os.Stderr, "released until %s; held until then, or until the machine goes down\n", t.Expires.Format("15:04:05 MST"))
	select {
	case <-ctx.Done():
		return fmt.Errorf("interrupted: the ticket counts until %s nevertheless: %w", t.Expires.Format("15:04:05 MST"), ctx.Err())
	case <-time.After(time.Until(t.Expires)):
	}
	err := error(&codedError{codeExpired, errors.New("the ticket has expired, and the machine is still here")})
	if out != "" {
		err = errors.Join(err, os.Remove(out))
	}
	return err
}

func ticketVerifyCommand() *cobra.Command {
	var uuid, machines, ledger string
	c := &cobra.Command{
		Use:   "verify --uuid UUID --machines FILE --spent FILE TICKET",
		Short: "Say whether a ticket releases the machine with a UUID, once",
		Long: `Exits with 0 only if the guard of the machine with this UUID has signed the
ticket, for now, and it has not been used before. Everything else means: boot
the machine from its disk. MACHINES holds what "lifeboat-guard identity" has
printed on each machine, one after the other; fetch it over a way that you trust.
SPENT is a file in which used tickets are remembered.`,
		Example: `  cat db1.json db2.json db3.json > machines.json
  lifeboat-guard ticket verify --uuid "$uuid" --machines machines.json --spent spent ticket.json && serve-installer`,
		Args: exactArgs(1, "ticket verify wants one ticket"),
		RunE: func(c *cobra.Command, args []string) error {
			if uuid == "" || machines == "" || ledger == "" {
				return usagef("--uuid, --machines and --spent are needed")
			}
			known, err := readMachines(machines)
			if err != nil {
				return err
			}
			text, err := readSmall(args[0])
			if err != nil {
				return err
			}
			return ticketError(redeem(c, text, known, uuid, ledger))
		},
	}
	c.Flags().StringVar(&uuid, "uuid", "", "SMBIOS UUID of the machine that boots (iPXE: ${uuid})")
	c.Flags().StringVar(&machines, "machines", "", "file with the identities of all machines")
	c.Flags().StringVar(&ledger, "spent", "", "file that remembers used tickets; made if it is not there")
	return c
}

// redeem verifies a ticket and uses it up. Several may do so at a time, and the
// ledger has one writer: each waits for those before.
func redeem(c *cobra.Command, text []byte, known []ticket.Known, uuid, ledger string) error {
	lock, err := os.OpenFile(ledger+".lock", os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	store, err := spent.Open(ledger, time.Now)
	if err != nil {
		return err
	}
	now, err := store.Clock()
	if err == nil {
		var t ticket.Ticket
		if t, err = ticket.Verify(text, known, ticket.Want{UUID: uuid, Now: now}); err == nil {
			err = store.Spend(t.Nonce, t.Expires)
		}
		if err == nil {
			fmt.Fprintf(c.OutOrStdout(), "machine %s (%s) is released until %s\n", t.Machine.MachineID, t.Machine.DMIUUID, t.Expires.Format(time.RFC3339))
		}
	}
	return errors.Join(err, store.Close())
}

func ticketError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ticket.ErrExpired), errors.Is(err, spent.ErrClock):
		return &codedError{codeExpired, err}
	case errors.Is(err, seal.ErrSignature):
		return &codedError{codeSignature, err}
	case errors.Is(err, ticket.ErrMismatch), errors.Is(err, spent.ErrSpent):
		return &codedError{codeRefused, err}
	}
	return err
}

// readMachines reads identities, one JSON object after the other.
func readMachines(path string) (known []ticket.Known, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	for dec := json.NewDecoder(f); ; {
		var m agent.Machine
		err := dec.Decode(&m)
		if errors.Is(err, io.EOF) {
			return known, nil
		}
		if err != nil || m.MachineID == "" || strings.TrimSpace(m.GuardKey) == "" {
			return nil, fmt.Errorf("%s: identity %d is not what lifeboat-guard identity prints: %w", path, len(known)+1, err)
		}
		known = append(known, ticket.Known{MachineID: m.MachineID, DMIUUID: m.DMIUUID, GuardKey: m.GuardKey})
	}
}
