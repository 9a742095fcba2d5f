package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/lifeboat-db/lifeboat/internal/askguard"
	"github.com/lifeboat-db/lifeboat/internal/config"
	"github.com/lifeboat-db/lifeboat/internal/drill"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/replay"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/restore"
	"github.com/lifeboat-db/lifeboat/internal/retain"
	"github.com/lifeboat-db/lifeboat/internal/ui"
)

// restoreOptions are the flags of restore that are no keys of the configuration.
type restoreOptions struct {
	restore.Options
	repository string
	asOf       string
	skip       []string
	only       []string
	report     string
	noLease    bool
	json       bool
}

func restoreCommand() *cobra.Command {
	var o restoreOptions
	var flags *config.Flags
	cmd := &cobra.Command{
		Use:   "restore --dir DIR [flags]",
		Short: "Bring a database back from backup and archive, to any moment",
		Long: `Restore makes a data directory out of the last backup that is old enough and the
archived log behind it: it unpacks and fetches at the same time, starts a private
server on the directory, replays the log in parallel, reads back every row that
the log has touched, and shuts the server down. What is left is a data directory
for a server of the same version.

Where no log of one server leads from the backup to the end, as after a failover,
those of several are replayed one after another, by GTIDs.

--until names the last moment to keep: a time with its zone, gtid:SET or
FILE:POSITION; without it everything that is archived comes back.

--skip names transactions that are not to happen, such as a DROP TABLE. All others
do. If one of them depends on a skipped one, the restore ends with 6 and names it.

--only brings some databases and tables back. The result is no member of a set:
its GTID state is empty, and it cannot be moved forward.

Interrupted, by whatever: the same command goes on. A restore that is done can
be moved forward, by the same command with a later --until, or without one. Its
journal lies in DIR.restore; remove that when you do not need it any more.

A directory that is not empty, or that somebody uses, is never touched. Where the
machine has a guard (lifeboat-guard) it is asked as well, and nothing is restored
while it does not answer.

` + exitCodes,
		Example: `  lifeboat restore --dir /srv/mysql-new --plan
  lifeboat restore --dir /srv/mysql-new --until 2014-01-10T17:29:59.5-08:00
  lifeboat restore --dir /srv/mysql-new --only shop,crm.customers --until 2014-01-10T17:29:59Z
  lifeboat restore --dir /srv/mysql-new --skip 3e11fa47-71ca-11e1-9e33-c80aa9429562:23
  lifeboat restore --dir /srv/mysql-new --backup 20261125T221500Z-5e0f1c --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, err := loadConfig(flags, "set", "repositories")
			if err != nil {
				return err
			}
			return runRestore(cmd.Context(), loaded, o, cmd.OutOrStdout())
		},
	}
	flags = config.AddFlags(cmd.Flags(), "set", "repositories", "restore")
	f := cmd.Flags()
	f.StringVar(&o.Dir, "dir", "", "data directory to make; missing, empty, or of a restore")
	f.StringVar(&o.Until, "until", "", "last moment to keep: a time with zone, gtid:SET or FILE:POSITION (default: the end of the archive)")
	f.StringArrayVar(&o.skip, "skip", nil, "transactions to leave out: GTIDs or FILE:POSITION of their start, with commas; repeatable")
	f.StringArrayVar(&o.only, "only", nil, "databases and tables (DATABASE.TABLE) to bring back, with commas, and nothing else; repeatable")
	f.StringVar(&o.Backup, "backup", "", "id of the backup to begin with (default: the last one that is old enough)")
	f.BoolVar(&o.PlanOnly, "plan", false, "show what would be done, and do nothing")
	f.StringVar(&o.Mysqld, "mysqld", "", "server program of the version that was backed up (default: mariadbd or mysqld in PATH)")
	f.StringToStringVar(&o.Tools, "tool", nil, "NAME=PATH of a tool of the vendor (default: beside the server, or in PATH)")
	f.StringVar(&o.TimeZone, "time-zone", "", "time zone of the source's system, such as Europe/Berlin (default: what the backup says of it)")
	f.StringArrayVar(&o.ServerArgs, "server-option", nil, "option for the private server, such as --innodb-undo-tablespaces=3; repeatable")
	f.BoolVar(&o.NoProof, "no-proof", false, "do not read back the rows that the log has touched")
	f.StringVar(&o.Log, "log", "", "server whose log has to lead to the end, where logs of several end differently (default: any)")
	f.StringVar(&o.repository, "repository", "", "name of the repository to read (default: the first of the configuration)")
	f.StringVar(&o.asOf, "repository-as-of", "", "read the repository as it was at this time (a bucket with versioning)")
	f.BoolVar(&o.noLease, "no-lease", false, "write nothing to the repository, where expire may remove what is needed meanwhile")
	f.StringVar(&o.report, "report", "", "write what was done as an HTML page, one file, to this path")
	f.BoolVar(&o.json, "json", false, "write one JSON object to standard output")
	return cmd
}

func runRestore(ctx context.Context, c *config.Loaded, o restoreOptions, out io.Writer) error {
	if o.Dir == "" {
		return fault.Usagef("--dir is missing: the data directory to make")
	}
	asOf, err := moment("repository-as-of", o.asOf)
	if err != nil {
		return err
	}
	o.Skip, o.Only = strings.Join(o.skip, ","), strings.Join(o.only, ",")
	if o.Repository, err = openOne(ctx, c, o.repository, asOf); err != nil {
		return err
	}
	if o.Mysqld == "" && !o.PlanOnly {
		if o.Mysqld, err = serverInPath(); err != nil {
			return err
		}
	}
	o.Set, o.Workers, o.Memory, o.Progress = c.Set, c.Restore.Workers, int64(c.Restore.Memory), replay.NewProgress()
	if asOf.IsZero() && !o.noLease {
		o.Hold = holder(c.Set, retain.WhatRestore, o.Repository)
	}
	o.Allowed = askguard.Installed().Restore
	o.Predict = func(p *restore.Plan) { drill.Predict(c.Drill.Report, p) }
	shown := &steps{progress: o.Progress}
	o.Step = shown.step
	stop := ui.Live(os.Stderr, shown.line)
	rep, err := restore.Run(ctx, o.Options)
	stop()
	if kerr := drill.Keep(c.Drill.Report, rep); kerr != nil {
		fmt.Fprintf(os.Stderr, "lifeboat: what this restore took is not kept for predictions: %v\n", kerr)
	}
	if o.report != "" && !o.PlanOnly {
		err = errors.Join(err, writePage(o.report, pageOf(rep), err))
	}
	if o.json {
		return writeJSON(out, rep, err)
	}
	if err != nil {
		return err
	}
	text := ui.Restored(rep)
	if o.PlanOnly && rep.Plan != nil {
		text = ui.RestorePlan(rep.Plan)
	}
	_, err = io.WriteString(out, text)
	return err
}

// holder keeps backups from being expired, in each of these repositories.
func holder(set, what string, repositories ...*repository.Repository) func(context.Context, []string) (context.Context, func(), error) {
	return func(ctx context.Context, backups []string) (held context.Context, release func(), err error) {
		held, release = ctx, func() {}
		for _, r := range repositories {
			inner, drop, err := retain.Hold(held, r, set, what, backups...)
			if err != nil {
				release()
				return nil, nil, err
			}
			outer := release
			held, release = inner, func() { drop(); outer() }
		}
		return held, release, nil
	}
}

func serverInPath() (string, error) {
	for _, name := range []string{"mariadbd", "mysqld", "/usr/sbin/mariadbd", "/usr/sbin/mysqld"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fault.Usagef("--mysqld is missing, and neither mariadbd nor mysqld is in PATH")
}

// steps shows what a restore is at.
type steps struct {
	mu       sync.Mutex
	progress *replay.Progress
	now      []restore.Step // that have begun and not ended
}

func (s *steps) step(step restore.Step) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if step.Seconds == 0 {
		s.now = append(s.now, step)
		return
	}
	for i, other := range s.now {
		if other.Name == step.Name {
			s.now = append(s.now[:i:i], s.now[i+1:]...)
			return
		}
	}
}

func (s *steps) line() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return ui.RestoreLine(s.now, s.progress.Snapshot(), time.Now())
}
