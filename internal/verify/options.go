package verify

import (
	"time"

	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/repository/store"
)

// Options of Run.
type Options struct {
	Repository *repository.Repository
	Set        string // empty: all

	// Decrypt checks also what encrypted objects hold. The repository must have
	// been opened with identities. What is not encrypted is always looked into.
	Decrypt bool

	State  string        // path of the state file; empty: none, and everything is checked
	MaxAge time.Duration // what was checked less than that ago is left out; 0: nothing

	BytesPerSecond int64 // stored bytes read; 0: as many as there come
	Workers        int   // objects at once, each in memory twice; 0: 4

	// Progress, if set, is called after each object, one call at a time.
	Progress func(Progress)
}

// Progress says how far a run is. The totals are of what will be read.
type Progress struct {
	Objects, TotalObjects int64
	Bytes, TotalBytes     int64
}

const defaultWorkers = 4

// Validate says what is wrong with the options.
func (o *Options) Validate() error {
	switch {
	case o.Repository == nil:
		return fault.Usagef("no repository")
	case o.MaxAge < 0 || o.BytesPerSecond < 0 || o.Workers < 0:
		return fault.Usagef("age, rate or workers below 0")
	case o.MaxAge > 0 && o.State == "":
		return fault.New(fault.Usage, errNoState, "give the path of a state file")
	case o.Set == "":
		return nil
	}
	if err := store.CheckName(o.Set); err != nil {
		return fault.Usagef("set %w", err)
	}
	return nil
}

func (o *Options) setDefaults() {
	if o.Workers == 0 {
		o.Workers = defaultWorkers
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
}
