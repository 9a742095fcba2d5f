package main

import (
	"flag"
	"slices"
	"testing"

	"github.com/lifeboat-db/lifeboat/bench"
)

// Without flags the published comparison runs.
func TestNoFlags(t *testing.T) {
	c, _, err := parseReplay(flag.NewFlagSet("", flag.ContinueOnError), nil)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(c.Distributions, []string{"mysql-9.7", "mariadb-10.11"}) ||
		!slices.Equal(c.Ways, []string{bench.Serial, bench.Applier, bench.Lifeboat}) ||
		c.Workload != "write_only" || c.Transactions != 0 || c.TableSize != 250_000 {
		t.Errorf("got %+v", c)
	}
}

func TestFlagsOverrulePreset(t *testing.T) {
	c, _, err := parseReplay(flag.NewFlagSet("", flag.ContinueOnError), []string{"--transactions=70", "--quick", "--ways=applier,serial"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Transactions != 70 || c.TableSize != 10_000 || c.Results != "" ||
		!slices.Equal(c.Ways, []string{bench.Applier, bench.Serial}) {
		t.Errorf("got %+v", c)
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"--no-such-flag"}, {"backup"}, {"replay", "more"}, {"archive", "--rounds=0"}, {"--ways=fast"}, {"--workload=tpcc"}} {
		if code := run(t.Context(), args); code != 2 {
			t.Errorf("%v: exit status %d, want 2", args, code)
		}
	}
}
