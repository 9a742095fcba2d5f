package retain

import (
	"time"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository/store"
)

// Policy says what stays.
type Policy struct {
	KeepFull int           `json:"keep_full"` // full backups, with all their increments; 0 is as 1
	KeepFor  time.Duration `json:"keep_for"`  // it stays possible to restore to any moment of that time; 0: no moment
}

// Validate refuses a policy that says nothing.
func (p Policy) Validate() error {
	if p.KeepFull < 0 || p.KeepFor < 0 || p.KeepFull == 0 && p.KeepFor == 0 {
		return fault.Usagef("retain: keep %d full backups, and all for %s: one of them has to be more than 0, and none less", p.KeepFull, p.KeepFor)
	}
	return nil
}

// leftAlone is how old what belongs to no backup has to be: younger, it may be of
// one that is being taken.
const leftAlone = 24 * time.Hour

// clockError is by how much the clocks of hosts may differ.
const clockError = archive.ClockError

// Inventory is what a repository holds of a set.
type Inventory struct {
	Set        string
	Backups    []backup.Manifest // that can be read
	Unreadable []string          // what is wrong with the manifests that cannot
	Logs       []archive.Log
	Leftovers  []store.Entry // see backup.Leftovers
	Leases     []Lease
}

// Fate says what becomes of something.
type Fate struct {
	Goes bool   `json:"goes"`
	Why  string `json:"why"`
}

// BackupFate is that of a backup.
type BackupFate struct {
	ID       string    `json:"id"`
	Kind     string    `json:"kind"`
	Parent   string    `json:"parent,omitempty"`
	Finished time.Time `json:"finished"`
	Stored   int64     `json:"stored_bytes"`
	Fate
}

// FileFate is that of a file of a log.
type FileFate struct {
	Server string `json:"server"`
	File   string `json:"file"`
	Folder string `json:"folder"` // of its objects
	Stored int64  `json:"stored_bytes"`
	Fate
}

// LeftoverFate is that of an object that belongs to no backup.
type LeftoverFate struct {
	Object string `json:"object"`
	Stored int64  `json:"stored_bytes"`
	Fate
}

// SchemaVersion is that of the decision's JSON.
const SchemaVersion = 1

// Decision says of everything in an inventory what becomes of it.
type Decision struct {
	SchemaVersion int            `json:"schema_version"`
	Set           string         `json:"set"`
	Made          time.Time      `json:"made"`
	Policy        Policy         `json:"policy"`
	Backups       []BackupFate   `json:"backups"` // in the order in which those that go are removed
	Logs          []FileFate     `json:"logs"`    // likewise
	Leftovers     []LeftoverFate `json:"leftovers"`
	Notes         []string       `json:"notes,omitempty"`
}
