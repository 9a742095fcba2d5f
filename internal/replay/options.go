package replay

import (
	"runtime"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/fault"
)

// Options say what to replay into what. The zero value of a field that has a
// default means the default.
type Options struct {
	Target string   // data source name of the Go driver, e.g. root@unix(/run/mysqld/mysqld.sock)/
	Files  []string // binary log files, in any order
	From   string   // FILE:POSITION, gtid:SET or auto (default)
	Until  string   // a time with zone, gtid:SET or FILE:POSITION; default: the end of the log

	Workers    int   // connections that apply; default: twice the CPUs, at least 4
	Memory     int64 // bytes for indexes; default 1 GiB, at least 16 MiB
	ChunkBytes int64 // row images in one transaction; default 1 MiB

	Skip    string  // transactions not to apply, as ParseNames reads it
	Earlier LeftOut // what replays before this one have left out, none of which the target's checkpoint knows

	Only string // databases and tables to bring back, as ParseOnly reads it; empty: all

	PlanOnly bool // find out what would be done, write nothing
	Verify   bool // read back the last image of every touched key
	Finalize bool // make the target ready for use: GTID state, settings, no checkpoint

	// Restored: the target is a restore's, and has all its files in one place. It has
	// no transactions of its own, so that what its GTID state names is not replayed
	// again; and nothing of it was committed after a stop that is a time, so that there
	// may be nothing to replay. Its checkpoint stays when it is made ready: the restore
	// takes it away, when it has written down that the replay is done and what was left
	// out.
	Restored bool

	// Holds are the GTIDs of the state that was restored into the target, as the
	// backup says; empty: only the target says. MariaDB's tables have gtid_slave_pos
	// alone: what a server wrote itself, after it had been a replica, or had been
	// restored, is known by its binary log, which no backup has.
	Holds string

	// Accepted is called when nothing speaks against the replay, before anything of
	// it is written; may be nil.
	Accepted func() error

	Progress *Progress // what is going on, for others to watch; may be nil
}

// Defaults and bounds.
const (
	defaultMemory = 1 << 30
	minMemory     = 16 << 20
	defaultChunk  = 1 << 20
	maxWorkers    = 256
)

func (o *Options) setDefaults() {
	if o.Workers == 0 {
		o.Workers = max(4, 2*runtime.NumCPU())
	}
	if o.Memory == 0 {
		o.Memory = defaultMemory
	}
	if o.ChunkBytes == 0 {
		o.ChunkBytes = defaultChunk
	}
	if o.Progress == nil {
		o.Progress = NewProgress()
	}
}

// Validate reports what cannot be.
func (o *Options) Validate() error {
	switch {
	case o.Target == "":
		return fault.Usagef("--target is missing: the server to replay into, e.g. --target 'root@unix(/run/mysqld/mysqld.sock)/'")
	case len(o.Files) == 0:
		return fault.Usagef("no binary log files given")
	case o.Workers < 1 || o.Workers > maxWorkers:
		return fault.Usagef("--workers %d: it takes 1 to %d", o.Workers, maxWorkers)
	case o.Memory < minMemory:
		return fault.Usagef("--memory %d: at least %d bytes", o.Memory, minMemory)
	case o.ChunkBytes < 1 || o.ChunkBytes > 64<<20:
		return fault.Usagef("chunk of %d bytes: it takes 1 to %d", o.ChunkBytes, 64<<20)
	}
	return nil
}

// Report is the result of a replay.
type Report struct {
	SchemaVersion int          `json:"schema_version"`
	Target        string       `json:"target"`
	Plan          *Plan        `json:"plan"`
	Resumed       bool         `json:"resumed"`
	Finished      bool         `json:"finished"`
	Workers       int          `json:"workers"`
	Transactions  int64        `json:"transactions"`
	RowChanges    int64        `json:"row_changes"`
	NetRows       int64        `json:"net_rows"`
	Windows       int64        `json:"windows"`
	Barriers      int64        `json:"barriers"`
	Bytes         int64        `json:"bytes"`
	Seconds       float64      `json:"seconds"`
	GTIDs         string       `json:"gtids"` // contained in the target now
	Verified      []Check      `json:"verified"`
	Notes         []string     `json:"notes,omitempty"`
	Lanes         []LaneReport `json:"verbatim,omitempty"`
	Finalized     bool         `json:"finalized"`
	Only          string       `json:"only,omitempty"`
	Dropped       []string     `json:"dropped,omitempty"`  // databases, and objects of others
	LeftOut       *LeftOut     `json:"left_out,omitempty"` // of this run and those before
}

// Check is one proof and whether it was carried out.
type Check struct {
	Name string `json:"name"`
	Done bool   `json:"done"`
	Text string `json:"text"`
}

// LaneReport names a table that was replayed verbatim, and why.
type LaneReport struct {
	Table  string `json:"table"`
	Reason string `json:"reason"`
}

func since(t time.Time) float64 { return time.Since(t).Seconds() }
