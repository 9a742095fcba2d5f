package backup

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"
	"time"
)

// SchemaVersion is that of the manifest: the latest one that is known. Written is
// the lowest that has all that a manifest says, so that older programs read what
// they understand.
const (
	SchemaVersion = 2
	firstVersion  = 1 // without Until
)

// Kinds of backups.
const (
	Full        = "full"
	Incremental = "incremental"
)

// Kinds of objects in the repository.
const (
	kindPart     = "backup-part"
	kindParts    = "backup-part-list"
	kindManifest = "backup-manifest"
)

// Manifest says what a backup is. docs/format/backup.md describes its JSON.
type Manifest struct {
	SchemaVersion int `json:"schema_version"`

	ID     string `json:"id"`               // see newID
	Set    string `json:"set"`              // of the servers that replicate from each other
	Kind   string `json:"kind"`             // full or incremental
	Parent string `json:"parent,omitempty"` // of an increment: the backup that it goes on from
	Driver string `json:"driver"`           // mariadb-backup, dump or clone

	Flavor        string `json:"flavor"`         // mysql or mariadb
	ServerVersion string `json:"server_version"` // as @@version says it
	Server        string `json:"server"`         // server_uuid; of MariaDB: mariadb-SERVER_ID

	Started  time.Time `json:"started"` // UTC, by the clock of the host that has taken it
	Finished time.Time `json:"finished"`

	// The state that it holds: every transaction before File:Offset, and none
	// after it, which are those of GTIDs. File is empty if the server has no
	// binary log.
	File   string `json:"file,omitempty"`
	Offset int64  `json:"offset,omitempty"`
	GTIDs  string `json:"gtids,omitempty"` // the executed set; of MariaDB a position

	// Inexact: the state is a later one than File:Offset and GTIDs, of before
	// Finished. A server finds out which when it is first started on the unpacked
	// backup.
	Inexact bool `json:"inexact,omitempty"`

	// Until is what the state is not later than. Of clones; nil: of version 1,
	// and of all others.
	Until *Until `json:"until,omitempty"`

	// Settings are variables of the server that a server started on the unpacked
	// backup must agree with: to start at all, or to do what the log says as the source
	// has done it. Of clones; of all drivers since 2026-11-26.
	Settings map[string]string `json:"settings,omitempty"`

	// Zone is that of the server's system; nil: not known (before 2026-11-26).
	Zone *Zone `json:"zone,omitempty"`

	// Of physical drivers, in bytes of redo log: it holds all pages that have
	// changed after FromLSN (0: all), as of ToLSN or later.
	FromLSN uint64 `json:"from_lsn,omitempty"`
	ToLSN   uint64 `json:"to_lsn,omitempty"`

	PlainBytes  int64 `json:"plain_bytes"`          // of the stream
	StoredBytes int64 `json:"stored_bytes"`         // of the parts, in this repository
	DataBytes   int64 `json:"data_bytes,omitempty"` // an estimate of the data directory's size when unpacked; 0: unknown

	Tool     string   `json:"tool"` // as it calls itself
	Warnings []string `json:"warnings,omitempty"`

	// Parts are in the order of the stream, numbered from 1. In the object the
	// first inlineParts of them are here, the rest in objects of their own.
	Parts     []Part   `json:"parts"`
	PartLists []string `json:"part_lists,omitempty"` // names of these, in order

	Object string `json:"-"` // the manifest's own name in the repository
}

// Until is the other end of a state that is not known exactly.
type Until struct {
	File   string `json:"file,omitempty"` // see Manifest
	Offset int64  `json:"offset,omitempty"`
	GTIDs  string `json:"gtids,omitempty"` // executed, or about to be

	// ByPosition: GTIDs say nothing, since not all transactions have one. Commits
	// waited, so that the state is known. (If it is Inexact all the same, an earlier
	// version took the backup, and nobody knows it.) Else only GTIDs count.
	ByPosition bool `json:"by_position"`
}

// Part is a piece of the stream.
type Part struct {
	Name   string `json:"name"`   // below the backup's folder: %06d-HASH
	Plain  int64  `json:"plain"`  // bytes of the stream
	Stored int64  `json:"stored"` // bytes in the repository
}

// inlineParts bounds the parts in a manifest, and in each list of parts: their
// JSON has 85 bytes or so each, and the header of an object at most a MiB.
const inlineParts = 4096

// partMeta is the header's meta of a part: it belongs to one place in one
// backup.
type partMeta struct {
	Backup string `json:"backup"`
	Part   int    `json:"part"`
}

// listMeta is the header's meta of a list of parts.
type listMeta struct {
	Backup string `json:"backup"`
	Parts  []Part `json:"parts"`
}

// folder is where the objects of a backup are, with a slash at its end.
func folder(set, id string) string { return backups(set) + id + "/" }

// backups is where the backups of a set are.
func backups(set string) string { return set + "/backups/" }

// PartObject is the full name of part n, which counts from 1.
func (m *Manifest) PartObject(n int) string { return folder(m.Set, m.ID) + m.Parts[n-1].Name }

// Position is where the binary log goes on; empty if there is none.
func (m *Manifest) Position() string {
	if m.File == "" {
		return ""
	}
	return fmt.Sprintf("%s:%d", m.File, m.Offset)
}

// newID makes the name of a backup: 20261125T221500Z-0a1b2c, the time (UTC) and
// six random hexadecimal digits. Later ones sort behind earlier ones, but those
// of one second.
func newID(now time.Time) string {
	random := make([]byte, 3)
	_, _ = rand.Read(random) // never fails (Go 1.24)
	return now.UTC().Format(idTime) + "-" + hex.EncodeToString(random)
}

const idTime = "20060102T150405Z"

var (
	idPattern   = regexp.MustCompile(`^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}$`)
	partPattern = regexp.MustCompile(`^[0-9]{6,}-[0-9a-f]{32}$`)
	listPattern = regexp.MustCompile(`^parts-[0-9]{6,}-[0-9a-f]{32}$`)
)

// parseManifest reads the JSON of a manifest that is found as object.
func parseManifest(object string, text []byte) (Manifest, error) {
	var version struct {
		SchemaVersion int `json:"schema_version"`
	}
	if err := json.Unmarshal(text, &version); err != nil {
		return Manifest{}, err
	}
	if version.SchemaVersion > SchemaVersion {
		return Manifest{}, fmt.Errorf("schema version %d, known is %d: %w", version.SchemaVersion, SchemaVersion, errNewer)
	}
	m := Manifest{Object: object}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&m); err != nil {
		return Manifest{}, err
	}
	if m.SchemaVersion != m.version() {
		return Manifest{}, fmt.Errorf("schema version %d, with what version %d has", m.SchemaVersion, m.version())
	}
	if path.Dir(object)+"/" != folder(m.Set, m.ID) {
		return Manifest{}, fmt.Errorf("it is that of backup %.100q of %.100q", m.ID, m.Set)
	}
	return m, m.checkForm()
}

// version is the lowest schema version that has what the manifest says.
func (m *Manifest) version() int {
	if m.Until != nil {
		return SchemaVersion
	}
	return firstVersion
}

var errNewer = errors.New("written by a newer version of lifeboat")

// checkForm checks what every manifest has, with or without its lists of parts.
func (m *Manifest) checkForm() error {
	incremental := m.Kind == Incremental
	switch {
	case !idPattern.MatchString(m.ID):
		return fmt.Errorf("id %.100q", m.ID)
	case m.Kind != Full && !incremental:
		return fmt.Errorf("kind %.100q", m.Kind)
	case incremental != idPattern.MatchString(m.Parent):
		return fmt.Errorf("%s, parent %.100q", m.Kind, m.Parent)
	case m.Driver == "" || m.Server == "" || m.Flavor == "":
		return errors.New("driver, server or flavor missing")
	case incremental && m.FromLSN == 0 || m.FromLSN > m.ToLSN:
		return fmt.Errorf("%s, LSN %d to %d", m.Kind, m.FromLSN, m.ToLSN)
	case m.Offset < 0 || (m.File == "") != (m.Offset == 0):
		return fmt.Errorf("binary log %.100q, offset %d", m.File, m.Offset)
	}
	if u := m.Until; u != nil && (u.Offset < 0 || (u.File == "") != (u.Offset == 0)) {
		return fmt.Errorf("until binary log %.100q, offset %d", u.File, u.Offset)
	}
	for _, l := range m.PartLists {
		if !listPattern.MatchString(l) {
			return fmt.Errorf("list of parts %.100q", l)
		}
	}
	return nil
}

// checkParts checks the parts once they are all there.
func (m *Manifest) checkParts() error {
	var plain, stored int64
	for n, p := range m.Parts {
		prefix := fmt.Sprintf("%06d-", n+1)
		if !partPattern.MatchString(p.Name) || !strings.HasPrefix(p.Name, prefix) || p.Plain <= 0 || p.Stored <= 0 {
			return fmt.Errorf("part %d: %.100q, %d bytes, stored %d", n+1, p.Name, p.Plain, p.Stored)
		}
		plain += p.Plain
		stored += p.Stored
	}
	if plain != m.PlainBytes || stored != m.StoredBytes {
		return fmt.Errorf("its parts have %d bytes, stored %d; it says %d and %d", plain, stored, m.PlainBytes, m.StoredBytes)
	}
	return nil
}
