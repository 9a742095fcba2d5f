package gate

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/atomicfile"
	"github.com/lifeboat-db/lifeboat/internal/guard/operation"
	"github.com/lifeboat-db/lifeboat/internal/guard/procstat"
)

// Journal remembers the running command, so that an agent that is started anew
// knows of it. Below its directory:
//
//	running.json           an Entry: written before the command starts, removed after its end
//	runs/RUN.stdout        output of a command
//	runs/RUN.stderr
type Journal struct {
	Dir  string
	Proc string // where procfs is; /proc if empty
}

// Entry is a running command.
type Entry struct {
	Run       string              `json:"run"` // 128 random bits, hexadecimal
	Operation operation.Operation `json:"operation"`
	Argv      []string            `json:"argv"`
	Token     int64               `json:"token,omitempty"`
	Begin     time.Time           `json:"begin"`
	Leader    Leader              `json:"leader,omitzero"` // once it has started
}

// Leader is the command's first process. All that it starts is of its session,
// unless it makes another one; the number is given to no other process as long
// as one of them lives.
type Leader struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks after boot (proc(5), stat field 22)
	Boot  string `json:"boot"`
}

// marker is an environment variable that the command and whatever it starts
// carry: by it a later agent finds them.
func (e Entry) marker() string { return "LIFEBOAT_GUARD_RUN=" + e.Run }

func (j *Journal) path() string { return filepath.Join(j.Dir, "running.json") }

// keptRuns is how many commands' outputs are kept.
const keptRuns = 50

func (j *Journal) begin(c Command, now time.Time) (Entry, error) {
	e := Entry{Run: newRun(now), Operation: c.Operation, Argv: c.Argv, Token: c.Token, Begin: now}
	if err := os.MkdirAll(filepath.Join(j.Dir, "runs"), 0o700); err != nil {
		return Entry{}, err
	}
	j.prune()
	return e, j.write(e)
}

func (j *Journal) write(e Entry) error {
	text, err := json.Marshal(e)
	if err == nil {
		err = atomicfile.Replace(j.path(), text)
	}
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

// started notes the command's first process.
func (j *Journal) started(e Entry, pid int) (Entry, error) {
	st, err := procstat.Read(j.proc(), pid)
	if err != nil {
		return e, fmt.Errorf("journal: %w", err)
	}
	e.Leader = Leader{PID: pid, Start: st.Start, Boot: j.boot()}
	return e, j.write(e)
}

func (j *Journal) proc() string {
	if j.Proc == "" {
		return "/proc"
	}
	return j.Proc
}

func (j *Journal) boot() string {
	text, _ := os.ReadFile(filepath.Join(j.proc(), "sys/kernel/random/boot_id")) // the kernel's own file
	return strings.TrimSpace(string(text))
}

func newRun(now time.Time) string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand
	return now.UTC().Format("20060102T150405") + "-" + fmt.Sprintf("%x", b)
}

// finish ends the entry of a command that has ended, unless something that it
// has started still runs: then the machine stays busy (Abandoned) until that
// has ended as well.
func (j *Journal) finish(e Entry) error {
	pids, err := j.left(e)
	if err == nil && len(pids) > 0 { //check:journal-left-behind
		err = fmt.Errorf("the command has ended, but processes %v that it has started still run", pids)
	}
	if err != nil {
		return err
	}
	return j.end()
}

// end is called when nothing of the command can run any more.
func (j *Journal) end() error {
	if err := os.Remove(j.path()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return atomicfile.SyncDir(j.Dir)
}

func (j *Journal) outputs(run string) (stdout, stderr *os.File, err error) {
	open := func(suffix string) (*os.File, error) {
		return os.OpenFile(filepath.Join(j.Dir, "runs", run+suffix), os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	}
	if stdout, err = open(".stdout"); err != nil {
		return nil, nil, err
	}
	if stderr, err = open(".stderr"); err != nil {
		return nil, nil, errors.Join(err, stdout.Close())
	}
	return stdout, stderr, nil
}

// prune removes the oldest outputs. What cannot be removed stays.
func (j *Journal) prune() {
	entries, err := os.ReadDir(filepath.Join(j.Dir, "runs")) // sorted: by time
	if err != nil {
		return
	}
	for _, e := range entries[:max(0, len(entries)-2*keptRuns)] {
		_ = os.Remove(filepath.Join(j.Dir, "runs", e.Name()))
	}
}

// Running returns the entry that an earlier agent has left, if there is one,
// and the processes that still belong to it. A journal that cannot be read is
// an error: then nobody knows what runs.
func (j *Journal) Running() (entry Entry, pids []int, left bool, err error) {
	text, err := os.ReadFile(j.path())
	if errors.Is(err, fs.ErrNotExist) {
		return Entry{}, nil, false, nil
	}
	if err != nil {
		return Entry{}, nil, true, err
	}
	if err := json.Unmarshal(text, &entry); err != nil || entry.Run == "" { //check:journal-damaged
		return Entry{}, nil, true, fmt.Errorf("%s is damaged: find out whether its command still runs, then remove it", j.path())
	}
	pids, err = j.left(entry)
	return entry, pids, true, err
}

// left finds what a command has started, by its mark and by its session.
func (j *Journal) left(e Entry) (pids []int, err error) {
	if pids, err = j.processes(e.marker()); err != nil {
		return nil, err
	}
	if e.Leader.PID == 0 || e.Leader.Boot != j.boot() {
		return pids, nil
	}
	if st, err := procstat.Read(j.proc(), e.Leader.PID); err == nil && st.Start != e.Leader.Start { // the number is another's
		return pids, nil
	}
	all, err := procstat.IDs(j.proc())
	if err != nil {
		return nil, err
	}
	for _, pid := range all {
		if slices.Contains(pids, pid) {
			continue
		}
		st, err := procstat.Read(j.proc(), pid)
		if err == nil && st.Session == e.Leader.PID && st.State != 'Z' { //check:journal-session
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// executing is how long a process may take to execute a program, and how often
// it is looked at meanwhile.
const (
	executing = 200 * time.Millisecond
	lookAgain = 2 * time.Millisecond
)

// processes finds those whose environment holds the marker. The environment of
// a process that is executing a program is empty until the program has got its
// own, so that an empty one is looked at again.
func (j *Journal) processes(marker string) (pids []int, err error) {
	proc := j.proc()
	all, err := procstat.IDs(proc)
	if err != nil {
		return nil, err
	}
	var empty []int
	for _, pid := range all {
		switch found, none := marked(proc, pid, marker); {
		case found:
			pids = append(pids, pid)
		case none:
			empty = append(empty, pid)
		}
	}
	for until := time.Now().Add(executing); len(empty) > 0 && time.Now().Before(until); {
		time.Sleep(lookAgain)
		empty = slices.DeleteFunc(empty, func(pid int) bool {
			found, none := marked(proc, pid, marker)
			if found {
				pids = append(pids, pid)
			}
			return !none
		})
	}
	return pids, nil
}

// marked reports whether a process has the marker. None: it has a program, and
// no environment at all.
func marked(proc string, pid int, marker string) (found, none bool) {
	dir := filepath.Join(proc, strconv.Itoa(pid))
	environ, err := os.ReadFile(filepath.Join(dir, "environ"))
	if err != nil {
		return false, false // it has ended
	}
	if len(environ) == 0 { //check:journal-executing
		_, err := os.Readlink(filepath.Join(dir, "exe")) // the kernel's threads and what has ended have none
		return false, err == nil
	}
	return slices.ContainsFunc(bytes.Split(environ, []byte{0}), func(v []byte) bool { return string(v) == marker }), false
}

// Abandoned says, for Gate.Abandoned, what of an earlier agent's command still
// runs; nothing is "". It ends the entry when nothing does, after told has
// recorded that the outcome is unknown. An error: nobody knows what runs.
func (j *Journal) Abandoned(told func(Entry) error) (what string, err error) {
	entry, pids, left, err := j.Running()
	switch {
	case err != nil: //check:journal-unread
		return "", err
	case !left:
		return "", nil
	case len(pids) > 0: //check:journal-still-runs
		return fmt.Sprintf("%s %s, processes %v", entry.Operation, strings.Join(entry.Argv, " "), pids), nil
	}
	return "", errors.Join(told(entry), j.end())
}
