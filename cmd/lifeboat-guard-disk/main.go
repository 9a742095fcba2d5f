// Command lifeboat-guard-disk says whether data of a database lie on a
// machine's disks. It is for installers: one static file without an agent,
// configuration or state, to be run in an initramfs before anything is erased.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/lifeboat-db/lifeboat/internal/guard/fact"
	"github.com/lifeboat-db/lifeboat/internal/guard/operation"
	"github.com/lifeboat-db/lifeboat/internal/guard/probe"
	"github.com/lifeboat-db/lifeboat/internal/guard/probe/disk"
)

// version is set by the linker.
var version = "development"

// Exit codes, as those of lifeboat-guard: docs/exit-codes.md.
const (
	codeClear   = 0
	codeFailed  = 1
	codeUsage   = 2
	codeLive    = 6
	codeUnknown = 10
)

// schemaVersion is that of the JSON.
const schemaVersion = 1

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// report is what has been found.
type report struct {
	SchemaVersion int          `json:"schema_version"`
	Verdict       fact.Verdict `json:"verdict"`
	Devices       []string     `json:"devices,omitempty"` // none: all
	Seconds       float64      `json:"seconds"`
	Facts         []fact.Fact  `json:"facts"`
}

func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	code := codeUsage
	var all, asJSON bool
	var limit time.Duration
	c := &cobra.Command{
		Use:           "lifeboat-guard-disk [--json] --all | DEVICE...",
		Short:         "Say whether data of a database lie on a machine's disks, before an installer erases them",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Long: `lifeboat-guard-disk looks into block devices: it walks the filesystems on them,
mounted or not, without writing to them, and scans the bytes of those that it
does not know. It knows InnoDB, Aria and binary logs by their own headers.

Exit codes: 0 provably no data; 1 failed; 2 usage; 6 data of a database;
10 cannot know (encrypted, a volume manager, in use, unreadable, no time left).
Everything but 0 means: do not install.`,
		Example: `  lifeboat-guard-disk --all                    # every disk of the machine
  lifeboat-guard-disk /dev/sda /dev/nvme0n1    # these, with their partitions
  lifeboat-guard-disk --json --all | jq -r .verdict`,
		Args: cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, devices []string) error {
			if all == (len(devices) > 0) {
				return errors.New("say which devices, or --all (and not both)")
			}
			if limit <= 0 {
				return errors.New("--max-duration must be more than 0")
			}
			if os.Geteuid() != 0 {
				code = codeUnknown
				return errors.New("only root can see every disk")
			}
			var err error
			code, err = look(ctx, devices, limit, asJSON, out)
			return err
		},
	}
	c.SetArgs(args)
	c.SetOut(out)
	c.SetErr(errOut)
	c.Flags().BoolVar(&all, "all", false, "every block device of the machine")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().DurationVar(&limit, "max-duration", time.Hour, "give up after this time: what is not seen by then is unknown")
	err := c.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintf(errOut, "lifeboat-guard-disk: %v\n", err)
		return code
	}
	if code == codeUsage { // --help, --version
		return codeClear
	}
	return code
}

func look(ctx context.Context, devices []string, limit time.Duration, asJSON bool, out io.Writer) (int, error) {
	canary, end, err := plantCanary()
	if err != nil {
		return codeFailed, err
	}
	defer end()
	begin := time.Now()
	facts := disk.Probe{Canary: canary, MaxDuration: limit}.Look(ctx, probe.Question{
		Operation: operation.Reinstall, Scope: operation.Scope{Devices: devices},
	})
	r := judge(facts)
	r.Devices, r.Seconds = devices, time.Since(begin).Seconds()
	if asJSON {
		enc := json.NewEncoder(out)
		enc.SetEscapeHTML(false)
		err = enc.Encode(r)
	} else {
		err = show(out, r)
	}
	if err != nil {
		return codeFailed, err
	}
	return codes[r.Verdict], nil
}

var codes = map[fact.Verdict]int{fact.Clear: codeClear, fact.Active: codeLive, fact.Unknown: codeUnknown}

// plantCanary makes the file by which the probe proves that it walks: in a
// temporary directory, which in an initramfs is in memory.
func plantCanary() (c *disk.Canary, end func(), err error) {
	dir, err := os.MkdirTemp("", "lifeboat-guard-disk")
	if err != nil {
		return nil, nil, fmt.Errorf("a directory for the canary: %w", err)
	}
	page := make([]byte, 16<<10)
	page[25], page[49] = 8, 1 // FIL_PAGE_TYPE_FSP_HDR, FSP_SIZE: an InnoDB system tablespace
	c, err = disk.PlantCanary(dir, page)
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	return c, func() { _ = os.RemoveAll(dir) }, nil
}

// judge: all must be CLEAR, and every question must have been answered. That a
// filesystem is mounted is no reason by itself, since it has been walked; that
// a disk is in use by nobody knows whom is.
func judge(facts []fact.Fact) report {
	r := report{SchemaVersion: schemaVersion, Verdict: fact.Clear, Facts: facts}
	answered := map[fact.Kind]bool{}
	for _, f := range facts {
		answered[f.Kind] = true
		switch {
		case f.Verdict == fact.Clear:
		case f.Verdict == fact.Active && f.Kind == fact.BlockClaim:
		case f.Verdict == fact.Active:
			r.Verdict = fact.Active
		case r.Verdict == fact.Clear:
			r.Verdict = fact.Unknown
		}
	}
	complete := answered[fact.BlockClaim] && answered[fact.VolatileData] && (answered[fact.DataAtRest] || answered[fact.Layer])
	if !complete && r.Verdict == fact.Clear { //check:guard-disk-incomplete
		r.Verdict = fact.Unknown
	}
	return r
}

func show(w io.Writer, r report) error {
	headline := map[fact.Verdict]string{
		fact.Clear:   "CLEAR: no data of a database lie on these disks",
		fact.Active:  "DATA: do not install",
		fact.Unknown: "UNKNOWN: do not install",
	}[r.Verdict]
	lines := []string{headline}
	facts := slices.Clone(r.Facts)
	rank := map[fact.Verdict]int{fact.Active: 0, fact.Unknown: 1, fact.Clear: 2}
	slices.SortStableFunc(facts, func(a, b fact.Fact) int { return rank[a.Verdict] - rank[b.Verdict] })
	for _, f := range facts {
		lines = append(lines, fmt.Sprintf("  %-7s %s", f.Verdict, f.Summary))
	}
	_, err := fmt.Fprintf(w, "%s\n(%.1f s)\n", strings.Join(lines, "\n"), r.Seconds)
	return err
}
