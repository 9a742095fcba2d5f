package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Use is what processes took of the machine.
type Use struct {
	Peak      int64   `json:"peak_rss_bytes"`      // most memory resident at once
	PeakAnon  int64   `json:"peak_rss_anon_bytes"` // without mapped files; sampled, so a lower bound
	CPUSecond float64 `json:"cpu_seconds"`
}

// add joins the use of processes that run at the same time. Their peaks need
// not coincide: the sum is an upper bound.
func (u Use) add(o Use) Use {
	return Use{u.Peak + o.Peak, u.PeakAnon + o.PeakAnon, u.CPUSecond + o.CPUSecond}
}

// sampleEvery is how often a tool's memory is looked at.
const sampleEvery = 50 * time.Millisecond

// pipeline runs programs with each one's output as the next one's input, and
// writes their messages and the last one's output to a file.
func pipeline(ctx context.Context, output string, commands ...*exec.Cmd) (Use, error) {
	log, err := os.Create(output)
	if err != nil {
		return Use{}, err
	}
	defer func() { _ = log.Close() }()
	tools, err := start(commands, log)
	if err != nil {
		for _, t := range tools {
			_ = t.cmd.Process.Kill()
			_, _ = t.wait()
		}
		return Use{}, err
	}
	use, err := waitAll(tools)
	if ctx.Err() != nil {
		return use, ctx.Err()
	}
	if err != nil {
		text, _ := os.ReadFile(output)
		return use, fmt.Errorf("%w\n%s", err, lastLines(text, 15))
	}
	return use, nil
}

// start starts the commands. Our own ends of the pipes are closed, so that a
// program learns when its neighbor has ended.
func start(commands []*exec.Cmd, log *os.File) (tools []*tool, err error) {
	var input *os.File
	for n, cmd := range commands {
		var next, out *os.File
		out = log
		if n < len(commands)-1 {
			if next, out, err = os.Pipe(); err != nil {
				return tools, err
			}
		}
		if input != nil {
			cmd.Stdin = input
		}
		cmd.Stdout, cmd.Stderr = out, log
		err = cmd.Start()
		if input != nil {
			_ = input.Close()
		}
		if out != log {
			_ = out.Close()
		}
		if err != nil {
			_ = next.Close() // nil for the last one, which Close allows
			return tools, err
		}
		tools = append(tools, watch(cmd))
		input = next
	}
	return tools, nil
}

// waitAll waits for all, last first: when a reader fails, the writer before it
// fails too, of a broken pipe that tells nothing.
func waitAll(tools []*tool) (sum Use, err error) {
	for n := len(tools) - 1; n >= 0; n-- {
		use, toolErr := tools[n].wait()
		sum = sum.add(use)
		if toolErr != nil && err == nil {
			err = fmt.Errorf("%s: %w", filepath.Base(tools[n].cmd.Path), toolErr)
		}
	}
	return sum, err
}

// tool is a running program whose memory is being sampled.
type tool struct {
	cmd     *exec.Cmd
	stop    chan struct{}
	sampled chan Use
}

func watch(cmd *exec.Cmd) *tool {
	t := &tool{cmd: cmd, stop: make(chan struct{}), sampled: make(chan Use)}
	go func() {
		tick := time.NewTicker(sampleEvery)
		defer tick.Stop()
		var most Use
		for {
			now := memory(cmd.Process.Pid)
			most.Peak = max(most.Peak, now.Peak)
			most.PeakAnon = max(most.PeakAnon, now.PeakAnon)
			select {
			case <-t.stop:
				t.sampled <- most
				return
			case <-tick.C:
			}
		}
	}()
	return t
}

// wait waits until the program has ended.
//
// The kernel's own maximum is exact, but a program started by vfork inherits
// the maximum of its parent (fs/exec.c, exec_mmap). So it counts only where it
// is greater than ours.
func (t *tool) wait() (Use, error) {
	err := t.cmd.Wait()
	close(t.stop)
	use := <-t.sampled
	state := t.cmd.ProcessState
	use.CPUSecond = (state.UserTime() + state.SystemTime()).Seconds()
	if ru, ok := state.SysUsage().(*syscall.Rusage); ok {
		if exact := maxRSS(ru); exact > memory(os.Getpid()).Peak {
			use.Peak = max(use.Peak, exact)
		}
	}
	return use, err
}

// memory reads a process's peak so far, and its anonymous memory of now.
// Without /proc, or when the process has ended, both are 0.
func memory(pid int) (u Use) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u
	}
	for line := range bytes.Lines(text) {
		name, rest, _ := strings.Cut(string(line), ":")
		switch name {
		case "VmHWM":
			u.Peak = kibibytes(rest)
		case "RssAnon":
			u.PeakAnon = kibibytes(rest)
		}
	}
	return u
}

func kibibytes(s string) int64 {
	n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(s), " kB"), 10, 64)
	return n << 10
}

// cpuSeconds is the processor time that a running process has had, from the
// fields utime and stime of /proc/PID/stat, in hundredths of a second.
func cpuSeconds(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, after, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(after)
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	user, errUser := strconv.ParseInt(fields[11], 10, 64)
	system, errSystem := strconv.ParseInt(fields[12], 10, 64)
	return float64(user+system) / 100, errors.Join(errUser, errSystem)
}

// lastLines returns the end of a program's output, indented.
func lastLines(text []byte, n int) string {
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return "\t" + strings.Join(lines[max(0, len(lines)-n):], "\n\t")
}
