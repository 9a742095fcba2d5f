// Command lifeboat-guard keeps a database machine from being destroyed while it
// holds live data.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/lifeboat-db/lifeboat/internal/guard/agent"
	"github.com/lifeboat-db/lifeboat/internal/guard/gate"
	"github.com/lifeboat-db/lifeboat/internal/guard/policy"
)

// version is set by the linker.
var version = "development"

func main() {
	agent.MaybeCanary()
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use:           "lifeboat-guard",
		Short:         "A database machine that refuses to be destroyed while it holds live data",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Long: `lifeboat-guard runs destructive commands on a database machine, after the machine
itself has proven from its own state that nothing live is lost by them. It
refuses when something lives, when the machine's set could not bear the loss,
and when it cannot know.

` + exitCodes,
		Example: `  lifeboat-guard agent &                                     # root, once per machine
  lifeboat-guard check reinstall --explain                   # what would it say, and why
  lifeboat-guard exec wipe --device /dev/vdb -- /usr/sbin/wipefs -a /dev/vdb`,
	}
	root.AddCommand(agentCommand(), execCommand(), checkCommand(), statusCommand())
	root.AddCommand(requestCommand(), approveCommand(), auditCommand(), identityCommand(), sshCommand(), setCommand(), ticketCommand())
	root.AddCommand(extras()...)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err) })
	err := root.ExecuteContext(ctx)
	code := exitCode(err)
	var coded *codedError
	if err != nil && (!errors.As(err, &coded) || coded.err != nil) {
		fmt.Fprintf(os.Stderr, "lifeboat-guard: %v\n", err)
	}
	return code
}

// The guard's exit codes. 0 means that the command has run and has ended with
// 0; everything else means: do not go on.
const (
	codeRan         = 0
	codeFailed      = 1
	codeUsage       = 2
	codeLive        = 6
	codeBusy        = 7
	codeUnknown     = 10
	codeUnavailable = 11
	codeSignature   = 12
	codeExpired     = 13
	codeRefused     = 14
	codeChild       = 20
	codeLost        = 21
	codeInterrupted = 130
)

const exitCodes = `Exit codes: 0 the command has run and ended with 0 (check: it would be allowed);
1 the guard failed; 2 usage; 6 refused: something lives; 7 busy, ask again;
10 refused: the machine cannot know, or no agent answers; 11 refused: the set
does not answer; 12 refused: signature, not for this machine, or used before;
13 refused: expired, or the clock cannot be trusted; 14 refused: by the set, by a
rule, or the command is not listed; 20 the command has run and failed (its own
status is on stderr and in --json); 21 the outcome is not known;
130 interrupted before the command was started.
Everything but 0 means: do not go on.`

var classCodes = map[policy.Class]int{
	policy.Signature: codeSignature, policy.Expired: codeExpired, policy.Live: codeLive, policy.Set: codeRefused,
	policy.RuleClass: codeRefused, policy.Unknown: codeUnknown, policy.Unavailable: codeUnavailable, policy.Busy: codeBusy,
}

// codedError is an error with an exit code. Without err everything has been
// said already.
type codedError struct {
	code int
	err  error
}

func (e *codedError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *codedError) Unwrap() error { return e.err }

func usage(err error) error { return &codedError{codeUsage, err} }

func usagef(format string, args ...any) error { return usage(fmt.Errorf(format, args...)) }

func exitCode(err error) int {
	var coded *codedError
	switch {
	case err == nil:
		return codeRan
	case errors.As(err, &coded):
		return coded.code
	case errors.Is(err, agent.ErrNoAgent):
		return codeUnknown
	case errors.Is(err, agent.ErrLost):
		return codeLost
	case errors.Is(err, context.Canceled):
		return codeInterrupted
	case strings.HasPrefix(err.Error(), "unknown command"): // cobra's own, without a type
		return codeUsage
	}
	return codeFailed
}

// resultCode is the exit code of a result; 0 only for a command that has
// succeeded, or for a check that would be allowed.
func resultCode(r gate.Result) int {
	switch r.Verdict {
	case gate.Allowed:
		return codeRan
	case gate.Ran:
		switch {
		case r.Child == nil || r.Child.Error != "":
			return codeLost
		case r.Child.Succeeded():
			return codeRan
		}
		return codeChild
	case gate.Refused:
		if code, ok := classCodes[r.Class]; ok {
			return code
		}
	}
	return codeUnknown
}
