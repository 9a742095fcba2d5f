package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lifeboat-db/lifeboat/internal/config"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/replay"
	"github.com/lifeboat-db/lifeboat/internal/ui"
	"github.com/lifeboat-db/lifeboat/internal/units"
)

type replayOptions struct {
	replay.Options
	memory       string
	defaultsFile string
	mode         string
	skip         []string
	only         []string
	json         bool
}

func replayCommand() *cobra.Command {
	var o replayOptions
	cmd := &cobra.Command{
		Use:   "replay --target DSN [flags] BINLOG...",
		Short: "Replay binary logs into a restored server, in parallel",
		Long: `Replay brings a server that holds a restored backup forward along its binary
logs. Nobody may use the server meanwhile: between the beginning and the end its
tables pass through states that never existed.

BINLOG files may be given in any order. Before anything is written all of them
are read and checked: checksums, gaps, start, stop.

--skip names transactions that are not applied. They count as contained, as an
empty transaction under their GTID does. What depends on them is a conflict (6).

If it is interrupted, by Ctrl-C or kill -9 or a crash of the server, run the
same command again: it goes on where it was.

` + exitCodes,
		Example: `  # from the position that the backup recorded, to the end of the log
  lifeboat replay --target 'root@unix(/run/mysqld/mysqld.sock)/' --from binlog.000041:157 binlog.0000*

  # to the last moment before the accident, then ready for use
  lifeboat replay --target 'root@unix(/run/mysqld/mysqld.sock)/' --from auto \
      --until 2014-01-10T17:29:59.5-08:00 --verify --finalize binlog.0000*

  # everything but one transaction: a table that was dropped by accident stays
  lifeboat replay --target 'root@unix(/run/mysqld/mysqld.sock)/' --from auto \
      --skip 3e11fa47-71ca-11e1-9e33-c80aa9429562:23 --verify --finalize binlog.0000*

  # what would be done
  lifeboat replay --target 'root@tcp(127.0.0.1:3306)/' --from binlog.000041:157 --plan binlog.0000*`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Files = args
			if cmd.Flags().Changed("workers") && o.Workers == 0 {
				return &fault.Error{Class: fault.Usage, Err: errors.New("--workers 0: it takes at least 1")}
			}
			return runReplay(cmd.Context(), &o, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Target, "target", "", "server to replay into: USER[:PASSWORD]@unix(SOCKET)/ or USER@tcp(HOST:PORT)/")
	f.StringVar(&o.defaultsFile, "defaults-file", "", "read user, password, host, port and socket from the [client] group of this option file")
	f.StringVar(&o.From, "from", "auto", "where to begin: FILE:POSITION, gtid:SET, or auto (the target's GTID state or an earlier run's checkpoint)")
	f.StringVar(&o.Until, "until", "", "last moment to keep: a time with zone, gtid:SET or FILE:POSITION (default: the end of the log)")
	f.StringArrayVar(&o.skip, "skip", nil, "transactions to leave out: GTIDs or FILE:POSITION of their start, with commas; repeatable")
	f.StringArrayVar(&o.only, "only", nil, "databases and tables (DATABASE.TABLE) that are wanted, with commas; all others are emptied, and dropped by --finalize; repeatable")
	f.StringVar(&o.mode, "mode", "net-change", "net-change: each changed row is written once")
	f.IntVar(&o.Workers, "workers", 0, "connections that apply (default: twice the CPUs, at least 4)")
	f.StringVar(&o.memory, "memory", "1GiB", "memory for the index of changed rows")
	f.BoolVar(&o.PlanOnly, "plan", false, "show what would be done and write nothing")
	f.BoolVar(&o.Verify, "verify", false, "read back the last image of every touched key and compare")
	f.BoolVar(&o.Finalize, "finalize", false, "make the target ready for use: GTID state, settings, no checkpoint")
	f.BoolVar(&o.json, "json", false, "write the report as one JSON object to standard output")
	return cmd
}

func runReplay(ctx context.Context, o *replayOptions, out io.Writer) error {
	memory, err := units.ParseBytes(o.memory)
	if err != nil {
		return &fault.Error{Class: fault.Usage, Err: fmt.Errorf("--memory: %w", err)}
	}
	if memory == 0 {
		return &fault.Error{Class: fault.Usage, Err: errors.New("--memory 0: it takes at least 16MiB")}
	}
	o.Memory = memory
	if o.mode != "net-change" {
		return &fault.Error{Class: fault.Usage, Err: fmt.Errorf("--mode %q: this version knows net-change only", o.mode)}
	}
	if o.defaultsFile != "" {
		if o.Target, err = config.WithDefaults(o.Target, o.defaultsFile); err != nil {
			return fmt.Errorf("--target with --defaults-file: %w", err)
		}
	}
	o.Skip, o.Only = strings.Join(o.skip, ","), strings.Join(o.only, ",")
	o.Progress = replay.NewProgress()
	stop := ui.Watch(os.Stderr, o.Progress)
	rep, err := replay.Run(ctx, o.Options)
	stop()
	if o.json {
		return writeJSON(out, rep, err)
	}
	if err != nil {
		return err
	}
	text := ui.Report(rep)
	if o.PlanOnly {
		text = ui.Plan(rep.Plan)
	}
	_, err = io.WriteString(out, text)
	return err
}
