// Package procstat reads what the kernel says about processes: which there are, and
// the one line that it has about each.
package procstat

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Stat is what proc(5) says in /proc/PID/stat, and of a thread in
// /proc/PID/task/TID/stat. The number in brackets is the field's.
type Stat struct {
	Name    string // (2) may hold anything, parentheses and newlines too
	State   byte   // (3) R, S, Z, T, ...
	Parent  int    // (4)
	Session int    // (6)
	Kernel  bool   // (9) a thread of the kernel's: it has no files
	Start   uint64 // (22) clock ticks after boot
}

const pfKthread = 0x00200000 // PF_KTHREAD, include/linux/sched.h

// Parse reads a line of stat. The name ends at the last parenthesis.
func Parse(text []byte) (s Stat, err error) {
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return s, fmt.Errorf("stat %.40q has no name", text)
	}
	fields := strings.Fields(string(text[end+1:]))
	// Field 3 is the first behind the name.
	const state, parent, session, flags, start = 0, 4 - 3, 6 - 3, 9 - 3, 22 - 3
	if len(fields) <= start || len(fields[state]) != 1 {
		return s, fmt.Errorf("stat has %d fields", len(fields))
	}
	var numbers [start + 1]int64
	for _, n := range []int{parent, session, flags, start} {
		if numbers[n], err = strconv.ParseInt(fields[n], 10, 64); err != nil {
			return s, fmt.Errorf("stat: field %d: %w", n+3, err)
		}
	}
	return Stat{
		Name: string(text[open+1 : end]), State: fields[state][0], Parent: int(numbers[parent]), Session: int(numbers[session]),
		Kernel: numbers[flags]&pfKthread != 0, Start: uint64(numbers[start]), //nolint:gosec // ticks after boot
	}, nil
}

// Read reads the line of a process; root is where procfs is.
func Read(root string, pid int) (Stat, error) {
	text, err := os.ReadFile(filepath.Join(root, strconv.Itoa(pid), "stat"))
	if err != nil {
		return Stat{}, err
	}
	return Parse(text)
}

// IDs lists the processes, ascending.
func IDs(root string) (pids []int, err error) {
	d, err := os.Open(root)
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.Close() }()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids, nil
}
