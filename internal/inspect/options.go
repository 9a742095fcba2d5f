package inspect

import (
	"fmt"

	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/replay"
)

// Options say what to read. The zero value of a field that has a default means
// the default.
type Options struct {
	Files []string // binary log files, in any order
	From  string   // FILE:POSITION or gtid:SET (transactions to leave out); default: the beginning of the log
	Until string   // a time with zone, gtid:SET or FILE:POSITION; default: the end of the log

	Top    int    // how many of the largest transactions to list; default 10, negative: none
	Find   string // list the transactions that have this in a table's name (database.table) or a statement, in any case, without backquotes; empty: none
	Memory int64  // bytes for following rows; default 1 GiB, at least 16 MiB

	Progress *replay.Progress // what is going on, for others to watch; may be nil
}

// Defaults and bounds.
const (
	defaultTop    = 10
	maxTop        = 10000
	defaultMemory = 1 << 30
	minMemory     = 16 << 20
)

func (o *Options) setDefaults() {
	if o.Top == 0 {
		o.Top = defaultTop
	}
	o.Top = max(0, o.Top)
	if o.Memory == 0 {
		o.Memory = defaultMemory
	}
	if o.Progress == nil {
		o.Progress = replay.NewProgress()
	}
}

// Validate reports what cannot be.
func (o *Options) Validate() error {
	switch {
	case len(o.Files) == 0:
		return usagef("no binary log files given")
	case o.Top > maxTop:
		return usagef("--top %d: at most %d", o.Top, maxTop)
	case o.Memory < minMemory:
		return usagef("--memory %d: at least %d bytes", o.Memory, minMemory)
	}
	return nil
}

func usagef(format string, args ...any) error {
	return &fault.Error{Class: fault.Usage, Err: fmt.Errorf(format, args...)}
}

func gapf(hint, format string, args ...any) error {
	return &fault.Error{Class: fault.Gap, Err: fmt.Errorf(format, args...), Hint: hint}
}
