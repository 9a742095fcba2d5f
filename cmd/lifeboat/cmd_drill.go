package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/lifeboat-db/lifeboat/internal/config"
	"github.com/lifeboat-db/lifeboat/internal/drill"
	"github.com/lifeboat-db/lifeboat/internal/replay"
	"github.com/lifeboat-db/lifeboat/internal/retain"
	"github.com/lifeboat-db/lifeboat/internal/ui"
)

func drillCommand() *cobra.Command {
	var o restoreOptions
	var flags *config.Flags
	cmd := &cobra.Command{
		Use:   "drill [flags]",
		Short: "Rehearse a recovery: restore, check, time and remove it again",
		Long: `Drill brings the last backup and the whole archived log back into a directory of
its own, reads back every row that the log has touched, has the server check
every table, and removes all of it again. Nothing of the source is asked or
changed. What it took is a line of the history.

It ends with 4 if what came back is not right, and also if it took longer than
drill.objective: then the next recovery would, too.

` + exitCodes,
		Example: `  lifeboat drill
  lifeboat drill --drill-objective 20m --drill-scratch /srv/drill --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, err := loadConfig(flags, "set", "repositories")
			if err != nil {
				return err
			}
			return runDrill(cmd.Context(), loaded, o, cmd.OutOrStdout())
		},
	}
	flags = config.AddFlags(cmd.Flags(), "set", "repositories", "restore", "drill")
	f := cmd.Flags()
	f.StringVar(&o.Mysqld, "mysqld", "", "server program of the version that was backed up (default: mariadbd or mysqld in PATH)")
	f.StringToStringVar(&o.Tools, "tool", nil, "NAME=PATH of a tool of the vendor (default: beside the server, or in PATH)")
	f.StringVar(&o.Log, "log", "", "server whose log has to lead to the end, where logs of several end differently (default: any)")
	f.StringVar(&o.repository, "repository", "", "name of the repository to read (default: the first of the configuration)")
	f.BoolVar(&o.json, "json", false, "write one JSON object to standard output")
	return cmd
}

func runDrill(ctx context.Context, c *config.Loaded, o restoreOptions, out io.Writer) (err error) {
	if o.Repository, err = openOne(ctx, c, o.repository, time.Time{}); err != nil {
		return err
	}
	if o.Mysqld == "" {
		if o.Mysqld, err = serverInPath(); err != nil {
			return err
		}
	}
	o.Set, o.Workers, o.Memory, o.Progress = c.Set, c.Restore.Workers, int64(c.Restore.Memory), replay.NewProgress()
	o.Hold = holder(c.Set, retain.WhatRestore, o.Repository)
	shown := &steps{progress: o.Progress}
	o.Step = shown.step
	stop := ui.Live(os.Stderr, shown.line)
	r, err := drill.Run(ctx, drill.Options{Restore: o.Options, Scratch: c.Drill.Scratch, Objective: c.Drill.Objective, History: c.Drill.Report})
	stop()
	if c.Drill.Report != "" && ctx.Err() == nil {
		err = errors.Join(err, keepPage(c.Drill.Report, r, c.Drill.Objective, err))
	}
	if o.json {
		return errors.Join(err, json.NewEncoder(out).Encode(r))
	}
	_, werr := io.WriteString(out, ui.Drill(r))
	return errors.Join(err, werr)
}

// keepPage writes the drill's page beside its history.
func keepPage(dir string, r *drill.Result, objective time.Duration, err error) error {
	history, herr := drill.History(dir)
	return errors.Join(herr, writePage(drillReport(dir, r.Time), drillPage(r, history, objective), err))
}
