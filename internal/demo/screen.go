package demo

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/lifeboat-db/lifeboat/internal/ui"
	"github.com/lifeboat-db/lifeboat/internal/units"
)

// screen shows what is going on: while a step lasts, a line that a terminal
// redraws; when it is done, the time it took and what was done.
//
//	1.3 s  Full backup: shut the server down, copied its data directory
//	       (112.4 MiB), started it again.
type screen struct {
	out   io.Writer
	tty   *os.File // out, if it is a terminal
	color bool
	err   error // the first of writing
}

func newScreen(out io.Writer) *screen {
	s := &screen{out: out}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		s.tty, s.color = f, os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	}
	return s
}

func (s *screen) text(text string) {
	if s.err == nil {
		_, s.err = io.WriteString(s.out, text)
	}
}

func (s *screen) title(head, rest string) {
	s.text("\n" + s.bold(head) + "\n" + wrap(rest, 0) + "\n\n")
}

// step shows that something is done and how long it takes.
func (s *screen) step(doing string, do func() (string, error)) error {
	began := time.Now()
	return s.stepLive(func() string { return doing + " … " + took(time.Since(began)) }, do)
}

// stepLive is step with a line that says how far it is. A step that fails
// leaves the line as it was last, for the error to come after it.
func (s *screen) stepLive(line func() string, do func() (string, error)) error {
	began := time.Now()
	stop := func() {}
	if s.tty != nil {
		stop = ui.Live(s.tty, func() string { return pad("") + line() })
	}
	done, err := do()
	stop()
	if err != nil {
		s.text(pad("stopped") + line() + "\n")
		return err
	}
	s.text(pad(took(time.Since(began))) + wrap(done, indent) + "\n")
	return nil
}

// took is a time to the tenth of a second, so that the times of all steps
// stand in one column.
func took(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return units.Duration(d)
}

// indent is the width of the column of times, with the gap after it.
const indent = 12

func pad(s string) string { return fmt.Sprintf("%*s  ", indent-2, s) }

// width is that of a page: every terminal has it.
const width = 80

// wrap breaks text into lines; all but the first are indented.
func wrap(text string, indent int) string {
	var b strings.Builder
	column := indent
	for n, word := range strings.Fields(text) {
		if n > 0 && column+1+utf8.RuneCountInString(word) > width {
			b.WriteString("\n" + strings.Repeat(" ", indent))
			column = indent
		} else if n > 0 {
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += utf8.RuneCountInString(word)
	}
	return b.String()
}

func (s *screen) bold(text string) string { return s.paint("1", text) }

func (s *screen) paint(code, text string) string {
	if !s.color {
		return text
	}
	return "\033[" + code + "m" + text + "\033[0m"
}
