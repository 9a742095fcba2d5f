package verify

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/repository/store"
)

// role is what an object is, by its name.
type role int

const (
	roleForeign role = iota
	rolePart
	rolePartList
	roleManifest
	roleLog
	roleLease
	roleMember
)

// status is what is known of an object.
type status int

const (
	unchecked status = iota
	skipped          // was checked before
	whole
	damaged
	unreadable
	vanished // since it was listed
)

// object is one of the repository.
type object struct {
	store.Entry
	set    string // the first element of its name; empty: it has no other
	role   role
	backup string         // id, of what belongs to one
	part   int            // of a part, counted from 1
	log    archive.Object // of logs

	status status
	err    error
	former record // what the state knew of an object that is not whole
}

var (
	idPattern   = regexp.MustCompile(`^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}$`)
	partPattern = regexp.MustCompile(`^([0-9]{6,})-[0-9a-f]{32}$`)
	listPattern = regexp.MustCompile(`^parts-[0-9]{6,}-[0-9a-f]{32}$`)
)

// classify finds out what an object is.
func classify(e store.Entry) *object {
	o := &object{Entry: e}
	set, rest, ok := strings.Cut(e.Name, "/")
	if !ok {
		return o
	}
	o.set = set
	if o.log, ok = archive.ParseObject(set, e); ok {
		o.role = roleLog
		return o
	}
	parts := strings.Split(rest, "/")
	switch {
	case parts[0] == "leases" && len(parts) == 2:
		o.role = roleLease
	case parts[0] == "members" && len(parts) == 2:
		o.role = roleMember
	case parts[0] == "backups" && len(parts) == 3 && idPattern.MatchString(parts[1]):
		o.backup = parts[1]
		o.classifyFile(parts[2])
	}
	return o
}

// classifyFile finds out what an object in the folder of a backup is.
func (o *object) classifyFile(file string) {
	switch m := partPattern.FindStringSubmatch(file); {
	case m != nil:
		o.role = rolePart
		o.part, _ = strconv.Atoi(m[1]) // digits
	case listPattern.MatchString(file):
		o.role = rolePartList
	case strings.HasPrefix(file, "manifest-"):
		o.role = roleManifest
	}
}

// folder is where the objects of a backup are, with a slash at its end.
func folder(set, id string) string { return set + "/backups/" + id + "/" }

// belongs checks that a header is that of an object of this name. A manifest is
// looked into by package backup.
func (o *object) belongs(h repository.Header) error {
	switch o.role {
	case rolePart, rolePartList:
		return o.belongsToBackup(h)
	case roleManifest:
		return o.kind(h, "backup-manifest")
	case roleLease:
		return o.kind(h, "lease")
	case roleMember:
		return o.kind(h, "set-member")
	case roleLog:
		return o.log.Describe(h)
	default:
		return nil
	}
}

func (o *object) kind(h repository.Header, want string) error {
	if h.Kind == want {
		return nil
	}
	return fmt.Errorf("it is of kind %q, not %q: %w", h.Kind, want, repository.ErrDamaged)
}

func (o *object) belongsToBackup(h repository.Header) error {
	kind := "backup-part"
	if o.role == rolePartList {
		kind = "backup-part-list"
	}
	if err := o.kind(h, kind); err != nil {
		return err
	}
	var meta struct {
		Backup string `json:"backup"`
		Part   int    `json:"part"`
	}
	err := json.Unmarshal(h.Meta, &meta)
	if err != nil || meta.Backup != o.backup || meta.Part != o.part {
		return fmt.Errorf("it says that it is part %d of backup %.100q: %w", meta.Part, meta.Backup, repository.ErrDamaged)
	}
	return nil
}

// conclude takes what came of the check.
func (o *object) conclude(err error) {
	o.err = err
	switch {
	case err == nil:
		o.status = whole
	case errors.Is(err, fs.ErrNotExist):
		o.status = vanished
	case errors.Is(err, repository.ErrDamaged):
		o.status = damaged
	case o.role == roleForeign: // without a hash in its name nothing can be checked
		o.status = whole
	default:
		o.status = unreadable
	}
}

// there reports whether the object was there when it was looked at.
func (o *object) there() bool { return o != nil && o.status != vanished }

// record is what the state keeps of an object that is whole.
func (o *object) record(content bool) record {
	return record{Object: o.Name, Checked: time.Now().UTC(), Content: content, Size: o.Size, Modified: o.Modified,
		Flavor: o.log.Summary.Flavor, GTIDs: o.log.Summary.GTIDs}
}
