package replay

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/txn"
)

// Names are transactions that are named one by one: by GTID, or by the position
// where they begin. The zero Names is none.
//
// A MariaDB GTID here means that transaction alone, and not, as in a
// gtid.Set, all before it.
type Names struct {
	mysql     gtid.Set
	mariadb   []gtid.ID         // sorted, each once
	positions []binlog.Position // likewise
}

// ParseNames reads a list with commas: MySQL GTID sets, MariaDB GTIDs and
// FILE:POSITION, in any mixture.
func ParseNames(s string) (Names, error) {
	var n Names
	for item := range strings.SplitSeq(s, ",") {
		item = strings.TrimSpace(item)
		if item == "" {
			continue
		}
		if err := n.parse(item); err != nil {
			return Names{}, fault.Usagef("--skip %s: %v; it takes GTIDs and FILE:POSITION, with commas", item, err)
		}
	}
	n.normalize()
	return n, nil
}

func (n *Names) parse(item string) error {
	if set, err := gtid.ParseSet(gtid.MySQL, item); err == nil && !set.IsEmpty() {
		return n.mysql.Union(set)
	}
	if id, err := gtid.ParseID(gtid.MariaDB, item); err == nil {
		n.mariadb = append(n.mariadb, id)
		return nil
	}
	pos, err := parsePosition(item)
	n.positions = append(n.positions, pos)
	return err
}

func (n *Names) normalize() {
	slices.SortFunc(n.mariadb, func(a, b gtid.ID) int {
		return cmp.Or(cmp.Compare(a.Domain, b.Domain), cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.Server, b.Server))
	})
	n.mariadb = slices.Compact(n.mariadb)
	slices.SortFunc(n.positions, func(a, b binlog.Position) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Offset, b.Offset))
	})
	n.positions = slices.Compact(n.positions)
}

// String is the list in its normal form: equal Names have equal strings.
func (n Names) String() string {
	var list []string
	if !n.mysql.IsEmpty() {
		list = append(list, strings.ReplaceAll(n.mysql.String(), "\n", ""))
	}
	for _, id := range n.mariadb {
		list = append(list, id.String())
	}
	for _, p := range n.positions {
		list = append(list, p.String())
	}
	return strings.Join(list, ",")
}

// IsEmpty reports whether nothing is named.
func (n Names) IsEmpty() bool {
	return n.mysql.IsEmpty() && len(n.mariadb) == 0 && len(n.positions) == 0
}

// Has reports whether a transaction is named.
func (n *Names) Has(t *txn.Transaction) bool {
	if len(n.positions) > 0 && slices.Contains(n.positions, t.Position()) {
		return true
	}
	return t.HasID && n.hasID(t.ID)
}

func (n *Names) hasID(id gtid.ID) bool {
	if id.Flavor == gtid.MariaDB {
		return slices.Contains(n.mariadb, id)
	}
	return n.mysql.Contains(id)
}

// HasPositions reports whether transactions are named by where they begin.
func (n Names) HasPositions() bool { return len(n.positions) > 0 }

// Minus are the names that are not in o.
func (n Names) Minus(o Names) Names {
	out := Names{mysql: n.mysql.Clone()}
	if !o.mysql.IsEmpty() {
		_ = out.mysql.Subtract(o.mysql) // both are MySQL's
	}
	for _, id := range n.mariadb {
		if !slices.Contains(o.mariadb, id) {
			out.mariadb = append(out.mariadb, id)
		}
	}
	for _, p := range n.positions {
		if !slices.Contains(o.positions, p) {
			out.positions = append(out.positions, p)
		}
	}
	return out
}

// without takes away what names a transaction.
func (n *Names) without(t *Skipped) error {
	one := Names{positions: []binlog.Position{t.Position}}
	if t.id != (gtid.ID{}) && t.id.Flavor == gtid.MariaDB {
		one.mariadb = []gtid.ID{t.id}
	} else if t.id != (gtid.ID{}) {
		if err := one.mysql.Add(t.id); err != nil {
			return fmt.Errorf("skip %s: %w", t.GTID, err)
		}
	}
	*n = n.Minus(one)
	return nil
}

// names reports whether a transaction is named.
func (n *Names) names(s *Skipped) bool {
	return slices.Contains(n.positions, s.Position) || s.id != (gtid.ID{}) && n.hasID(s.id)
}

// add adds the names of o.
func (n *Names) add(o Names) {
	_ = n.mysql.Union(o.mysql) // both are MySQL's
	n.mariadb = append(n.mariadb, o.mariadb...)
	n.positions = append(n.positions, o.positions...)
	n.normalize()
}

// Outside are the GTIDs of n that cannot be those of a log which leads from what
// base contains to what reach contains.
func (n Names) Outside(base, reach gtid.Set) Names {
	out := Names{mysql: n.mysql.Clone()}
	if reach.Flavor() == gtid.MySQL && !n.mysql.IsEmpty() {
		fresh := reach.Clone()
		_ = fresh.Subtract(base) // all are MySQL's
		_ = out.mysql.Subtract(fresh)
	}
	for _, id := range n.mariadb {
		if reach.Flavor() != gtid.MariaDB || base.Contains(id) || !reach.Contains(id) {
			out.mariadb = append(out.mariadb, id)
		}
	}
	return out
}
