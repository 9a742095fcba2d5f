// Package demo lets a stranger watch a recovery: a private server is filled,
// backed up, worked on and killed, and what Lifeboat brings back is compared
// with what was there.
//
// Nothing is staged: the servers are real ones (package server), the traffic
// runs over several connections with changes of the schema in its midst, the
// replay is package replay's own. Everything happens in one temporary
// directory:
//
//	lifeboat-demo-NNN/source/    data directory of the server that dies
//	lifeboat-demo-NNN/logs/      its binary logs, which die with it
//	lifeboat-demo-NNN/backup/    cold copy of the data directory
//	lifeboat-demo-NNN/archive/   copies of the binary logs
//	lifeboat-demo-NNN/restored/  data directory that backup and logs give
//	lifeboat-demo-NNN/serial/    the same by mysqlbinlog | mysql
//
// The proof is CHECKSUM TABLE, the row count and the definition of every table,
// taken before the disaster and after the recovery (see [Compare]). What it
// does not show: that a backup can be taken from a server at work, and that
// logs are archived while they are written. Backup and archive here are plain
// copies, and the demo says so.
package demo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/installed"
	"github.com/lifeboat-db/lifeboat/internal/server"
)

// Options say what is shown. The zero value of a field that has a default
// means the default.
type Options struct {
	Cache        string        // where servers are installed; default: installed.Dir
	Flavor       server.Flavor // default: that of the first server found
	Distribution string        // name of an installed server; default: the first of the flavor
	Transactions int           // between backup and disaster; default 100,000
	Workers      int           // connections of the replay; default: replay's own
	Compare      bool          // do it by mysqlbinlog | mysql too
	Keep         bool          // leave the files where they are

	Out io.Writer // what people read; default: nowhere

	sabotage func(context.Context, *sql.DB) error // tests spoil the restored server here
}

const (
	defaultTransactions = 100_000
	maxTransactions     = 10_000_000
)

func (o *Options) setDefaults() {
	if o.Cache == "" {
		o.Cache = installed.Dir()
	}
	if o.Transactions == 0 {
		o.Transactions = defaultTransactions
	}
	if o.Out == nil {
		o.Out = io.Discard
	}
}

// Validate reports what cannot be.
func (o *Options) Validate() error {
	switch {
	case o.Flavor != "" && o.Flavor != server.MariaDB && o.Flavor != server.MySQL:
		return usagef("--flavor %s: it takes %s or %s", o.Flavor, server.MariaDB, server.MySQL)
	case o.Transactions < 1 || o.Transactions > maxTransactions:
		return usagef("--transactions %d: it takes 1 to %d", o.Transactions, maxTransactions)
	case o.Workers < 0:
		return usagef("--workers %d: it takes 1 or more", o.Workers)
	}
	return nil
}

func usagef(format string, args ...any) error {
	return &fault.Error{Class: fault.Usage, Err: fmt.Errorf(format, args...)}
}

// Run shows a recovery. It returns nil only if every table came back as it
// was; if one did not, a fault.Error of class VerifyFailed. The report holds
// what there was until an error. Servers and files are gone when it returns,
// whatever it returns; with Keep the files stay.
func Run(ctx context.Context, opt Options) (rep *Report, err error) {
	rep = &Report{SchemaVersion: 1}
	opt.setDefaults()
	if err := opt.Validate(); err != nil {
		return rep, err
	}
	dist, err := choose(opt)
	if err != nil {
		return rep, err
	}
	dir, err := newDir()
	if err != nil {
		return rep, fmt.Errorf("demo: %w", err)
	}
	d := &demo{opt: opt, dist: dist, dir: dir, rep: rep, screen: newScreen(opt.Out)}
	rep.Server, rep.Distribution = serverName(dist), dist.Name
	began := time.Now()
	err = d.show(ctx)
	rep.Seconds = time.Since(began).Seconds()
	err = errors.Join(err, d.clear(context.WithoutCancel(ctx)))
	if ctx.Err() != nil {
		return rep, d.interrupted()
	}
	return rep, err
}

// newDir makes the demo's directory. Its path is absolute: servers have a
// working directory of their own.
func newDir() (string, error) {
	base, err := filepath.Abs(os.TempDir())
	if err != nil {
		return "", err
	}
	return os.MkdirTemp(base, "lifeboat-demo-")
}

// choose picks the server that is asked for.
func choose(opt Options) (server.Distribution, error) {
	found, err := server.Find(opt.Cache)
	if err != nil {
		return server.Distribution{}, err
	}
	var names []string
	for _, d := range found {
		if (opt.Flavor == "" || d.Flavor == opt.Flavor) && (opt.Distribution == "" || d.Name == opt.Distribution) {
			return d, nil
		}
		names = append(names, d.Name)
	}
	return server.Distribution{}, &fault.Error{
		Class: fault.Failed,
		Err:   fmt.Errorf("no such server is installed (%s); there is %s", wanted(opt), strings.Join(names, ", ")),
		Hint:  "run `make servers`, or set LIFEBOAT_MYSQLD=/path/to/mysqld",
	}
}

func wanted(opt Options) string {
	if opt.Distribution != "" {
		return strings.TrimSpace(opt.Distribution + " " + string(opt.Flavor))
	}
	return string(opt.Flavor)
}

func serverName(d server.Distribution) string {
	vendor := map[server.Flavor]string{server.MariaDB: "MariaDB", server.MySQL: "MySQL"}[d.Flavor]
	return vendor + " " + d.Version
}

// demo is one run.
type demo struct {
	opt    Options
	dist   server.Distribution
	dir    string
	screen *screen
	rep    *Report

	servers []*server.Instance // all that were started, for clear
	source  *server.Instance
	target  *server.Instance
	backup  backup
	archive []string // the copies of the binary logs, oldest first
	before  State    // of the source, just before it dies
}

// show is the story.
func (d *demo) show(ctx context.Context) error {
	d.screen.title(fmt.Sprintf("A database dies and comes back (%s)", d.rep.Server),
		"Private servers, in "+d.dir+d.fate()+". Nothing else on this machine is touched.")
	for _, act := range []func(context.Context) error{
		d.startSource, d.takeBackup, d.runTraffic, d.takeChecksums, d.archiveLogs, d.disaster,
		d.restore, d.replay, d.compare, d.serial,
	} {
		if err := errors.Join(act(ctx), d.screen.err); err != nil {
			return err
		}
	}
	d.screen.text(Summary(d.rep))
	return errors.Join(d.screen.err, verdict(d.rep))
}

func (d *demo) fate() string {
	if d.opt.Keep {
		return ""
	}
	return " (removed at the end)"
}

// verdict is nil when everything came back.
func verdict(rep *Report) error {
	if n := unequal(rep.Tables); n > 0 {
		return &fault.Error{Class: fault.VerifyFailed, Err: fmt.Errorf("%d of %d tables did not come back as they were", n, len(rep.Tables))}
	}
	if rep.Serial != nil && !rep.Serial.Equal {
		return &fault.Error{Class: fault.VerifyFailed, Err: errors.New("mysqlbinlog | mysql did not bring every table back (lifeboat did)")}
	}
	return nil
}

// start starts a server on a data directory of the demo's.
func (d *demo) start(ctx context.Context, dataDir string, args []string) (*server.Instance, error) {
	i, err := server.Start(ctx, d.dist, server.Options{DataDir: d.path(dataDir), Args: append([]string{"--innodb-buffer-pool-size=128M"}, args...), SkipNetworking: true})
	if err != nil {
		return nil, err
	}
	d.servers = append(d.servers, i)
	return i, nil
}

// clear stops the servers and removes the files. Servers whose files go are
// killed: a clean shutdown takes seconds and serves nobody.
func (d *demo) clear(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var errs []error
	for _, i := range d.servers {
		if !d.opt.Keep {
			errs = append(errs, i.Kill())
		}
		errs = append(errs, i.Stop(ctx))
	}
	if d.opt.Keep {
		d.rep.Kept = d.dir
		d.screen.text(d.whereabouts())
	} else {
		errs = append(errs, os.RemoveAll(d.dir))
	}
	return errors.Join(errs...)
}

func (d *demo) interrupted() error {
	left := "nothing is left of it"
	if d.opt.Keep {
		left = "its files are in " + d.dir
	}
	return fmt.Errorf("demo: interrupted; its servers are stopped, and %s", left)
}
