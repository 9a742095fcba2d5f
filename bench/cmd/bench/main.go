// Command bench compares lifeboat with the other ways to do the same.
//
//	go run ./bench/cmd/bench            the published comparison: half an hour
//	go run ./bench/cmd/bench --quick    the same in small, to see that it runs
//
// Exit status: 0 all ways ended in the source's state; 1 one failed or ended in
// another state; 2 usage; 130 interrupted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/lifeboat-db/lifeboat/bench"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:]))
}

// options are the flags' values that are not in the configuration.
type options struct {
	quick    bool
	generate bool
}

func run(ctx context.Context, args []string) int {
	config, o, err := parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	if err := config.Validate(); err != nil && !o.generate {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 2
	}
	if o.generate {
		err = bench.GenerateReplay(ctx, config)
	} else {
		_, err = bench.RunReplay(ctx, config)
	}
	switch {
	case ctx.Err() != nil:
		return 130
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// parse reads the flags, twice if they ask for the quick preset: whatever is
// given overrules the preset.
func parse(args []string) (bench.ReplayConfig, options, error) {
	config := bench.DefaultReplay()
	o, err := bind(&config, args)
	if err == nil && o.quick {
		config = bench.QuickReplay()
		o, err = bind(&config, args)
	}
	config.Out, config.Log = os.Stdout, os.Stderr
	return config, o, err
}

func bind(c *bench.ReplayConfig, args []string) (o options, err error) {
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.BoolVar(&o.quick, "quick", false, "small sizes: does it run at all?")
	fs.BoolVar(&o.generate, "generate", false, "make the data sets and stop")
	fs.Func("dist", "servers, separated by commas (default "+strings.Join(c.Distributions, ",")+")", list(&c.Distributions))
	fs.Func("ways", "of "+strings.Join(bench.Ways(), ",")+" (default "+strings.Join(c.Ways, ",")+")", list(&c.Ways))
	fs.StringVar(&c.Workload, "workload", c.Workload, "one of "+strings.Join(bench.Workloads(), ", "))
	fs.IntVar(&c.Transactions, "transactions", c.Transactions, "0: the published number for server and workload")
	fs.IntVar(&c.Tables, "tables", c.Tables, "number of tables")
	fs.IntVar(&c.TableSize, "table-size", c.TableSize, "rows in each table before the workload")
	fs.IntVar(&c.LogFileSize, "log-size", c.LogFileSize, "bytes after which the source begins a new log")
	fs.StringVar(&c.Lifeboat, "lifeboat", c.Lifeboat, "the lifeboat program")
	fs.StringVar(&c.Profile, "pprof", c.Profile, "file for a CPU profile of lifeboat (LIFEBOAT_CPUPROFILE)")
	fs.StringVar(&c.Cache, "cache", c.Cache, "where servers and data sets are")
	fs.StringVar(&c.Results, "results", c.Results, "directory for reports as JSON and Markdown; empty: none")
	fs.BoolVar(&c.Keep, "keep", c.Keep, "keep the targets' data directories and the tools' output")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if fs.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "bench: unexpected argument", fs.Arg(0))
		return o, errors.New("unexpected argument")
	}
	return o, nil
}

func list(target *[]string) func(string) error {
	return func(s string) error {
		*target = strings.Split(s, ",")
		return nil
	}
}
