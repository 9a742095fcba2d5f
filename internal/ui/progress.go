package ui

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/lifeboat-db/lifeboat/internal/replay"
	"github.com/lifeboat-db/lifeboat/internal/units"
)

// Watch draws a line of progress until stop is called: on a terminal it is
// redrawn in place; elsewhere nothing is written.
func Watch(w *os.File, p *replay.Progress) (stop func()) {
	return Live(w, func() string { return Line(p.Snapshot(), time.Now()) })
}

// Live redraws a line in place until stop is called, which erases it. Where w
// is not a terminal nothing is written.
func Live(w *os.File, line func() string) (stop func()) {
	if !term.IsTerminal(int(w.Fd())) {
		return func() {}
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			_, _ = fmt.Fprintf(w, "\r\033[K%s", fit(w, line()))
			select {
			case <-quit:
				_, _ = io.WriteString(w, "\r\033[K")
				return
			case <-tick.C:
			}
		}
	}()
	return func() { close(quit); <-done }
}

// fit cuts a line off where the terminal ends: one that wraps could not be
// erased.
func fit(w *os.File, line string) string {
	width, _, err := term.GetSize(int(w.Fd()))
	if text := []rune(line); err == nil && width > 0 && len(text) >= width {
		return string(text[:width-1])
	}
	return line
}

// Line is one line of progress: phase, share, bytes, rate and time left.
func Line(s replay.Snapshot, now time.Time) string {
	if s.Total <= 0 {
		return s.Phase + " …"
	}
	done := min(s.Done, s.Total)
	spent := now.Sub(s.Since)
	line := fmt.Sprintf("%s  %3d %%  %s of %s", s.Phase, done*100/s.Total, units.Bytes(done), units.Bytes(s.Total))
	if spent < 500*time.Millisecond || done == 0 {
		return line
	}
	rate := float64(done) / spent.Seconds()
	left := time.Duration(float64(s.Total-done) / rate * float64(time.Second))
	return fmt.Sprintf("%s  %s/s  %s left", line, units.Bytes(int64(rate)), units.Duration(left))
}
