package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/server"
)

// RunReplay runs every way on every distribution and returns a report for
// each. A way that fails or ends in another state does not stop the others;
// the error tells of all of them.
func RunReplay(ctx context.Context, c ReplayConfig) ([]Report, error) {
	var reports []Report
	err := c.each(ctx, c.Validate(), func(d server.Distribution) error {
		r, err := c.compare(ctx, d)
		if err != nil {
			return err
		}
		reports = append(reports, r)
		return c.publish(r, r.page(), r.problem())
	})
	return reports, err
}

// GenerateReplay makes the data sets that RunReplay would need.
func GenerateReplay(ctx context.Context, c ReplayConfig) error {
	c.Ways = nil
	return c.each(ctx, c.Validate(), func(d server.Distribution) error {
		ds, err := c.openDataset(ctx, d)
		if err == nil {
			c.logf("%s: %d transactions, %.0f MB in %d logs", ds.Spec.name(), ds.Committed, megabytes(ds.Bytes), len(ds.Logs))
		}
		return err
	})
}

// servers finds the distributions of the configuration, in its order.
func (c Common) servers() ([]server.Distribution, error) {
	installed, err := server.Find(c.Cache)
	if err != nil {
		return nil, err
	}
	byName := map[string]server.Distribution{}
	var names []string
	for _, d := range installed {
		byName[d.Name] = d
		names = append(names, d.Name)
	}
	var found []server.Distribution
	for _, name := range c.Distributions {
		d, ok := byName[name]
		if !ok {
			return nil, fmt.Errorf("no server %s among those installed: %s", name, strings.Join(names, ", "))
		}
		found = append(found, d)
	}
	return found, nil
}

// compare runs all ways on one distribution.
func (c ReplayConfig) compare(ctx context.Context, d server.Distribution) (Report, error) {
	ds, err := c.openDataset(ctx, d)
	if err != nil {
		return Report{}, err
	}
	r := newReport(ds)
	if c.lifeboatRuns() > 0 {
		r.Lifeboat = toolVersion(ctx, c.Lifeboat)
	}
	for _, name := range c.Ways {
		c.logf("%s: %s", ds.Spec.name(), name)
		run := wayRun{way: c.way(name, ds, d), dist: d, ds: ds, keep: c.Keep, logf: c.logf}
		result := run.measure(ctx, name)
		if ctx.Err() != nil {
			return r, ctx.Err()
		}
		if run.settings != nil {
			r.Settings = run.settings
		}
		c.logf("\t%s in %.1f s", result.verdict(), result.Seconds)
		r.add(result)
	}
	return r, nil
}

// toolVersion asks a program what it is; `make build` puts the commit into it.
func toolVersion(ctx context.Context, program string) string {
	out, err := exec.CommandContext(ctx, program, "--version").Output()
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimPrefix(line, "lifeboat version ")
}

// wayRun is one run of one way.
type wayRun struct {
	way  way
	dist server.Distribution
	ds   *dataset
	keep bool
	logf func(string, ...any)

	dir      string            // holds the target's data directory
	settings map[string]string // of the target's server
}

// measure runs the way on a fresh target. What goes wrong is in the result.
func (r *wayRun) measure(ctx context.Context, name string) Result {
	result := Result{Way: name}
	if err := r.run(ctx, &result); err != nil {
		result.Error = err.Error()
	}
	return result
}

func (r *wayRun) run(ctx context.Context, result *Result) (err error) {
	// Beside the data sets, so that a file system that can shares blocks.
	r.dir, err = os.MkdirTemp(filepath.Dir(r.ds.dir), ".run-")
	if err != nil {
		return err
	}
	if r.keep {
		r.logf("\tkept in %s", r.dir)
	} else {
		defer func() { err = errors.Join(err, os.RemoveAll(r.dir)) }()
	}
	target, err := r.startTarget(ctx)
	if err != nil {
		return err
	}
	// After a clean stop there is nothing left to kill.
	defer func() { err = errors.Join(err, target.Kill(), target.Stop(context.WithoutCancel(ctx))) }()
	if err := r.clock(ctx, target, result); err != nil {
		return err
	}
	return r.check(ctx, target, result)
}

func (r *wayRun) startTarget(ctx context.Context) (*server.Instance, error) {
	dataDir := filepath.Join(r.dir, "data")
	if err := server.Copy(ctx, r.ds.start(), dataDir); err != nil {
		return nil, err
	}
	if err := r.way.place(ctx, dataDir); err != nil {
		return nil, err
	}
	return server.Start(ctx, r.dist, server.Options{
		DataDir: dataDir, Args: targetSettings(r.dist.Flavor), SkipNetworking: true,
	})
}

// clock measures the replay.
func (r *wayRun) clock(ctx context.Context, target *server.Instance, result *Result) error {
	if err := r.way.prepare(ctx, target); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	err := withDB(target, func(db *sql.DB) (err error) {
		r.settings, err = readSettings(ctx, db)
		return err
	})
	if err != nil {
		return err
	}
	if err := r.rest(); err != nil {
		return err
	}
	before, err := cpuSeconds(target.PID())
	if err != nil {
		return err
	}
	result.Load = loadAverage()
	started := time.Now()
	result.Tool, err = r.way.replay(ctx, target, filepath.Join(r.dir, "output"))
	result.Seconds = time.Since(started).Seconds()
	if err != nil {
		return err
	}
	after, err := cpuSeconds(target.PID())
	if err != nil {
		return err
	}
	result.Server = memory(target.PID())
	result.Server.CPUSecond = after - before
	return nil
}

// rest brings file system and page cache to the same state for every way.
func (r *wayRun) rest() error {
	if err := syncFileSystem(r.dir); err != nil {
		return err
	}
	for _, path := range r.ds.logPaths() {
		if err := readOnce(path); err != nil {
			return err
		}
	}
	return nil
}

func readOnce(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, f)
	return errors.Join(err, f.Close())
}

// check compares what a restart finds with the source's end state.
func (r *wayRun) check(ctx context.Context, target *server.Instance, result *Result) error {
	started := time.Now()
	if err := target.Shutdown(ctx); err != nil {
		return err
	}
	result.Shutdown = time.Since(started).Seconds()
	if err := target.Restart(ctx); err != nil {
		return err
	}
	return withDB(target, func(db *sql.DB) error {
		sums, err := checksums(ctx, db)
		if err != nil {
			return err
		}
		result.Different = different(r.ds.Checksums, sums)
		result.Equal = len(result.Different) == 0
		return nil
	})
}
