package archive

import (
	"time"

	"github.com/lifeboat-db/lifeboat/internal/gtid"
)

// State is a moment in the history of a server: it has every transaction before
// it and none after.
type State struct {
	Server string    `json:"server"` // whose log File belongs to
	File   string    `json:"file,omitempty"`
	Offset int64     `json:"offset,omitempty"`
	GTIDs  string    `json:"gtids,omitempty"`
	Flavor string    `json:"flavor"`
	At     time.Time `json:"at"` // no transaction of it was committed later, by the archiving host's clock
}

// ClockError is by how much the clocks of hosts may differ.
const ClockError = time.Hour

// ByPosition finds the file that a state names, in the log of its own server.
// After a RESET MASTER names begin anew: of several it is the last that had been
// begun by then.
func (l Log) ByPosition(s State) (i int, ok bool) {
	if s.File == "" || l.Server != s.Server {
		return 0, false
	}
	for i := len(l.Files) - 1; i >= 0; i-- {
		if f := l.Files[i]; f.File == s.File && !f.Begun.After(s.At.Add(ClockError)) {
			return i, true
		}
	}
	return 0, false
}

// ByGTIDs finds the last file before which there is nothing that a state does
// not hold. The error is about GTIDs that cannot be read.
func (l Log) ByGTIDs(s State) (i int, ok bool, err error) {
	if s.GTIDs == "" {
		return 0, false, nil
	}
	has, err := gtid.ParseSet(gtid.FlavorNamed(s.Flavor), s.GTIDs)
	if err != nil {
		return 0, false, err
	}
	for i := len(l.Files) - 1; i >= 0; i-- {
		f := l.Files[i]
		if f.Previous == nil {
			continue
		}
		before, err := gtid.ParseSet(gtid.FlavorNamed(f.Flavor), *f.Previous)
		if err != nil {
			return 0, false, err
		}
		if has.ContainsSet(before) {
			return i, true, nil
		}
	}
	return 0, false, nil
}
