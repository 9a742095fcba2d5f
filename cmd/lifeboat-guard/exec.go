package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/lifeboat-db/lifeboat/internal/guard/agent"
	"github.com/lifeboat-db/lifeboat/internal/guard/gate"
	"github.com/lifeboat-db/lifeboat/internal/guard/operation"
)

// schemaVersion is that of everything --json prints.
const schemaVersion = 1

type askFlags struct {
	socket   string
	devices  []string
	request  string
	override string
	json     bool
	explain  bool
}

func (f *askFlags) register(c *cobra.Command) {
	c.Flags().StringVar(&f.socket, "socket", agent.SocketPath, "the agent's socket")
	c.Flags().StringArrayVar(&f.devices, "device", nil, "block device that the operation reaches (repeatable); without it: the whole machine")
	c.Flags().BoolVar(&f.json, "json", false, "print the result as JSON")
	_ = c.MarkFlagFilename("socket")
	_ = c.MarkFlagFilename("device")
}

func (f *askFlags) ask(op string, argv []string) (gate.Ask, error) {
	parsed, err := operation.Parse(op)
	if err != nil {
		return gate.Ask{}, usage(err)
	}
	ask := gate.Ask{Operation: parsed, Scope: operation.Scope{Devices: f.devices}, Argv: argv}
	for _, device := range f.devices {
		if device == "" {
			return gate.Ask{}, usagef("--device is empty: name a device, or leave it out for the whole machine")
		}
	}
	if ask.Request, err = readSigned("--request", f.request); err != nil {
		return gate.Ask{}, err
	}
	ask.Override, err = readSigned("--override", f.override)
	return ask, err
}

// readSigned reads what a flag names, if it is given. Nothing must not pass for
// not given: root, who meant to bring a request, would be let through without.
func readSigned(flag, path string) ([]byte, error) {
	text, err := readSmall(path)
	if err == nil && path != "" && len(bytes.TrimSpace(text)) == 0 {
		err = &codedError{codeSignature, fmt.Errorf("%s %s is empty: make it again", flag, path)}
	}
	return text, err
}

// readSmall reads a file of at most 256 KiB; "-" is standard input, no name is
// no file.
func readSmall(path string) ([]byte, error) {
	const limit = 256 << 10
	in := io.Reader(os.Stdin)
	switch path {
	case "":
		return nil, nil
	case "-":
	default:
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, limit+1))
	if err == nil && len(text) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return text, err
}

func operationArgs(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	names := make([]string, len(operation.All))
	for i, op := range operation.All {
		names[i] = string(op)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

const operations = `OPERATION is stop-server, reboot, repartition, wipe, reinstall or decommission.`

func execCommand() *cobra.Command {
	var f askFlags
	c := &cobra.Command{
		Use:   "exec OPERATION [flags] -- COMMAND [ARGUMENT...]",
		Short: "Decide and run a command, in one go",
		Long: `Decides whether COMMAND may run for OPERATION and, if so, runs it: the machine is
looked at twice, the engines' own file locks are held while the command runs,
and what is done is in the audit log before it is done. The command gets no
input, a fixed environment, and the directory /. It goes on if this program
ends or the connection breaks: "status" shows whether it still runs, the audit
log how it has ended. Its output is kept in STATE/runs.

COMMAND begins with the absolute path of a program that only root can write.
With stop-server, reboot or --device it must be a listed one: docs/guard.md has
those that are built in, and the configuration adds others.

` + operations + `

` + exitCodes,
		Example: `  lifeboat-guard exec reinstall -- /usr/local/sbin/reinstall-now
  lifeboat-guard exec wipe --device /dev/vdb -- /usr/sbin/wipefs -a /dev/vdb
  lifeboat-guard exec stop-server -- /usr/bin/systemctl stop mariadb`,
		ValidArgsFunction: operationArgs,
		RunE: func(c *cobra.Command, args []string) error {
			dash := c.ArgsLenAtDash()
			if dash != 1 || len(args) < 2 {
				return usagef("exec wants one operation, two hyphens, and a command: exec wipe -- /usr/sbin/wipefs -a /dev/vdb")
			}
			ask, err := f.ask(args[0], args[1:])
			if err != nil {
				return err
			}
			return f.do(c, agent.VerbExec, ask)
		},
	}
	f.register(c)
	c.Flags().StringVar(&f.request, "request", "", "file with a signed request; - is standard input")
	c.Flags().StringVar(&f.override, "override", "", "file with an override that two people have approved; - is standard input")
	return c
}

func checkCommand() *cobra.Command {
	var f askFlags
	c := &cobra.Command{
		Use:   "check OPERATION [flags]",
		Short: "Show what the machine would say now; nothing is held or promised",
		Long: `Shows what the guard would decide at this moment, for people and dashboards. Do
not build "check, then act" on it: the machine may change in between, and tools
that take any failure for a reason to go on would go on. Use exec.

It looks at the machine only: whether a command is listed, who asks, and whether
another operation is under way is asked by exec alone.
` + operations + `

` + exitCodes,
		Example: `  lifeboat-guard check reinstall --explain
  lifeboat-guard check wipe --device /dev/vdb --json | jq .decision`,
		ValidArgsFunction: operationArgs,
		Args:              exactArgs(1, "check wants one operation"),
		RunE: func(c *cobra.Command, args []string) error {
			ask, err := f.ask(args[0], nil)
			if err != nil {
				return err
			}
			return f.do(c, agent.VerbCheck, ask)
		},
	}
	f.register(c)
	c.Flags().BoolVar(&f.explain, "explain", false, "show every fact, what is tolerated, and what it cost to find out")
	return c
}

func exactArgs(n int, message string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != n {
			return usage(errors.New(message))
		}
		return nil
	}
}

func (f *askFlags) do(c *cobra.Command, verb string, ask gate.Ask) error {
	out := gate.Output{Stdout: c.OutOrStdout(), Stderr: c.ErrOrStderr()}
	if f.json {
		out.Stdout = c.ErrOrStderr() // stdout is the result's alone
	}
	e, err := agent.Do(c.Context(), f.socket, agent.Call{Verb: verb, Ask: ask}, out)
	switch {
	case err != nil:
		return err
	case e.Error != "":
		return errors.New(e.Error)
	case e.Result == nil:
		return agent.ErrLost
	}
	if err := f.show(c, *e.Result); err != nil {
		return err
	}
	if code := resultCode(*e.Result); code != codeRan {
		return &codedError{code: code}
	}
	return nil
}

func (f *askFlags) show(c *cobra.Command, r gate.Result) error {
	switch {
	case f.json:
		return printJSON(c.OutOrStdout(), struct {
			SchemaVersion int `json:"schema_version"`
			ExitCode      int `json:"exit_code"`
			gate.Result
		}{schemaVersion, resultCode(r), r})
	case f.explain:
		return explain(c.OutOrStdout(), r)
	case r.Verdict == gate.Allowed:
		return summarize(c.OutOrStdout(), r)
	}
	return summarize(c.ErrOrStderr(), r)
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
