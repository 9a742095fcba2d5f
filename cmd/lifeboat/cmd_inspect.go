package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/inspect"
	"github.com/lifeboat-db/lifeboat/internal/replay"
	"github.com/lifeboat-db/lifeboat/internal/ui"
	"github.com/lifeboat-db/lifeboat/internal/units"
)

type inspectOptions struct {
	inspect.Options
	top    int
	memory string
	json   bool
}

func inspectCommand() *cobra.Command {
	var o inspectOptions
	cmd := &cobra.Command{
		Use:   "inspect [flags] BINLOG...",
		Short: "Show what binary logs hold, table by table",
		Long: `Inspect reads binary logs, checks them as a replay does, and shows what they
hold: time and GTIDs, changes for each table, how much of them net change would
save, the largest transactions, and what a replay would execute alone, keep as
it was logged, or refuse. It needs no server.

BINLOG files may be given in any order. Where reading fails, the report covers
what lies before that place, and the error says where it is.

` + exitCodes,
		Example: `  # what is in these logs
  lifeboat inspect binlog.0000*

  # what a replay to this moment would have to do
  lifeboat inspect --from binlog.000041:157 --until 2014-01-10T17:29:59.5-08:00 binlog.0000*

  # who dropped the table, and when? for --until or --skip of a restore
  lifeboat inspect --find 'drop table' --from binlog.000041:157 binlog.0000*

  # the tables with most changes
  lifeboat inspect --json binlog.0000* | jq -r '.tables[] | [.database, .table, .event_bytes] | @tsv'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("find") && o.Find == "" {
				return fault.Usagef("--find: the text is empty")
			}
			o.Files = args
			return runInspect(cmd.Context(), &o, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.From, "from", "", "where to begin: FILE:POSITION, or gtid:SET of transactions to leave out (default: the beginning of the log)")
	f.StringVar(&o.Until, "until", "", "last moment to count: a time with zone, gtid:SET or FILE:POSITION (default: the end of the log)")
	f.StringVar(&o.Find, "find", "", "list the transactions that have this in a table's name (DATABASE.TABLE), or in a DDL or a logged statement, such as 'drop table'")
	f.IntVar(&o.top, "top", 10, "list this many of the largest transactions")
	f.StringVar(&o.memory, "memory", "1GiB", "memory for following rows from change to change")
	f.BoolVar(&o.json, "json", false, "write the report as one JSON object to standard output")
	return cmd
}

func runInspect(ctx context.Context, o *inspectOptions, out io.Writer) error {
	memory, err := units.ParseBytes(o.memory)
	if err != nil {
		return &fault.Error{Class: fault.Usage, Err: fmt.Errorf("--memory: %w", err)}
	}
	if o.top < 0 {
		return &fault.Error{Class: fault.Usage, Err: fmt.Errorf("--top %d: it takes 0 or more", o.top)}
	}
	o.Memory, o.Top = memory, o.top
	if o.top == 0 {
		o.Top = -1 // the zero value means the default
	}
	o.Progress = replay.NewProgress()
	stop := ui.Watch(os.Stderr, o.Progress)
	rep, err := inspect.Run(ctx, o.Options)
	stop()
	if o.json {
		return writeInspection(out, rep, err)
	}
	if rep == nil {
		return err
	}
	if _, werr := io.WriteString(out, ui.Inspection(rep)); werr != nil {
		return werr
	}
	return err
}

func writeInspection(out io.Writer, rep *inspect.Report, err error) error {
	if rep == nil {
		rep = &inspect.Report{SchemaVersion: inspect.SchemaVersion}
	}
	return writeJSON(out, rep, err)
}
