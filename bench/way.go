package bench

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"

	"github.com/lifeboat-db/lifeboat/internal/server"
)

// way is one way to replay a data set's logs into a target.
type way interface {
	// place puts files into the target's data directory before its server
	// starts.
	place(ctx context.Context, dataDir string) error

	// prepare runs on the started target before the clock does.
	prepare(ctx context.Context, target *server.Instance) error

	// replay is what the clock measures. It returns after the last
	// transaction has committed, with what tools outside of the server took.
	// They write their messages to output.
	replay(ctx context.Context, target *server.Instance, output string) (Use, error)
}

// way returns the way of a name.
func (c ReplayConfig) way(name string, ds *dataset, d server.Distribution) way {
	switch {
	case name == Serial:
		return serial{ds: ds}
	case name == SerialPinned:
		return serial{ds: ds, processor: firstProcessor()}
	case name == Applier && d.Flavor == server.MariaDB:
		return mariadbApplier{ds: ds}
	case name == Applier:
		return mysqlApplier{ds: ds}
	case name == Lifeboat1:
		return lifeboat{ds: ds, program: c.Lifeboat, profile: c.Profile, args: []string{"--workers=1"}}
	}
	return lifeboat{ds: ds, program: c.Lifeboat, profile: c.Profile}
}

// unplaced is the part of a way that puts no files into the data directory,
// unprepared of one that needs nothing but a running target.
type (
	unplaced   struct{}
	unprepared struct{ unplaced }
)

func (unplaced) place(context.Context, string) error               { return nil }
func (unprepared) prepare(context.Context, *server.Instance) error { return nil }

// serial is what the manuals of both vendors say.
//
// Client and server take turns: 12 statements for each write_only transaction
// on MySQL, 7 on MariaDB. 5,000 transactions on MySQL 9.7, in a virtual machine
// with two processors, took 9 to 12 s when both were idle, 3 s when other work
// kept them busy, and 2.2 s with all programs on one of them: very likely the
// price of waking an idle processor through the host. Pinned is serial at its
// best there.
type serial struct {
	unplaced
	ds        *dataset
	processor string // for tools and server together; empty: any
}

func (w serial) prepare(ctx context.Context, target *server.Instance) error {
	if w.processor == "" {
		return nil
	}
	// All threads of the server, and with them those they will make.
	out, err := exec.CommandContext(ctx, "taskset", "-a", "-p", "-c", w.processor, strconv.Itoa(target.PID())).CombinedOutput()
	if err != nil {
		return fmt.Errorf("taskset: %w\n%s", err, lastLines(out, 3))
	}
	return nil
}

func (w serial) replay(ctx context.Context, target *server.Instance, output string) (Use, error) {
	mysqlbinlog, err := target.Distribution().Tool("mysqlbinlog")
	if err != nil {
		return Use{}, err
	}
	mysql, err := target.Distribution().Tool("mysql")
	if err != nil {
		return Use{}, err
	}
	read := w.command(ctx, mysqlbinlog, append([]string{"--no-defaults"}, w.ds.logPaths()...)...)
	write := w.command(ctx, mysql, "--no-defaults", "--user=root",
		"--socket="+target.Socket(), "--binary-mode", "--max-allowed-packet=1G")
	return pipeline(ctx, output, read, write)
}

func (w serial) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	if w.processor == "" {
		return exec.CommandContext(ctx, program, args...)
	}
	return exec.CommandContext(ctx, "taskset", append([]string{"-c", w.processor, program}, args...)...)
}

// lifeboat is our own.
type lifeboat struct {
	unprepared
	ds      *dataset
	program string
	profile string
	args    []string
}

func (w lifeboat) replay(ctx context.Context, target *server.Instance, output string) (Use, error) {
	args := append([]string{"replay", "--target", target.DSN(""), "--from", w.ds.Position}, w.args...)
	cmd := exec.CommandContext(ctx, w.program, append(args, w.ds.logPaths()...)...)
	if w.profile != "" {
		cmd.Env = append(cmd.Environ(), "LIFEBOAT_CPUPROFILE="+w.profile)
	}
	return pipeline(ctx, output, cmd)
}
