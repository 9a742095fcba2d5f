package replay

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/checkpoint"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/schema"
)

// conflict is why a transaction cannot be applied without one that was left out.
type conflict struct {
	table string
	by    binlog.Position // begin of the one that was left out
	why   string
}

func (c *conflict) Error() string { return fmt.Sprintf("table %s: %s", c.table, c.why) }

// refuse makes a conflict of the transaction at a position an error.
func (c *conflict) refuse(at binlog.Position, id string) error {
	name := cmp.Or(id, at.String())
	if id != "" {
		id = " (" + id + ")"
	}
	return fault.New(fault.Refused, fmt.Errorf("conflict: the transaction at %s%s depends on the one that was skipped at %s: %w", at, id, c.by, c),
		fmt.Sprintf("skip it too, by --skip with %s added, or stop in front of it, by --until %s", name, at))
}

// suspects are the tables that may not be what they are on the source.
type suspects struct {
	every *checkpoint.Suspect
	named map[schema.Name]*checkpoint.Suspect // names in lower case
}

func folded(database, name string) schema.Name {
	return schema.Name{Database: strings.ToLower(database), Table: strings.ToLower(name)}
}

func newSuspects(list []checkpoint.Suspect) *suspects {
	s := &suspects{named: map[schema.Name]*checkpoint.Suspect{}}
	for i := range list {
		s.add(&list[i])
	}
	return s
}

// add reports whether the suspect tells something new.
func (s *suspects) add(x *checkpoint.Suspect) bool {
	if x.Database == "" {
		known := s.every != nil
		s.every = x
		return !known
	}
	n := folded(x.Database, x.Name)
	old := s.named[n]
	if old != nil && (old.How != checkpoint.Filled || x.How == checkpoint.Filled) {
		return false
	}
	s.named[n] = x
	return true
}

func (s *suspects) none() bool { return s.every == nil && len(s.named) == 0 }

// of is the suspicion against a table or other object, nil if there is none.
func (s *suspects) of(database, name string) *checkpoint.Suspect {
	if x := s.named[folded(database, name)]; x != nil {
		return x
	}
	return s.every
}
