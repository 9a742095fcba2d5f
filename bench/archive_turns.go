package bench

import (
	"bufio"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/server"
)

// turns measures the source beside each archiver in turn, while the workload
// goes on. One whose turn it is not is stopped by a signal: the source's dump
// thread waits for its connection and takes nothing. What a machine's neighbors
// take of it changes within seconds, so turns are short and many.
func (run *archiveRun) turns(ctx context.Context, r *ArchiveReport) (err error) {
	tools, err := run.startAll(ctx)
	defer func() { err = errors.Join(err, run.stopAll(tools, r)) }()
	if err != nil {
		return err
	}
	if err := syncFileSystem(run.dir); err != nil {
		return err
	}
	load := loadAverage()
	work, err := run.sysbench.reporting(ctx, run.source, findWorkload("write_only"))
	if err != nil {
		return err
	}
	defer func() { _ = work.stop() }() // it does not end by itself
	if err := run.pin(work.cmd.Process.Pid, processorOfOthers); err != nil {
		return err
	}
	for round := range run.c.Rounds {
		for n := range archivers {
			p := Pace{Way: archivers[(n+round)%len(archivers)], Round: round}
			if err := run.turn(ctx, tools[p.Way], work, &p); err != nil {
				return fmt.Errorf("%s: %w", p.Way, err)
			}
			run.c.logf("\t%-11s %6.0f transactions/s, p95 %.1f ms", p.Way, p.Transactions, p.P95)
			r.Paces = append(r.Paces, p)
		}
	}
	r.Load = load
	return nil
}

// startAll starts the archivers, and stops them by a signal when they are up to
// date.
func (run *archiveRun) startAll(ctx context.Context) (map[string]*tool, error) {
	tools := map[string]*tool{}
	for way, launch := range map[string]func(context.Context) (*tool, error){mysqlbinlog: run.mysqlbinlog, ours: run.lifeboat} {
		t, err := launch(ctx)
		if t != nil {
			tools[way] = t
		}
		if err != nil {
			return tools, err
		}
	}
	if err := run.upToDate(ctx); err != nil {
		return tools, err
	}
	for _, t := range tools {
		if err := t.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			return tools, err
		}
	}
	return tools, nil
}

func (run *archiveRun) stopAll(tools map[string]*tool, r *ArchiveReport) (err error) {
	r.Peak = map[string]int64{}
	for way, t := range tools {
		err = errors.Join(err, t.cmd.Process.Signal(syscall.SIGCONT))
		use, e := run.stop(t, way)
		r.Peak[way] = use.Peak
		if way == ours {
			err = errors.Join(err, e)
		}
	}
	return err
}

// turn lets an archiver go on, nil if there is none, and measures.
func (run *archiveRun) turn(ctx context.Context, t *tool, work *reporting, p *Pace) (err error) {
	if t != nil {
		if err := t.cmd.Process.Signal(syscall.SIGCONT); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, t.cmd.Process.Signal(syscall.SIGSTOP)) }()
	}
	if err := run.settle(ctx, work, p.Way); err != nil {
		return err
	}
	p.SourceCPU, p.ArchiverCPU, err = run.processors(t, func() (err error) {
		p.pace, err = work.seconds(run.c.Seconds)
		return err
	})
	return err
}

// settle waits until an archiver has what came in the others' turns.
func (run *archiveRun) settle(ctx context.Context, work *reporting, way string) error {
	for range run.c.Settle {
		at, err := run.end(ctx)
		if err != nil {
			return err
		}
		if _, err := work.seconds(1); err != nil {
			return err
		}
		has, err := run.has(ctx, way, at)
		if err != nil || has >= at.offset {
			return err
		}
	}
	return fmt.Errorf("it does not catch up within %d s", run.c.Settle)
}

func (run *archiveRun) end(ctx context.Context) (at position, err error) {
	return at, withDB(run.source, func(db *sql.DB) error {
		at, err = readPosition(ctx, db, run.source.Distribution().Flavor)
		return err
	})
}

// has is how much of the server's newest file an archiver has.
func (run *archiveRun) has(ctx context.Context, way string, at position) (int64, error) {
	switch way {
	case mysqlbinlog:
		info, err := os.Stat(filepath.Join(run.place, "raw", at.file))
		if errors.Is(err, fs.ErrNotExist) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		return info.Size(), nil
	case ours:
		logs, err := archive.Load(ctx, run.repo, archiveSet)
		if err != nil {
			return 0, err
		}
		for _, l := range logs { // none yet, or one
			for _, f := range l.Files {
				if f.File == at.file {
					return f.End, nil
				}
			}
		}
		return 0, nil
	default:
		return at.offset, nil
	}
}

// processors measures the processor time that the source and an archiver, nil
// if there is none, take meanwhile.
func (run *archiveRun) processors(t *tool, meanwhile func() error) (source, archiver float64, err error) {
	pids := []int{run.source.PID()}
	if t != nil {
		pids = append(pids, t.cmd.Process.Pid)
	}
	took := make([]float64, 2)
	add := func(sign float64) (err error) {
		for i, pid := range pids {
			seconds, e := cpuSeconds(pid)
			took[i] += sign * seconds
			err = errors.Join(err, e)
		}
		return err
	}
	if err := errors.Join(add(-1), meanwhile()); err != nil {
		return 0, 0, err
	}
	err = add(1)
	return took[0], took[1], err
}

// reporting is a workload that says each second how fast it is.
type reporting struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
	out   io.Closer
}

func (s sysbench) reporting(ctx context.Context, i *server.Instance, w workload) (*reporting, error) {
	cmd := s.command(ctx, i, w.script, "run", "--threads=8", "--events=0", "--time=0", "--report-interval=1", "--rand-type="+w.random)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return &reporting{cmd: cmd, lines: bufio.NewScanner(out), out: out}, cmd.Start()
}

func (r *reporting) stop() error {
	return errors.Join(r.cmd.Process.Kill(), r.out.Close(), r.cmd.Wait())
}

var reportLine = regexp.MustCompile(`^\[ \d+s \] thds: \d+ tps: ([0-9.]+) .*lat \(ms,95%\): ([0-9.]+)`)

// seconds waits for the reports of n seconds; the pace is their mean.
func (r *reporting) seconds(n int) (sum pace, err error) {
	for range n {
		line := reportLine.FindSubmatch(nil)
		for line == nil {
			if !r.lines.Scan() {
				return sum, fmt.Errorf("sysbench has ended: %w", cmp.Or(r.lines.Err(), io.ErrUnexpectedEOF))
			}
			line = reportLine.FindSubmatch(r.lines.Bytes())
		}
		rate, err1 := strconv.ParseFloat(string(line[1]), 64)
		p95, err2 := strconv.ParseFloat(string(line[2]), 64)
		if err := errors.Join(err1, err2); err != nil {
			return sum, err
		}
		sum.Transactions += rate / float64(n)
		sum.P95 += p95 / float64(n)
	}
	return sum, nil
}
