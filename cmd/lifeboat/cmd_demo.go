package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/lifeboat-db/lifeboat/internal/demo"
	"github.com/lifeboat-db/lifeboat/internal/server"
)

type demoOptions struct {
	demo.Options
	flavor string
	json   bool
}

func demoCommand() *cobra.Command {
	var o demoOptions
	cmd := &cobra.Command{
		Use:   "demo [flags]",
		Short: "Watch a database die and come back, on private servers",
		Long: `Demo shows on real, private servers what Lifeboat is for: it starts a server,
fills it, takes a full backup, lets several connections work on it, kills it and
deletes its files. Then it restores the backup, replays the binary logs and
compares every table with what was there before. Nothing else on this machine is
touched, and nothing stays.

It needs a server that ` + "`make servers`" + ` has installed, or one of your own that
LIFEBOAT_MYSQLD names, and about 1 GB in $TMPDIR (default: /tmp).

` + exitCodes,
		Example: `  lifeboat demo
  lifeboat demo --flavor mysql --transactions 1000000
  lifeboat demo --compare      # and how long mysqlbinlog | mysql takes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDemo(cmd.Context(), &o, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.flavor, "flavor", "", "mariadb or mysql (default: what is installed)")
	f.StringVar(&o.Distribution, "distribution", "", "one of the installed servers by name, such as mariadb-11.8")
	f.IntVar(&o.Transactions, "transactions", 100_000, "transactions between backup and disaster")
	f.IntVar(&o.Workers, "workers", 0, "connections that apply (default: twice the CPUs, at least 4)")
	f.BoolVar(&o.Compare, "compare", false, "recover by mysqlbinlog | mysql too, and compare the times")
	f.BoolVar(&o.Keep, "keep", false, "keep backup, logs and restored data, and say where they are")
	f.BoolVar(&o.json, "json", false, "write the report as one JSON object to standard output")
	return cmd
}

func runDemo(ctx context.Context, o *demoOptions, out io.Writer) error {
	// Who closes our output or terminal must not leave servers and files behind:
	// without a handler both signals would end us where we are.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // then writes fail
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP)
	defer stop()
	o.Flavor = server.Flavor(o.flavor)
	o.Out = out
	if o.json {
		o.Out = nil
		if term.IsTerminal(int(os.Stderr.Fd())) {
			o.Out = os.Stderr
		}
	}
	rep, err := demo.Run(ctx, o.Options)
	if !o.json {
		return err
	}
	return writeJSON(out, rep, err)
}
