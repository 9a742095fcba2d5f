package verify

import (
	"fmt"
	"strings"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/fault"
)

// SchemaVersion is that of the report's JSON.
const SchemaVersion = 1

// Kind says what is wrong.
type Kind string

// The kinds of findings.
const (
	Damaged    Kind = "damaged"      // not what was written, or in another's place
	Missing    Kind = "missing"      // something names it, or it was there
	Unreadable Kind = "unreadable"   // the storage, or its keys, do not give it
	Broken     Kind = "broken-chain" // an increment that does not go on from another backup
	Foreign    Kind = "foreign"      // not ours, where only ours may be: it keeps logs from being read
	Gap        Kind = "gap"          // a log does not go on: it was never archived
	Orphan     Kind = "orphan"       // nothing needs it: no failure
)

// Finding is something that is not as it should be.
type Finding struct {
	Kind   Kind   `json:"kind"`
	Object string `json:"object"` // its name; where that is not known, the folder, with a slash at its end
	Lost   Lost   `json:"lost"`
	Cause  string `json:"cause"`
}

// Lost is what cannot be brought back because of a finding.
type Lost struct {
	Backups []string `json:"backups,omitempty"` // ids: of the object, and of all increments that need it
	Log     *Range   `json:"log,omitempty"`
}

// Range is a part of a server's log.
type Range struct {
	Server string `json:"server"`
	File   string `json:"file"`
	ID     string `json:"id"` // of the file
	Start  int64  `json:"start"`
	End    int64  `json:"end"`            // offset behind the last byte; equal to Start if that is not known
	Next   string `json:"next,omitempty"` // of a gap: FILE:OFFSET, where the log goes on

	// GTIDs are those of the transactions that end in these bytes. MariaDB: the
	// position that they reach, from After on.
	GTIDs string `json:"gtids,omitempty"`
	After string `json:"after,omitempty"`

	// Unproven: GTIDs are those of a header that may be damaged itself, or, on
	// MariaDB, reach further than the range.
	Unproven bool `json:"unproven,omitempty"`
}

func (r Range) String() string {
	text := fmt.Sprintf("%s %s:%d", r.Server, r.File, r.Start)
	if r.End > r.Start {
		text += fmt.Sprintf("-%d", r.End)
	}
	if r.Next != "" {
		text += " to " + r.Next
	}
	if r.GTIDs != "" {
		text += ", GTIDs " + strings.TrimPrefix(r.After+" to ", " to ") + r.GTIDs
	}
	if r.Unproven {
		text += " (as far as can be told)"
	}
	return text
}

func (f Finding) String() string {
	text := fmt.Sprintf("%s: %s: %s", f.Object, f.Kind, f.Cause)
	if len(f.Lost.Backups) > 0 {
		text += "; lost: backup " + strings.Join(f.Lost.Backups, ", ")
	}
	if f.Lost.Log != nil {
		text += "; lost: " + f.Lost.Log.String()
	}
	return text
}

// Report says what was checked and what was found.
type Report struct {
	SchemaVersion int       `json:"schema_version"`
	Repository    string    `json:"repository"` // its id
	Place         string    `json:"place"`
	Sets          []string  `json:"sets"`
	Started       time.Time `json:"started"`
	Finished      time.Time `json:"finished"`

	Complete bool `json:"complete"` // false: it was interrupted, and nothing was compared
	Content  bool `json:"content"`  // what the objects hold was checked, not only their stored bytes

	Objects      int64 `json:"objects"`
	Bytes        int64 `json:"bytes"` // stored
	Checked      int64 `json:"checked"`
	CheckedBytes int64 `json:"checked_bytes"`
	Skipped      int64 `json:"skipped"` // were checked before

	Findings []Finding `json:"findings"` // by object
	Notes    []string  `json:"notes,omitempty"`
}

// count says how many findings of these kinds there are, and gives the first.
func (r *Report) count(kinds ...Kind) (n int, first Finding) {
	for _, f := range r.Findings {
		for _, k := range kinds {
			if f.Kind != k {
				continue
			}
			if n++; n == 1 {
				first = f
			}
		}
	}
	return n, first
}

// Err is the worst of the findings, with its class; nil if all is well. Orphans
// are well.
func (r *Report) Err() error {
	for _, worst := range []struct {
		class fault.Class
		hint  string
		kinds []Kind
	}{
		{fault.VerifyFailed, "take another backup now, and find out what the storage does", []Kind{Damaged, Missing, Broken, Foreign}},
		{fault.Storage, "check storage, account and keys, then run it again", []Kind{Unreadable}},
		{fault.Gap, "take a full backup: nothing before the gap leads past it", []Kind{Gap}},
	} {
		if n, first := r.count(worst.kinds...); n > 0 {
			return fault.New(worst.class, fmt.Errorf("%d findings, the first: %s", n, first), worst.hint)
		}
	}
	return nil
}
