package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/user"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/lifeboat-db/lifeboat/internal/guard/agent"
	"github.com/lifeboat-db/lifeboat/internal/guard/config"
)

func agentCommand() *cobra.Command {
	var socket string
	o := agent.Options{Version: version}
	c := &cobra.Command{
		Use:   "agent",
		Short: "Guard this machine: answer exec, check and status until stopped",
		Long: `Runs the guard of this machine. It must be root, outside of containers, or it
sees too little and refuses everything. A command that it has started goes on
when the agent ends; an agent that is started again knows of it.

The state directory must stay the same: it holds the guard's key and the audit
log. While the agent runs it also holds a file that looks like a server's
(STATE/canary); after a kill -9 or a crash it stays, and an agent with another
state directory, or an installer's disk probe, takes it for data: remove it.

Exit codes: 0 it was stopped; 1 it failed, or another agent runs; 2 usage.`,
		Example: `  lifeboat-guard agent
  lifeboat-guard agent --config /etc/lifeboat/guard.yaml --state /srv/guard --socket /run/guard.sock`,
		Args: exactArgs(0, "agent takes no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if os.Geteuid() != 0 {
				return errors.New("the agent must be root: it has to see every process and disk of the machine")
			}
			o.ConfigOptional = !c.Flags().Changed("config")
			a, err := agent.New(o)
			if err != nil {
				return err
			}
			l, err := agent.Listen(c.Context(), socket)
			if err == nil {
				err = a.Admit(socket, lookupGroup)
			}
			if err == nil {
				fmt.Fprintf(c.ErrOrStderr(), "lifeboat-guard: guarding this machine at %s\n", socket)
				notify("READY=1")
				err = a.Run(c.Context(), l)
			}
			return errors.Join(err, a.Close())
		},
	}
	c.Flags().StringVar(&o.ConfigPath, "config", config.Path, "configuration; without this flag the file may be absent")
	c.Flags().StringVar(&o.StateDir, "state", agent.StateDir, "directory of key, audit log and journal")
	c.Flags().StringVar(&socket, "socket", agent.SocketPath, "socket to listen at")
	_ = c.MarkFlagFilename("config", "yaml")
	_ = c.MarkFlagDirname("state")
	return c
}

func lookupGroup(name string) (int, error) {
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(g.Gid)
}

// notify tells systemd, if it has started us (sd_notify(3)).
func notify(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return
	}
	_, _ = conn.Write([]byte(state))
	_ = conn.Close()
}

func statusCommand() *cobra.Command {
	var socket string
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show the agent, the machine's identity, and what is running",
		Long: `Shows the agent, the machine's identity, the last record of the audit log and
the command that is running, if one is. How a command has ended is in the audit
log, STATE/audit.log, in a record with the event "ran" or "outcome unknown".

Exit codes: 0 the agent answers; 2 usage; 10 no agent answers, or it refuses
everything and says why.`,
		Example: `  lifeboat-guard status --json | jq .machine`,
		Args:    exactArgs(0, "status takes no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := askStatus(c, socket)
			if err != nil {
				return err
			}
			if asJSON {
				err = printJSON(c.OutOrStdout(), struct {
					SchemaVersion int `json:"schema_version"`
					agent.Status
				}{schemaVersion, s})
			} else {
				showStatus(c.OutOrStdout(), s)
			}
			if err == nil && (s.Problem != "" || s.Set != nil && s.Set.Problem != "") {
				err = &codedError{code: codeUnknown}
			}
			return err
		},
	}
	c.Flags().StringVar(&socket, "socket", agent.SocketPath, "the agent's socket")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func askStatus(c *cobra.Command, socket string) (agent.Status, error) {
	e, err := agent.Do(c.Context(), socket, agent.Call{Verb: agent.VerbStatus}, noOutput)
	switch {
	case err != nil:
		return agent.Status{}, err
	case e.Error != "":
		return agent.Status{}, errors.New(e.Error)
	case e.Status == nil:
		return agent.Status{}, agent.ErrLost
	}
	return *e.Status, nil
}

func setLine(s agent.SetStatus) string {
	switch {
	case s.Problem != "":
		return fmt.Sprintf("%s, REFUSES ALL: %s", s.Name, s.Problem)
	case s.Published.IsZero():
		return s.Name + ", nothing published yet"
	}
	return fmt.Sprintf("%s, health published at %s (lifeboat-guard set show)", s.Name, s.Published.Format("15:04:05"))
}

func showStatus(w io.Writer, s agent.Status) {
	fmt.Fprintf(w, "agent       %s, process %d, since %s\n", s.Version, s.PID, s.Started.Format("2006-01-02 15:04:05 MST"))
	fmt.Fprintf(w, "machine     %s\n", s.Machine.MachineID)
	fmt.Fprintf(w, "audit log   record %d, %s\n", s.Audit.Seq, s.Audit.Hash)
	if s.Running != nil {
		fmt.Fprintf(w, "running     %s: %q since %s\n", s.Running.Operation, s.Running.Argv, s.Running.Begin.Format("15:04:05"))
	}
	if s.Set != nil {
		fmt.Fprintf(w, "set         %s\n", setLine(*s.Set))
	}
	if s.Problem != "" {
		fmt.Fprintf(w, "REFUSES ALL %s\n", s.Problem)
	}
}
