// Command lifeboat recovers MySQL and MariaDB databases.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/lifeboat-db/lifeboat/internal/fault"
)

// version is set by the linker.
var version = "development"

func main() {
	os.Exit(run())
}

func run() int {
	defer profile()()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() { // a second Ctrl-C ends at once
		<-ctx.Done()
		stop()
	}()
	root := &cobra.Command{
		Use:           "lifeboat",
		Short:         "Disaster recovery for MySQL and MariaDB: archive, back up, restore, replay",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Long: `Lifeboat brings a MySQL or MariaDB server back from a backup and its binary
logs, many times as fast as mysqlbinlog piped into the client, and says at the
end what it has proven.

` + exitCodes,
	}
	root.AddCommand(replayCommand())
	root.AddCommand(inspectCommand())
	root.AddCommand(demoCommand())
	root.AddCommand(archiveCommand())
	root.AddCommand(backupCommand())
	root.AddCommand(restoreCommand())
	root.AddCommand(checkCommand())
	root.AddCommand(infoCommand())
	root.AddCommand(drillCommand())
	root.AddCommand(verifyCommand())
	root.AddCommand(expireCommand())
	root.AddCommand(repositoryCommand())
	root.AddCommand(configCommand())
	root.AddCommand(extras()...)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return &fault.Error{Class: fault.Usage, Err: err}
	})
	err := root.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintf(os.Stderr, "lifeboat: %v\n", err)
	}
	return exitCode(ctx, err)
}

// profile writes a CPU profile where LIFEBOAT_CPUPROFILE says.
func profile() func() {
	path := os.Getenv("LIFEBOAT_CPUPROFILE")
	if path == "" {
		return func() {}
	}
	f, err := os.Create(path)
	if err != nil || pprof.StartCPUProfile(f) != nil {
		return func() {}
	}
	return func() {
		pprof.StopCPUProfile()
		_ = f.Close()
	}
}

const exitCodes = `Exit codes: 0 done and proven; 1 failed; 2 usage; 3 stopped, run again to
resume; 4 verification failed; 5 gap, or start or stop not in the log;
6 refused: somebody's data, what depends on a skipped transaction, or no member
of the set; 7 another run holds the target; 8 storage or credentials; 9 out of
space; 130 interrupted.`

func exitCode(ctx context.Context, err error) int {
	if err == nil {
		return 0
	}
	if ctx.Err() != nil {
		return int(fault.Stopped)
	}
	if isUsage(err) {
		return int(fault.Usage)
	}
	return int(fault.ClassOf(err))
}

// isUsage recognises cobra's own errors about commands and arguments, which
// have no type.
func isUsage(err error) bool {
	return errors.Is(err, errArguments) || len(err.Error()) > 15 && err.Error()[:15] == "unknown command"
}

// family makes a command of commands. Cobra itself takes one that it does not
// know for a question about the others, and says that all is well.
func family(cmd *cobra.Command, members ...*cobra.Command) *cobra.Command {
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return fault.Usagef("unknown command %q for %q", args[0], cmd.CommandPath())
		}
		return cmd.Help()
	}
	cmd.AddCommand(members...)
	return cmd
}

var errArguments = errors.New("arguments")
