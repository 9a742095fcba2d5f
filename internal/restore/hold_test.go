package restore_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/restore"
	"github.com/lifeboat-db/lifeboat/internal/server"
)

// TestHoldLost: a restore that loses its hold while it reads the repository says
// so, and goes on by the same command. What is read already needs none.
func TestHoldLost(t *testing.T) {
	w := prepared(t, server.MariaDB, backup.Dump)
	want := state(t, w.i)
	lost := fault.New(fault.Interrupted, errors.New("the hold is lost"), "run it again")
	for _, c := range []struct {
		at    string
		fails bool
	}{{"fetch the log", true}, {"load the dump", true}, {"replay the log", false}} {
		if !c.fails && !long {
			continue
		}
		t.Run(c.at, func(t *testing.T) {
			o := w.options(filepath.Join(t.TempDir(), "data"), "")
			plain := o
			var lose context.CancelCauseFunc
			o.Hold = func(ctx context.Context, _ []string) (held context.Context, release func(), err error) {
				held, lose = context.WithCancelCause(ctx)
				return held, func() { lose(nil) }, nil
			}
			o.Step = func(s restore.Step) {
				if s.Name == c.at && s.Seconds == 0 {
					lose(lost)
				}
			}
			_, err := restore.Run(t.Context(), o)
			if c.fails && (!errors.Is(err, lost) || fault.ClassOf(err) != fault.Interrupted) || !c.fails && err != nil {
				t.Errorf("lost at %q: %v", c.at, err)
			}
			if !long {
				return // TestInterrupted goes on
			}
			if c.fails {
				if rep := w.restore(plain); !rep.Finished || !rep.Resumed {
					t.Errorf("%+v", rep)
				}
			}
			w.same(o.Dir, want)
		})
	}
}
