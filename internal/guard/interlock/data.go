// Package interlock holds the rules by which a set of three lets one go (Decide,
// which is pure), and keeps them by transactions in etcd (Client).
package interlock

import (
	"errors"
	"fmt"

	"github.com/lifeboat-db/lifeboat/internal/gtid"
)

// Errors of Covers. Both deny.
var (
	ErrUnique  = errors.New("the target has transactions that the survivor lacks")
	ErrUnknown = errors.New("what target and survivor have cannot be compared")
)

// CoversState is Covers with what MariaDB's positions leave out: of two servers
// that have written into one domain, a position has only the last number. A
// target's own transaction with a lower number than the survivor's last one is
// told by gtid_binlog_state, which has a number for each server. A survivor whose
// log was begun anew may lack an old server's: that is not known, and refuses.
func CoversState(survivor, target State) error {
	if err := Covers(survivor.GTIDs, target.GTIDs); err != nil { //check:interlock-positions
		return err
	}
	if target.GTIDs.Flavor() != gtid.MariaDB {
		return nil
	}
	has, err := streams(survivor.BinlogState)
	if err != nil {
		return err
	}
	wants, err := streams(target.BinlogState)
	if err != nil {
		return err
	}
	if len(wants) == 0 { //check:interlock-no-streams
		return fmt.Errorf("%w: nobody has read which server has written what of %s", ErrUnknown, target.GTIDs)
	}
	for k, seq := range wants {
		if has[k] < seq { //check:interlock-unique-stream
			return fmt.Errorf("%w: %d-%d-%d, of which the survivor has seen %d", ErrUnique, k.Domain, k.Server, seq, has[k])
		}
	}
	return nil
}

// streams reads a gtid_binlog_state: the last number of each (domain, server).
func streams(text string) (gtid.Streams, error) {
	found, err := gtid.ParseStreams(text)
	if err != nil { //check:interlock-streams-unread
		return nil, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return found, nil
}

// BinlogState writes what streams reads.
func BinlogState(ids []gtid.ID) string { return gtid.StreamsOf(ids).String() }

// Covers returns nil only if everything in target is proven to be in survivor.
// A machine known to hold no data is not asked about here: a set without flavor
// is one that nobody has read. MariaDB's positions do not say who wrote what
// (package gtid), so the survivor's head must be past the target's, or the same.
func Covers(survivor, target gtid.Set) error {
	f := target.Flavor()
	if f == 0 || survivor.Flavor() != f { //check:interlock-flavor
		return fmt.Errorf("%w: flavors %v and %v", ErrUnknown, f, survivor.Flavor())
	}
	if f == gtid.MariaDB {
		return coversPosition(survivor, target)
	}
	rest := target.Clone()
	if err := rest.Subtract(survivor); err != nil {
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	if !rest.IsEmpty() { //check:interlock-unique-mysql
		return fmt.Errorf("%w: %s", ErrUnique, rest)
	}
	return nil
}

func coversPosition(survivor, target gtid.Set) error {
	heads := map[uint32]gtid.ID{}
	for _, id := range survivor.Heads() {
		heads[id.Domain] = id
	}
	for _, id := range target.Heads() {
		head := heads[id.Domain]
		if head.Seq < id.Seq { //check:interlock-unique-mariadb
			return fmt.Errorf("%w: domain %d up to %s", ErrUnique, id.Domain, id)
		}
		if head.Seq == id.Seq && head.Server != id.Server { //check:interlock-same-number
			return fmt.Errorf("%w: %s and %s have the same number", ErrUnknown, id, head)
		}
	}
	return nil
}
