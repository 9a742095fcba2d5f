// Package disk looks at what lies on the machine's disks, mounted or not, and
// who uses them.
//
// Each filesystem within reach is mounted once more, read-only and where nobody
// else sees it, and walked from its root: so nothing hides below another mount
// or in another namespace. A device without a known filesystem is read through
// for the beginnings of engines' files. What cannot be looked into is UNKNOWN.
//
// Not found: data in files that are not called like an engine's; data in free
// space of a filesystem and in gaps between partitions. Logical dumps are not
// data at rest.
package disk

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// Mount is one line of /proc/PID/mountinfo (proc_pid_mountinfo(5)).
type Mount struct {
	ID, Parent   int
	Major, Minor uint32
	Root         string // path inside of the filesystem; ends in "//deleted" if it is gone
	Point        string // where it is mounted, as the process sees it
	Type         string
	Source       string
}

// ParseMountinfo reads all of a mountinfo file. One line that is not understood
// is an error: half a table proves nothing.
func ParseMountinfo(text []byte) ([]Mount, error) {
	var mounts []Mount
	for i, line := range lines(text) {
		m, err := parseMount(line)
		if err != nil {
			return nil, fmt.Errorf("mountinfo line %d: %w", i+1, err)
		}
		mounts = append(mounts, m)
	}
	return mounts, nil
}

func lines(text []byte) []string {
	text = bytes.TrimSuffix(text, []byte("\n"))
	if len(text) == 0 {
		return nil
	}
	return strings.Split(string(text), "\n")
}

// parseMount reads "36 35 98:0 /root /point options optional... - type source super".
func parseMount(line string) (Mount, error) {
	before, after, found := strings.Cut(line, " - ")
	head, tail := strings.Split(before, " "), strings.Split(after, " ")
	if !found || len(head) < 6 || len(tail) != 3 {
		return Mount{}, fmt.Errorf("%q has not the fields of a mount", line)
	}
	var m Mount
	var err error
	if m.ID, err = strconv.Atoi(head[0]); err != nil {
		return Mount{}, fmt.Errorf("mount id: %w", err)
	}
	if m.Parent, err = strconv.Atoi(head[1]); err != nil {
		return Mount{}, fmt.Errorf("parent id: %w", err)
	}
	if m.Major, m.Minor, err = parseDev(head[2]); err != nil {
		return Mount{}, err
	}
	for _, f := range []struct {
		to   *string
		from string
	}{{&m.Root, head[3]}, {&m.Point, head[4]}, {&m.Type, tail[0]}, {&m.Source, tail[1]}} {
		if *f.to, err = unescape(f.from); err != nil {
			return Mount{}, err
		}
	}
	return m, nil
}

// parseDev reads "major:minor", 12 and 20 bits (include/linux/kdev_t.h).
func parseDev(s string) (major, minor uint32, err error) {
	a, b, found := strings.Cut(s, ":")
	x, errA := strconv.ParseUint(a, 10, 12)
	y, errB := strconv.ParseUint(b, 10, 20)
	if !found || errA != nil || errB != nil {
		return 0, 0, fmt.Errorf("device number %q is not major:minor", s)
	}
	return uint32(x), uint32(y), nil
}

// unescape undoes mangle_path (fs/seq_file.c): backslash and three octal digits.
func unescape(s string) (string, error) {
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		if i+4 > len(s) {
			return "", fmt.Errorf("%q ends within an escape", s)
		}
		n, err := strconv.ParseUint(s[i+1:i+4], 8, 8)
		if err != nil {
			return "", fmt.Errorf("escape in %q: %w", s, err)
		}
		b.WriteByte(byte(n))
		i += 3
	}
	return b.String(), nil
}

// ParseSwaps reads /proc/swaps and returns the paths of its files and
// partitions (mm/swapfile.c, swap_show).
func ParseSwaps(text []byte) ([]string, error) {
	all := lines(text)
	if len(all) == 0 || !strings.HasPrefix(all[0], "Filename") {
		return nil, fmt.Errorf("swaps: the heading is missing")
	}
	var paths []string
	for _, line := range all[1:] {
		fields := strings.Fields(line)
		if len(fields) != 5 || (fields[1] != "partition" && fields[1] != "file") {
			return nil, fmt.Errorf("swaps: %q is not a swap area", line)
		}
		path, err := unescape(fields[0])
		if err != nil {
			return nil, fmt.Errorf("swaps: %w", err)
		}
		paths = append(paths, path)
	}
	return paths, nil
}
