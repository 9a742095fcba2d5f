package server

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Bounds of what is read of one process; beyond them the answer is an error.
const (
	maxFDs   = 1 << 20
	maxTable = 64 << 20 // bytes of /proc/PID/net/unix
)

// listening returns the paths of the Unix sockets that a process listens at,
// sorted; abstract ones, which no server of ours has, left out.
func listening(pid int) (paths []string, err error) {
	mine, err := socketInodes(pid)
	if err != nil || len(mine) == 0 {
		return nil, err
	}
	f, err := os.Open(fmt.Sprintf("/proc/%d/net/unix", pid))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return parseUnix(io.LimitReader(f, maxTable), mine)
}

// socketInodes reads which sockets a process has open: links "socket:[INODE]".
func socketInodes(pid int) (map[uint64]bool, error) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.Close() }()
	inodes := map[uint64]bool{}
	for n := 0; ; {
		names, err := d.Readdirnames(1024)
		for _, name := range names {
			link, err := os.Readlink(dir + "/" + name)
			if err != nil {
				continue // closed meanwhile
			}
			number, is := strings.CutPrefix(strings.TrimSuffix(link, "]"), "socket:[")
			if inode, err := strconv.ParseUint(number, 10, 64); is && err == nil {
				inodes[inode] = true
			}
		}
		if n += len(names); n > maxFDs {
			return nil, fmt.Errorf("%s: more than %d open files", dir, maxFDs)
		}
		if err == io.EOF {
			return inodes, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// acceptsConnections is __SO_ACCEPTCON (include/uapi/linux/net.h).
const acceptsConnections = 1 << 16

// parseUnix reads /proc/PID/net/unix (net/unix/af_unix.c, unix_seq_show):
//
//	Num       RefCount Protocol Flags    Type St Inode Path
//	0000...:  00000002 00000000 00010000 0001 01 31337 /run/mysqld/mysqld.sock
//
// The path is the rest of the line, spaces included. What is not understood is
// an error: a socket that was missed would be a server that was not asked.
func parseUnix(r io.Reader, mine map[uint64]bool) (paths []string, err error) {
	lines := bufio.NewScanner(r)
	lines.Scan() // heading
	for lines.Scan() {
		fields := strings.SplitN(strings.TrimRight(lines.Text(), "\n"), " ", 2)
		if len(fields) < 2 || !strings.HasSuffix(fields[0], ":") {
			continue // the rest of a path with a line break in it
		}
		inode, path, listens, err := unixLine(fields[1])
		if err != nil {
			return nil, err
		}
		if listens && mine[inode] && path != "" && path[0] != '@' {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return slices.Compact(paths), lines.Err()
}

func unixLine(s string) (inode uint64, path string, listens bool, err error) {
	var column [6]string // references, protocol, flags, type, state, inode
	for i := range column {
		s = strings.TrimLeft(s, " ")
		column[i], s, _ = strings.Cut(s, " ")
	}
	flags, err := strconv.ParseUint(column[2], 16, 64)
	if err != nil {
		return 0, "", false, fmt.Errorf("table of Unix sockets: %w", err)
	}
	if inode, err = strconv.ParseUint(column[5], 10, 64); err != nil {
		return 0, "", false, fmt.Errorf("table of Unix sockets: %w", err)
	}
	return inode, s, flags&acceptsConnections != 0, nil
}

// open finds a socket's path as the process itself would.
func open(pid int, path string) (*os.File, error) {
	base := fmt.Sprintf("/proc/%d/root", pid)
	if !strings.HasPrefix(path, "/") {
		// A relative path is below the directory that the server changed to.
		base = fmt.Sprintf("/proc/%d/cwd", pid)
	}
	dir, err := unix.Open(base, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: base, Err: err}
	}
	defer func() { _ = unix.Close(dir) }()
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	fd, err := unix.Openat2(dir, path, how)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: base + "/" + path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// startTime and parent are fields 22 and 4 of /proc/PID/stat (proc(5)); 0 if
// the process is gone.
func startTime(pid int) int64 { return statField(pid, 22) }

func parent(pid int) int { return int(statField(pid, 4)) }

func statField(pid, number int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	return parseStat(string(text), number)
}

// parseStat: the second field, the name in parentheses, may hold anything.
func parseStat(text string, number int) int64 {
	end := strings.LastIndexByte(text, ')')
	if end < 0 {
		return 0
	}
	fields := strings.Fields(text[end+1:])
	if len(fields) < number-2 || number < 3 {
		return 0
	}
	v, err := strconv.ParseInt(fields[number-3], 10, 64)
	if err != nil {
		return 0
	}
	return v
}
