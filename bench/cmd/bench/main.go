// Command bench compares lifeboat with the other ways to do the same.
//
//	go run ./bench/cmd/bench            the published comparison of replays: half an hour
//	go run ./bench/cmd/bench archive    what archiving costs the source, and how fast it catches up
//	go run ./bench/cmd/bench restore    a restore of 5 GB beside the vendor's tools: half an hour
//	go run ./bench/cmd/bench … --quick  the same in small, to see that it runs
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

// benchmarks are the functions that read a benchmark's flags, and give what is
// then to be done.
var benchmarks = map[string]func(*flag.FlagSet, []string) (func(context.Context) error, error){
	"replay": replay, "archive": archive, "restore": restore,
}

func run(ctx context.Context, args []string) int {
	name := "replay"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name, args = args[0], args[1:]
	}
	prepare, ok := benchmarks[name]
	if !ok {
		fmt.Fprintln(os.Stderr, "bench: unknown benchmark "+name+": choose replay, archive or restore")
		return 2
	}
	do, err := prepare(flag.NewFlagSet("bench "+name, flag.ContinueOnError), args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 2
	}
	err = do(ctx)
	switch {
	case ctx.Err() != nil:
		return 130
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func replay(fs *flag.FlagSet, args []string) (func(context.Context) error, error) {
	c, generate, err := parseReplay(fs, args)
	if err != nil {
		return nil, err
	}
	c.Out, c.Log = os.Stdout, os.Stderr
	if generate {
		return func(ctx context.Context) error { return bench.GenerateReplay(ctx, c) }, nil
	}
	return func(ctx context.Context) error { _, err := bench.RunReplay(ctx, c); return err }, c.Validate()
}

func parseReplay(fs *flag.FlagSet, args []string) (c bench.ReplayConfig, generate bool, err error) {
	c = bench.DefaultReplay()
	fs.BoolVar(&generate, "generate", false, "make the data sets and stop")
	fs.Func("ways", "of "+strings.Join(bench.Ways(), ",")+" (default "+strings.Join(c.Ways, ",")+")", list(&c.Ways))
	fs.StringVar(&c.Workload, "workload", c.Workload, "one of "+strings.Join(bench.Workloads(), ", "))
	fs.IntVar(&c.Transactions, "transactions", c.Transactions, "0: the published number for server and workload")
	fs.IntVar(&c.LogFileSize, "log-size", c.LogFileSize, "bytes after which the source begins a new log")
	fs.StringVar(&c.Profile, "pprof", c.Profile, "file for a CPU profile of lifeboat (LIFEBOAT_CPUPROFILE)")
	common(fs, &c.Common)
	err = parse(fs, args, func() { c = bench.QuickReplay() })
	return c, generate, err
}

func archive(fs *flag.FlagSet, args []string) (func(context.Context) error, error) {
	c := bench.DefaultArchive()
	fs.IntVar(&c.Rounds, "rounds", c.Rounds, "turns of each archiver")
	fs.IntVar(&c.Settle, "settle", c.Settle, "most seconds of a turn in which the archiver catches up; they do not count")
	fs.IntVar(&c.Seconds, "seconds", c.Seconds, "seconds of a turn that count")
	fs.BoolVar(&c.Together, "together", false, "all processes share all processors")
	fs.StringVar(&c.Place, "place", c.Place, "directory for what is archived, not on the source's disk")
	fs.IntVar(&c.Behind, "behind", c.Behind, "seconds of writes to catch up with")
	common(fs, &c.Common)
	if err := parse(fs, args, func() { c = bench.QuickArchive() }); err != nil {
		return nil, err
	}
	c.Out, c.Log = os.Stdout, os.Stderr
	return func(ctx context.Context) error { _, err := bench.RunArchive(ctx, c); return err }, c.Validate()
}

func restore(fs *flag.FlagSet, args []string) (func(context.Context) error, error) {
	c := bench.DefaultRestore()
	fs.IntVar(&c.Transactions, "transactions", c.Transactions, "behind the backup")
	common(fs, &c.Common)
	if err := parse(fs, args, func() { c = bench.QuickRestore() }); err != nil {
		return nil, err
	}
	c.Out, c.Log = os.Stdout, os.Stderr
	return func(ctx context.Context) error { _, err := bench.RunRestore(ctx, c); return err }, c.Validate()
}

func common(fs *flag.FlagSet, c *bench.Common) {
	fs.Func("dist", "servers, separated by commas (default "+strings.Join(c.Distributions, ",")+")", list(&c.Distributions))
	fs.IntVar(&c.Tables, "tables", c.Tables, "number of tables")
	fs.IntVar(&c.TableSize, "table-size", c.TableSize, "rows in each table before the workload")
	fs.StringVar(&c.Lifeboat, "lifeboat", c.Lifeboat, "the lifeboat program")
	fs.StringVar(&c.Cache, "cache", c.Cache, "where servers and data sets are")
	fs.StringVar(&c.Results, "results", c.Results, "directory for reports as JSON and Markdown; empty: none")
	fs.BoolVar(&c.Keep, "keep", c.Keep, "keep the data directories and the tools' output")
}

// parse reads the flags, twice if they ask for the quick preset: whatever is
// given overrules the preset.
func parse(fs *flag.FlagSet, args []string, preset func()) error {
	quick := fs.Bool("quick", false, "small sizes: does it run at all?")
	err := fs.Parse(args)
	if err == nil && *quick {
		preset()
		err = fs.Parse(args)
	}
	if err == nil && fs.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %s", fs.Arg(0))
	}
	return err
}

func list(target *[]string) func(string) error {
	return func(s string) error {
		*target = strings.Split(s, ",")
		return nil
	}
}
