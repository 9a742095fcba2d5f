package main

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/check"
	"github.com/lifeboat-db/lifeboat/internal/config"
	"github.com/lifeboat-db/lifeboat/internal/ui"
)

// checkOptions are the flags of check that are no keys of the configuration.
type checkOptions struct {
	server   string
	tools    map[string]string
	lock     bool
	noBackup bool
	wait     time.Duration
	json     bool
}

func checkCommand() *cobra.Command {
	var o checkOptions
	var flags *config.Flags
	cmd := &cobra.Command{
		Use:   "check [flags]",
		Short: "Try configuration and credentials before they are needed",
		Long: `Check tries what archive, backup and restore depend on. Of each server: account
and privileges, the binary log and its settings, its clock; of the one that
backups are taken of, whether the driver has all that it needs on this host. Of
each repository: whether it opens, with the keys that are configured, takes
objects, overwrites none, its clock and its room. Of each server's log in each
repository: whether all that the server has by now is archived within --wait.

Servers are only asked. A repository gets one small object, which is deleted
again; where the account may not delete, expire removes it. A server that nobody
writes to shows no archive that has stopped.

Every line is ok, warn or FAIL. It ends with the exit code of the first failure;
warnings change nothing about that.

` + exitCodes,
		Example: `  lifeboat check
  lifeboat check --no-backup --wait 30s     # on a host that only archives
  lifeboat check --json | jq -r '.lines[] | select(.level != "ok") | [.about, .what, .why, .next] | @tsv'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, err := loadConfig(flags, "set", "servers", "repositories")
			if err != nil {
				return err
			}
			return runCheck(cmd.Context(), loaded, o, cmd.OutOrStdout())
		},
	}
	flags = config.AddFlags(cmd.Flags(), "set", "servers", "repositories", "backup")
	f := cmd.Flags()
	f.StringVar(&o.server, "server", "", "name of the server that backups are taken of (default: the first of the configuration)")
	f.StringToStringVar(&o.tools, "tool", nil, "NAME=PATH of a tool of the vendor (default: in PATH)")
	f.BoolVar(&o.lock, "lock", false, "backups are dumps that lock all tables")
	f.BoolVar(&o.noBackup, "no-backup", false, "this host takes no backups")
	f.DurationVar(&o.wait, "wait", 10*time.Second, "how long the archive may take to have what the servers have now")
	f.BoolVar(&o.json, "json", false, "write one JSON object to standard output")
	return cmd
}

func runCheck(ctx context.Context, c *config.Loaded, o checkOptions, out io.Writer) error {
	to := check.Options{Set: c.Set, Driver: driverOf(c), Source: backup.Source{Tools: o.tools, Lock: o.lock}, Wait: o.wait}
	for _, s := range c.Servers {
		to.Servers = append(to.Servers, check.Server{Name: s.Name, DSN: s.Source})
	}
	for _, r := range c.Repositories {
		to.Places = append(to.Places, check.Place{Name: r.Name, Location: r.Readable})
	}
	if !o.noBackup {
		s, err := serverNamed(c, o.server)
		if err != nil {
			return err
		}
		to.BackupOf = s.Name
	}
	r, err := check.Run(ctx, to)
	if err == nil {
		err = r.Err()
	}
	if o.json {
		return writeJSON(out, r, err)
	}
	_, werr := io.WriteString(out, ui.Checked(r))
	return errors.Join(err, werr)
}
