// Package backup is the probe "backup": how old the machine's backup is, and
// whether it was verified. It is additional evidence: a backup is never a reason
// to destroy data.
//
// The backup writes a status file, JSON, by renaming a complete one into place:
//
//	{
//	  "schema_version": 1,
//	  "server_uuid": "3e11fa47-71ca-11e1-9e33-c80aa9429562",   whose backup it is
//	  "last_full": "2026-01-31T02:00:00Z",       when the last full backup was begun
//	  "last_verified": "2026-01-31T04:00:00Z",   when one was last restored and compared
//	  "archived_until": "2026-01-31T09:59:58Z",  up to when the binary log is archived
//	  "repository": "backup.example:/db7"
//	}
//
// Times are RFC 3339. All fields must be there and no others. A file that cannot
// be read or understood is UNKNOWN; one of another server, or too old, or without
// a verified backup, is ACTIVE: there are data that no proven backup has. Without
// a configured file nothing is claimed, and the fact is CLEAR and says so.
package backup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/guard/fact"
	"github.com/lifeboat-db/lifeboat/internal/guard/probe"
)

// Name is the probe's.
const Name = "backup"

// SchemaVersion is that of the status file.
const SchemaVersion = 1

// Status is the content of the status file.
type Status struct {
	SchemaVersion int       `json:"schema_version"`
	ServerUUID    string    `json:"server_uuid"`
	LastFull      time.Time `json:"last_full"`
	LastVerified  time.Time `json:"last_verified"`
	ArchivedUntil time.Time `json:"archived_until"`
	Repository    string    `json:"repository"`
}

// Probe reads a status file.
type Probe struct {
	// File is its path; "": not configured.
	File string
	// ServerUUID is the server that the machine's backup must be of.
	ServerUUID string
	// MaxAge of the last full backup, of its verification and of the archive's
	// end; 0: any age.
	MaxAge time.Duration
	// Now is for tests; nil is time.Now.
	Now func() time.Time
}

// Name is the probe's name.
func (Probe) Name() string { return Name }

// Look reads the file.
func (p Probe) Look(context.Context, probe.Question) []fact.Fact {
	if p.File == "" {
		return []fact.Fact{{Probe: Name, Kind: fact.Backup, Verdict: fact.Clear, Summary: "not configured: nothing claimed"}}
	}
	f := fact.Fact{Probe: Name, Kind: fact.Backup, Subject: p.File}
	s, err := read(p.File)
	if err != nil { //check:backup-unreadable
		f.Summary = fmt.Sprintf("the status of the backup cannot be read: %v", err)
		return []fact.Fact{f}
	}
	f.Evidence = map[string]string{
		"server_uuid": s.ServerUUID, "repository": s.Repository, "last_full": s.LastFull.Format(time.RFC3339),
		"last_verified": s.LastVerified.Format(time.RFC3339), "archived_until": s.ArchivedUntil.Format(time.RFC3339),
	}
	now := time.Now
	if p.Now != nil {
		now = p.Now
	}
	f.Verdict, f.Summary = p.judge(s, now())
	return []fact.Fact{f}
}

// skew is how far ahead the writer's clock may be.
const skew = time.Minute

func (p Probe) judge(s Status, now time.Time) (fact.Verdict, string) {
	if p.ServerUUID == "" { //check:backup-no-server
		return fact.Unknown, "the configuration does not say whose backup it must be"
	}
	if s.ServerUUID != p.ServerUUID { //check:backup-another-server
		return fact.Active, fmt.Sprintf("the backup is of server %s, not of %s", s.ServerUUID, p.ServerUUID)
	}
	for _, at := range []struct {
		what string
		time time.Time
	}{{"last full backup", s.LastFull}, {"last verification", s.LastVerified}, {"end of the archive", s.ArchivedUntil}} {
		if at.time.After(now.Add(skew)) { //check:backup-future
			return fact.Unknown, fmt.Sprintf("%s: %s is in the future: a clock is wrong", at.what, at.time.Format(time.RFC3339))
		}
		if p.MaxAge > 0 && now.Sub(at.time) > p.MaxAge { //check:backup-old
			return fact.Active, fmt.Sprintf("%s: %s is older than %v", at.what, at.time.Format(time.RFC3339), p.MaxAge)
		}
	}
	return fact.Clear, fmt.Sprintf("full backup of %s, verified %s, archived until %s", s.LastFull.Format(time.RFC3339),
		s.LastVerified.Format(time.RFC3339), s.ArchivedUntil.Format(time.RFC3339))
}

// maxFile bounds the status file.
const maxFile = 64 << 10

func read(path string) (Status, error) {
	f, err := os.Open(path)
	if err != nil {
		return Status{}, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return Status{}, err
	}
	return Parse(data)
}

// Parse reads a status file and refuses one that lacks anything.
func Parse(data []byte) (s Status, err error) {
	if len(data) > maxFile { //check:backup-too-large
		return Status{}, fmt.Errorf("larger than %d bytes", maxFile)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil {
		return Status{}, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) { //check:backup-trailing
		return Status{}, errors.New("something follows the status")
	}
	if s.SchemaVersion != SchemaVersion { //check:backup-schema
		return Status{}, fmt.Errorf("schema_version %d is not %d", s.SchemaVersion, SchemaVersion)
	}
	if s.ServerUUID == "" || s.Repository == "" || s.LastFull.IsZero() || s.LastVerified.IsZero() || s.ArchivedUntil.IsZero() { //check:backup-fields
		return Status{}, errors.New("a field is missing")
	}
	return s, nil
}
