package bench

import (
	"context"
	"os/exec"

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
	case name == Applier && d.Flavor == server.MariaDB:
		return mariadbApplier{ds: ds}
	case name == Applier:
		return mysqlApplier{ds: ds}
	case name == Lifeboat1:
		return lifeboat{ds: ds, program: c.Lifeboat, profile: c.Profile, args: []string{"--workers=1"}}
	}
	return lifeboat{ds: ds, program: c.Lifeboat, profile: c.Profile}
}

// unprepared is the part of a way that needs nothing but a running target.
type unprepared struct{}

func (unprepared) place(context.Context, string) error             { return nil }
func (unprepared) prepare(context.Context, *server.Instance) error { return nil }

// serial is what the manuals of both vendors say.
type serial struct {
	unprepared
	ds *dataset
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
	read := exec.CommandContext(ctx, mysqlbinlog, append([]string{"--no-defaults"}, w.ds.logPaths()...)...)
	write := exec.CommandContext(ctx, mysql, "--no-defaults", "--user=root",
		"--socket="+target.Socket(), "--binary-mode", "--max-allowed-packet=1G")
	return pipeline(ctx, output, read, write)
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
