package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/lifeboat-db/lifeboat/internal/guard/agent"
	"github.com/lifeboat-db/lifeboat/internal/guard/interlock"
	"github.com/lifeboat-db/lifeboat/internal/guard/seal"
)

func setCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "set",
		Short: "Look at the machine's set of three, and say who belongs to it",
		Long: `A machine whose configuration has an interlock belongs to a set of one source and
two replicas, and asks it through etcd before anything is executed. Who belongs
to the set is said by a manifest, signed by somebody with the role "manifest";
a disruption whose machine does not come back is cleared by two people with the
role "approve". Both go through the agent of any member.`,
		Example: `  lifeboat-guard set show
  lifeboat-guard set manifest --set orders --epoch 1 --member db1=db1.json --member db2=db2.json \
      --member db3=db3.json --key ~/.ssh/id_ed25519 > manifest.json
  lifeboat-guard set publish manifest.json`,
		Args: exactArgs(0, "set wants one of show, manifest, publish, clearance, clear"),
		RunE: func(*cobra.Command, []string) error {
			return usagef("set wants one of show, manifest, publish, clearance, clear")
		},
	}
	c.AddCommand(setShowCommand(), manifestCommand(), clearanceCommand())
	c.AddCommand(sendCommand("publish", "MANIFEST", "Publish a manifest", agent.SetPublish,
		"Publishes a signed manifest. Its epoch must be higher than that of every one before."))
	c.AddCommand(sendCommand("clear", "CLEARANCE", "Clear a disruption by the word of two people", agent.SetClear,
		`Removes the set's disruption record. Needed only where it does not go by itself:
the machine does not come back, or is not to belong to the set any more. From
then on another member may be given up: make sure that the two others are well.`))
	return c
}

// askSet asks the agent about the set.
func askSet(c *cobra.Command, socket string, call agent.SetCall) (agent.SetView, error) {
	e, err := agent.Do(c.Context(), socket, agent.Call{Verb: agent.VerbSet, Set: call}, noOutput)
	switch {
	case err != nil:
		return agent.SetView{}, err
	case e.Error != "":
		code, ok := classCodes[e.Class]
		if !ok {
			code = codeFailed
		}
		return agent.SetView{}, &codedError{code, errors.New(e.Error)}
	case e.Set == nil:
		return agent.SetView{}, agent.ErrLost
	}
	return *e.Set, nil
}

func setShowCommand() *cobra.Command {
	var socket string
	var asJSON bool
	c := &cobra.Command{
		Use:   "show",
		Short: "Show the set as etcd has it: members, their health, who is leaving",
		Example: `  lifeboat-guard set show
  lifeboat-guard set show --json > set.json`,
		Args: exactArgs(0, "set show takes no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			view, err := askSet(c, socket, agent.SetCall{Verb: agent.SetLook})
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), struct {
					SchemaVersion int `json:"schema_version"`
					agent.SetView
				}{schemaVersion, view})
			}
			return showSet(c.OutOrStdout(), view, time.Now())
		},
	}
	c.Flags().StringVar(&socket, "socket", agent.SocketPath, "the agent's socket")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func showSet(w io.Writer, v agent.SetView, now time.Time) error {
	if v.Problem != "" {
		fmt.Fprintf(w, "set %s: no manifest counts: %s\n", v.Set, v.Problem)
		return nil
	}
	fmt.Fprintf(w, "set %s, epoch %d\n\n", v.Set, v.Epoch)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "MEMBER\tROLE\tBEHIND\tSEEN\tMACHINE\tREMARK")
	for _, m := range v.Members {
		role, lag, seen := string(m.State.Role), "", ""
		if role == "" {
			role = "unknown"
		}
		if m.State.Lag >= 0 && m.State.Role == interlock.Replica {
			lag = fmt.Sprintf("%d s", m.State.Lag)
		}
		if !m.Made.IsZero() {
			seen = now.Sub(m.Made).Round(time.Second).String() + " ago"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", m.Name, role, lag, seen, m.Machine, remark(m))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	if d := v.Disruption; d != nil {
		fmt.Fprintf(w, "\nLEAVING: machine %s, %s, %s since %s, asked by %s; token %d\n", d.Machine, d.Operation, d.Phase,
			d.Made.Format("2006-01-02 15:04:05 MST"), d.Requester, v.Token)
		if d.Outcome != "" {
			fmt.Fprintf(w, "         its command ended: %s\n", d.Outcome)
		}
		fmt.Fprintln(w, "Nobody else may go until it is healthy again, or two people clear it (lifeboat-guard set clearance).")
	}
	return nil
}

func remark(m agent.MemberView) string {
	var list []string
	if m.Self {
		list = append(list, "this machine")
	}
	if m.Problem != "" {
		list = append(list, m.Problem)
	}
	if m.State.Role == interlock.Replica && !m.State.Threads {
		list = append(list, "replication does not run")
	}
	return strings.Join(list, "; ")
}

func manifestCommand() *cobra.Command {
	var set, key string
	var epoch int64
	var members []string
	c := &cobra.Command{
		Use:   "manifest --set NAME --epoch N --member NAME=IDENTITY (three times) --key FILE",
		Short: "Make a signed manifest: who belongs to a set",
		Long: `Makes a manifest and prints it. IDENTITY is a file with what lifeboat-guard
identity prints on the member: its machine-id and its guard's public key. Fetch
it over a way that you trust. The epoch is 1 for the first manifest of a set and
rises with each.`,
		Example: `  ssh db1 lifeboat-guard identity > db1.json   # and so for db2, db3
  lifeboat-guard set manifest --set orders --epoch 1 --member db1=db1.json --member db2=db2.json \
      --member db3=db3.json --key ~/.ssh/id_ed25519 > manifest.json`,
		Args: exactArgs(0, "set manifest takes no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			m := interlock.Manifest{Version: interlock.Version, Set: set, Epoch: epoch}
			for _, text := range members {
				name, file, ok := strings.Cut(text, "=")
				if !ok {
					return usagef("--member %q is not NAME=FILE", text)
				}
				id, err := readIdentity(file)
				if err != nil {
					return err
				}
				m.Members = append(m.Members, interlock.Member{Machine: id.MachineID, Name: name, Key: id.GuardKey})
			}
			if err := m.Validate(); err != nil {
				return usagef("manifest: %w", err)
			}
			return signNew(c.OutOrStdout(), interlock.ManifestNamespace, m, key)
		},
	}
	c.Flags().StringVar(&set, "set", "", "name of the set, as in the configuration of its members")
	c.Flags().Int64Var(&epoch, "epoch", 0, "number of the manifest, higher than that of the one before")
	c.Flags().StringArrayVar(&members, "member", nil, "NAME=FILE of a member (three times)")
	c.Flags().StringVar(&key, "key", "", "OpenSSH ed25519 private key; without it only the payload is printed (see request attach)")
	return c
}

func clearanceCommand() *cobra.Command {
	var onto, key, reason string
	var valid time.Duration
	c := &cobra.Command{
		Use:   "clearance SET --reason TEXT --key FILE",
		Short: "Sign that a disruption may be cleared; it takes two people",
		Long: `Signs that the disruption in SET, which set show --json has printed, may be
cleared. The first person makes the clearance, the second adds a signature
(--onto). Neither may be the one who asked for what disrupts the set. It counts
for the record as it stands there, for at most an hour.`,
		Example: `  lifeboat-guard set show --json > set.json
  lifeboat-guard set clearance set.json --reason "db3 burned" --key bob > half.json
  lifeboat-guard set clearance set.json --onto half.json --key carol > clearance.json
  lifeboat-guard set clear clearance.json`,
		Args: exactArgs(1, "set clearance wants the file that set show --json has printed"),
		RunE: func(c *cobra.Command, args []string) error {
			text, err := readSmall(args[0])
			if err != nil {
				return err
			}
			var v agent.SetView
			if err := json.Unmarshal(text, &v); err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if v.Disruption == nil {
				return fmt.Errorf("%s: nobody is leaving that set: there is nothing to clear", args[0])
			}
			if onto != "" {
				return clearSecond(c, v, onto, key)
			}
			if reason == "" {
				return usagef("--reason is needed")
			}
			if err := checkValid(valid, longestApproval); err != nil {
				return err
			}
			clearance := interlock.Clearance{Version: interlock.Version, Set: v.Set, Epoch: v.Epoch, Machine: v.Disruption.Machine,
				Token: v.Token, Expires: time.Now().UTC().Truncate(time.Second).Add(valid), Reason: reason}
			return signNew(c.OutOrStdout(), interlock.ClearNamespace, clearance, key)
		},
	}
	c.Flags().StringVar(&onto, "onto", "", "the clearance that the first person has made")
	c.Flags().StringVar(&key, "key", "", "OpenSSH ed25519 private key; without it only the payload is printed (see request attach)")
	c.Flags().StringVar(&reason, "reason", "", "why, for the audit log")
	c.Flags().DurationVar(&valid, "valid", 30*time.Minute, "how long it counts, at most "+longestApproval.String())
	return c
}

// clearSecond adds the second signature, if the first person has cleared what
// the second one sees.
func clearSecond(c *cobra.Command, v agent.SetView, onto, key string) error {
	text, err := readSmall(onto)
	if err != nil {
		return err
	}
	e, err := seal.Parse(text)
	if err != nil {
		return fmt.Errorf("%s: %w", onto, err)
	}
	var first interlock.Clearance
	if err := json.Unmarshal(e.Payload, &first); err != nil {
		return fmt.Errorf("%s: %w", onto, err)
	}
	if first.Set != v.Set || first.Epoch != v.Epoch || first.Machine != v.Disruption.Machine || first.Token != v.Token {
		return fmt.Errorf("%s clears disruption %d of machine %s, and the set shows %d of machine %s", onto, first.Token, first.Machine, v.Token, v.Disruption.Machine)
	}
	fmt.Fprintf(c.ErrOrStderr(), "clears %s of machine %s, until %s: %s\n", v.Disruption.Operation, first.Machine, first.Expires.Format(time.RFC3339), first.Reason)
	return signOnto(c.OutOrStdout(), interlock.ClearNamespace, e, key)
}

func sendCommand(verb, what, short, call, long string) *cobra.Command {
	var socket string
	c := &cobra.Command{
		Use:     verb + " " + what,
		Short:   short,
		Long:    long,
		Example: "  lifeboat-guard set " + verb + " " + strings.ToLower(what) + ".json",
		Args:    exactArgs(1, "set "+verb+" wants one file"),
		RunE: func(c *cobra.Command, args []string) error {
			envelope, err := readSmall(args[0])
			if err != nil {
				return err
			}
			view, err := askSet(c, socket, agent.SetCall{Verb: call, Envelope: envelope})
			if err != nil {
				return err
			}
			return showSet(c.OutOrStdout(), view, time.Now())
		},
	}
	c.Flags().StringVar(&socket, "socket", agent.SocketPath, "the agent's socket")
	return c
}
