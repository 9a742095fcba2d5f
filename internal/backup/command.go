package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/fault"
)

// tool is a program of the vendor.
type tool struct {
	path    string
	version string // the whole line
}

// findTool finds a program: as configured under the first name, or in PATH
// under one of the names.
func findTool(ctx context.Context, configured map[string]string, names ...string) (tool, error) {
	path, err := lookUp(configured, names...)
	if err != nil {
		return tool{}, err
	}
	out, err := exec.CommandContext(ctx, path, "--version").CombinedOutput()
	if ctx.Err() != nil {
		return tool{}, context.Cause(ctx)
	}
	if err != nil {
		return tool{}, fault.New(fault.Storage, fmt.Errorf("%s --version: %w: %s", filepath.Base(path), err, lastLines(out, 3)), "can it be run on this host?")
	}
	line, _, _ := strings.Cut(string(bytes.TrimSpace(out)), "\n")
	return tool{path, cleanVersion(path, line)}, nil
}

// lookUp finds the path of a program.
func lookUp(configured map[string]string, names ...string) (path string, err error) {
	if path := configured[names[0]]; path != "" {
		names = []string{path}
	}
	for _, name := range names {
		if path, err = exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fault.New(fault.Storage, err, "install the package of the server's version that has it, or say where it is")
}

// cleanVersion leaves out the path with which some tools begin the line.
func cleanVersion(path, line string) string {
	first, rest, _ := strings.Cut(line, " ")
	if strings.Contains(first, "/") {
		return filepath.Base(first) + " " + rest
	}
	return line
}

var versionPattern = regexp.MustCompile(`([0-9]+)\.([0-9]+)\.([0-9]+)`)

// parseVersion finds the first version of three numbers in a text; zeros if
// there is none.
func parseVersion(text string) (v [3]int) {
	m := versionPattern.FindStringSubmatch(text)
	for i := range v {
		if m != nil {
			v[i], _ = strconv.Atoi(m[i+1]) // digits
		}
	}
	return v
}

// series is the major and minor number of it.
func series(text string) [2]int { v := parseVersion(text); return [2]int{v[0], v[1]} }

// Fits reports whether a server program of a vendor (mysql, mariadb) and version is
// for a backup: of the same vendor, and of the same series where the backup has the
// server's files, which another one would change; a later one may load a dump.
func (m Manifest) Fits(vendor, version string) bool {
	have, want := series(version), series(m.ServerVersion)
	order := slices.Compare(have[:], want[:])
	return strings.EqualFold(vendor, m.Flavor) && want != [2]int{} && (order == 0 || order > 0 && m.Driver == Dump)
}

func (t tool) atLeast(version ...int) bool {
	have := parseVersion(t.version)
	return slices.Compare(have[:], version) >= 0
}

// command runs a tool to its end.
type command struct {
	tool tool
	args []string
	env  []string // nil: ours
	in   io.Reader
	out  io.Writer
	said func(line string) // is told each line of its standard error; may be nil

	// mark is what it has to say last on its standard error, beside exit code 0;
	// empty: anything.
	mark string
}

// run runs it. When the context ends, the tool is killed.
func (c command) run(ctx context.Context) error {
	said := tail{line: c.said}
	in := &whole{r: c.in}
	cmd := exec.CommandContext(ctx, c.tool.path, c.args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = c.env, c.out, &said
	if c.in != nil {
		cmd.Stdin = in
	}
	cmd.WaitDelay = 10 * time.Second // for whom it has started and that holds its pipes
	err := cmd.Run()
	name := filepath.Base(c.tool.path)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", name, context.Cause(ctx))
	case c.in != nil && in.err != nil && !errors.Is(in.err, io.EOF):
		return in.err // the rest came of it
	case err != nil:
		return fmt.Errorf("%s: %w%s", name, err, said.quote())
	case c.in != nil && in.err == nil:
		return fmt.Errorf("%s: it has not read all of its input%s", name, said.quote())
	case !strings.HasSuffix(said.last(), c.mark):
		return fmt.Errorf("%s: exit code 0, but it does not say %q%s", name, c.mark, said.quote())
	}
	return nil
}

// whole remembers how an input has ended; nil: it has not.
type whole struct {
	r   io.Reader
	err error
}

func (w *whole) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if err != nil {
		w.err = err
	}
	return n, err
}

// tail keeps the end of what is written to it.
type tail struct {
	b    []byte
	line func(string) // is told each line; may be nil
	part []byte       // of the line that has not ended
}

// tailBytes is how much of it is kept at least.
const tailBytes = 64 << 10

func (t *tail) Write(p []byte) (int, error) {
	if t.b = append(t.b, p...); len(t.b) > 2*tailBytes {
		t.b = append(t.b[:0], t.b[len(t.b)-tailBytes:]...)
	}
	if t.line != nil {
		t.lines(p)
	}
	return len(p), nil
}

// lines tells the lines that end in p.
func (t *tail) lines(p []byte) {
	for {
		line, rest, ended := bytes.Cut(p, []byte("\n"))
		if t.part = append(t.part, line...); !ended {
			t.part = t.part[:min(len(t.part), tailBytes)]
			return
		}
		t.line(string(t.part))
		t.part, p = t.part[:0], rest
	}
}

// last is the last line that is not empty.
func (t *tail) last() string {
	text := strings.TrimSpace(string(t.b))
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// quote is the end of it for an error's text.
func (t *tail) quote() string {
	if len(bytes.TrimSpace(t.b)) == 0 {
		return ""
	}
	return "\n" + lastLines(t.b, 10)
}

// lastLines are the last n lines of a text, indented.
func lastLines(text []byte, n int) string {
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	lines = lines[max(0, len(lines)-n):]
	return "\t" + strings.Join(lines, "\n\t")
}
