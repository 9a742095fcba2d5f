package bench

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lifeboat-db/lifeboat/internal/installed"
)

// Common is what every benchmark has to know.
type Common struct {
	Distributions []string // names of installed servers, "mysql-9.7"
	Tables        int
	TableSize     int    // rows in each table before the workload
	Lifeboat      string // the program, for the ways that need it

	Cache   string // where scripts/servers installed to
	Data    string // where data sets are kept; empty: bench in the cache
	Results string // directory for reports as JSON and Markdown; empty: none
	Keep    bool   // keep the data directories and the tools' output

	Out io.Writer // reports as text
	Log io.Writer // what is being done
}

// ReplayConfig says what the replay benchmark compares.
type ReplayConfig struct {
	Common
	Workload     string // one of Workloads
	Transactions int    // 0: the published number for server and workload
	LogFileSize  int    // max_binlog_size in bytes: where the source begins a new log
	Ways         []string
	Profile      string // where lifeboat writes a CPU profile; empty: none
}

// The ways, in the order of the report.
const (
	Serial       = "serial"      // mysqlbinlog | mysql
	SerialPinned = "serial-1cpu" // the same, with tools and server on one processor
	Applier      = "applier"     // the server's own parallel applier
	Lifeboat     = "lifeboat"    // lifeboat replay
	Lifeboat1    = "lifeboat-1"  // the same with one worker
)

// Ways lists all ways.
func Ways() []string { return []string{Serial, SerialPinned, Applier, Lifeboat, Lifeboat1} }

// DefaultReplay is the published comparison.
func DefaultReplay() ReplayConfig {
	return ReplayConfig{
		Common:      defaults(),
		Workload:    "write_only",
		LogFileSize: 1 << 30, // both vendors' default
		Ways:        []string{Serial, Applier, Lifeboat},
	}
}

func defaults() Common {
	return Common{
		Distributions: []string{"mysql-9.7", "mariadb-10.11"},
		Tables:        4,
		TableSize:     250_000,
		Lifeboat:      filepath.Join("bin", "lifeboat"),
		Cache:         installed.Dir(),
		Results:       filepath.Join("bench", "results"),
		Out:           io.Discard,
		Log:           io.Discard,
	}
}

// QuickReplay is small enough for a test and has everything a large run has,
// more than one log file included. Its times mean nothing.
func QuickReplay() ReplayConfig {
	c := DefaultReplay()
	c.Transactions = 5_000
	c.TableSize = 10_000
	c.LogFileSize = 4 << 20
	c.Results = ""
	return c
}

// Validate says what is wrong with the configuration before hours are spent.
func (c ReplayConfig) Validate() error {
	if err := c.validate(); err != nil {
		return err
	}
	if !slices.Contains(Workloads(), c.Workload) {
		return fmt.Errorf("unknown workload %q: choose of %s", c.Workload, strings.Join(Workloads(), ", "))
	}
	if c.Transactions < 0 || c.LogFileSize < 4096 {
		return fmt.Errorf("size out of range: %d transactions, logs of %d bytes", c.Transactions, c.LogFileSize)
	}
	return c.validateWays()
}

func (c Common) validate() error {
	switch {
	case len(c.Distributions) == 0:
		return errors.New("no distribution")
	case c.Tables < 1 || c.TableSize < 1:
		return fmt.Errorf("size out of range: %d tables, %d rows", c.Tables, c.TableSize)
	}
	return nil
}

// needLifeboat says that the program is not there.
func (c Common) needLifeboat() error {
	if _, err := os.Stat(c.Lifeboat); err != nil {
		return fmt.Errorf("the lifeboat program (build it with `make build`): %w", err)
	}
	return nil
}

func (c ReplayConfig) validateWays() error {
	for _, w := range c.Ways {
		if !slices.Contains(Ways(), w) {
			return fmt.Errorf("unknown way %q: choose of %s", w, strings.Join(Ways(), ", "))
		}
	}
	runs := c.lifeboatRuns()
	if runs > 0 {
		if err := c.needLifeboat(); err != nil {
			return err
		}
	}
	if c.Profile != "" && runs != 1 {
		return fmt.Errorf("a profile is of one run of lifeboat, and this would be %d: name one distribution and one way", runs)
	}
	return nil
}

func (c ReplayConfig) lifeboatRuns() int {
	n := 0
	for _, w := range c.Ways {
		if w == Lifeboat || w == Lifeboat1 {
			n += len(c.Distributions)
		}
	}
	return n
}

func (c Common) dataDir() string {
	if c.Data != "" {
		return c.Data
	}
	return filepath.Join(c.Cache, "bench")
}

func (c Common) logf(format string, args ...any) {
	_, _ = fmt.Fprintf(c.Log, format+"\n", args...)
}
