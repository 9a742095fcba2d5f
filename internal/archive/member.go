package archive

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/repository"
)

// kindMember is that of the objects by which a set knows its servers.
const kindMember = "set-member"

// How a server has come into a set.
const (
	howFirst       = "first"       // it was the first one
	howBefore      = "before"      // it has logs or backups there from before members were written down
	howReplication = "replication" // it replicates from a member, or a member from it
	howHistory     = "history"     // it has transactions of the set
	howLog         = "log"         // its log is the archived one
	howAsked       = "asked"       // somebody has said so
	howDamaged     = "damaged"     // it has a record that cannot be read; is in none
)

// record is an object SET/members/SERVER-HASH, or SET/members/before-HASH. In
// the object it is the header's meta, as JSON. Several may tell of one server.
type record struct {
	Servers []string  `json:"servers"` // names as of dbconn.ServerName
	How     string    `json:"how"`
	Since   time.Time `json:"since"` // by the archiving host's clock

	// Place is where a server of MariaDB runs, whose name is only a number.
	Place string `json:"place,omitempty"`
	// Of MySQL, what it said then: servers that it replicated from, and all
	// whose transactions it had executed.
	Sources  []string `json:"sources,omitempty"`
	Executed []string `json:"executed,omitempty"`
}

func membersDir(set string) string { return set + "/members/" }

// Members are the servers of a set, as far as they are written down.
type Members struct {
	records []record
	unsure  bool // a record that may tell of anybody cannot be read
}

// Known reports whether members are written down at all. Where they are not, the
// set is empty, or older than that.
func (m Members) Known() bool { return len(m.records) > 0 }

// Has reports whether what is there of a server belongs to the set. Of a set
// whose members are not written down, or cannot all be read, everything does.
func (m Members) Has(server string) bool { return !m.Known() || m.unsure || len(m.of(server)) > 0 }

// of are the records of a server.
func (m Members) of(server string) (list []record) {
	for _, r := range m.records {
		if slices.Contains(r.Servers, server) {
			list = append(list, r)
		}
	}
	return list
}

// related reports whether the transactions of a server are the set's: those of
// its members, and of servers that they replicated from. That a member has some
// of a third server does not count: it may be the one whose data directory was
// the template of many.
func (m Members) related(server string) bool {
	return slices.ContainsFunc(m.records, func(r record) bool {
		return slices.Contains(r.Servers, server) || slices.Contains(r.Sources, server)
	})
}

// executed reports whether a member had transactions of a server.
func (m Members) executed(server string) bool {
	return slices.ContainsFunc(m.records, func(r record) bool { return slices.Contains(r.Executed, server) })
}

// count leaves out claims that came too late: of several servers that each
// found the set empty, the one with the earliest record is the first, and the
// others have to show that they belong to it. It is pure.
func count(records []record) Members {
	var first *record
	for i := range records {
		r := &records[i]
		if r.How == howFirst && (first == nil || cmp.Or(r.Since.Compare(first.Since), strings.Compare(r.Servers[0], first.Servers[0])) < 0) {
			first = r
		}
	}
	return Members{records: slices.DeleteFunc(slices.Clone(records), func(r record) bool {
		return r.How == howFirst && r.Servers[0] != first.Servers[0]
	})}
}

// LoadMembers reads who belongs to a set. A record that is damaged still tells
// by its name of whom it is: archiving and restoring go on.
func LoadMembers(ctx context.Context, r *repository.Repository, set string) (m Members, err error) {
	var records []record
	unsure := false
	for e, err := range r.List(ctx, membersDir(set)) {
		if err != nil {
			return m, fmt.Errorf("archive: %w", err)
		}
		one, err := readRecord(ctx, r, e.Name)
		if errors.Is(err, repository.ErrDamaged) {
			name := strings.TrimPrefix(e.Name, membersDir(set))
			one, err = record{Servers: []string{name[:strings.LastIndexByte(name, '-')]}, How: howDamaged}, nil
			unsure = unsure || one.Servers[0] == howBefore
		}
		if err != nil {
			return m, err
		}
		records = append(records, one)
	}
	m = count(records)
	m.unsure = unsure
	return m, nil
}

func readRecord(ctx context.Context, r *repository.Repository, name string) (one record, err error) {
	h, err := r.Check(ctx, name)
	if err != nil {
		return one, fmt.Errorf("archive: %w", err)
	}
	if err := json.Unmarshal(h.Meta, &one); err != nil || h.Kind != kindMember || len(one.Servers) == 0 {
		return one, fmt.Errorf("archive: %s: it does not say who is a member: %w", name, repository.ErrDamaged)
	}
	return one, nil
}

// identity is what a server says of itself.
type identity struct {
	Name    string // as of dbconn.ServerName
	Flavor  gtid.Flavor
	Place   string   // of MariaDB
	Reached gtid.Set // of MariaDB: the last transactions in its log

	// Of MySQL: servers that it replicates from, replicas that are connected to
	// it, and all whose transactions it has executed.
	Sources, Replicas, Executed []string
}

// judge says how a server belongs to a set whose members are written down: why
// it does, by howBefore if it is known already; empty if that cannot be told by
// what it says of itself. It is pure.
func (m Members) judge(id identity) (how string) {
	known := m.of(id.Name)
	if id.Flavor == gtid.MariaDB {
		// A number is no name: 1 is that of many servers.
		if slices.ContainsFunc(known, func(r record) bool { return r.Place == id.Place }) {
			return howBefore
		}
		return ""
	}
	if len(known) > 0 {
		return howBefore
	}
	switch {
	case slices.ContainsFunc(id.Sources, m.related), slices.ContainsFunc(id.Replicas, m.related), m.related(id.Name):
		return howReplication
	case slices.ContainsFunc(id.Executed, m.related), m.executed(id.Name):
		return howHistory
	}
	return ""
}

// record makes the record of a server.
func (id identity) record(how string) record {
	return record{Servers: []string{id.Name}, How: how, Since: time.Now().UTC(), Place: id.Place, Sources: id.Sources, Executed: id.Executed}
}

func (r record) put(ctx context.Context, repo *repository.Repository, set string) error {
	name := r.Servers[0]
	if r.How == howBefore {
		name = howBefore
	}
	if _, _, err := repo.Put(ctx, membersDir(set)+name, kindMember, r, nil); err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	return nil
}

// serversBefore finds the servers of which a set has something that is older
// than the records of members.
func serversBefore(ctx context.Context, r *repository.Repository, set string) ([]string, error) {
	found := map[string]bool{}
	for e, err := range r.List(ctx, logsDir(set)+"/") {
		if err != nil {
			return nil, fmt.Errorf("archive: %w", err)
		}
		if p, ok := parseName(set, e.Name); ok {
			found[p.server] = true
		}
	}
	for e, err := range r.List(ctx, set+"/backups/") {
		if err != nil {
			return nil, fmt.Errorf("archive: %w", err)
		}
		if !strings.Contains(e.Name, "/manifest-") {
			continue
		}
		h, err := r.Check(ctx, e.Name)
		if err != nil {
			return nil, fmt.Errorf("archive: %w", err)
		}
		var m struct {
			Server string `json:"server"`
		}
		if err := json.Unmarshal(h.Meta, &m); err != nil || m.Server == "" {
			return nil, fmt.Errorf("archive: %s: it does not say of which server it is: %w", e.Name, repository.ErrDamaged)
		}
		found[m.Server] = true
	}
	return slices.Sorted(maps.Keys(found)), nil
}
