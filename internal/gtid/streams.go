package gtid

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// Stream is what one server of MariaDB has written into one domain.
type Stream struct{ Domain, Server uint32 }

// Streams is MariaDB's gtid_binlog_state: the last number of each stream, which a
// binary log's GTID_LIST also has. A position (Set) has but the last transaction
// of each domain, whoever wrote it: of two servers that went on by themselves
// from one point it cannot say that neither has what the other has. Nil: not
// known.
type Streams map[Stream]uint64

// StreamsOf are those of a list of transactions.
func StreamsOf(ids []ID) Streams {
	s := Streams{}
	for _, id := range ids {
		s.Add(id)
	}
	return s
}

// ParseStreams reads what String writes, and gtid_binlog_state.
func ParseStreams(text string) (Streams, error) {
	ids, err := ParseList(text)
	return StreamsOf(ids), err
}

// Add adds a transaction, and all of its stream before it.
func (s Streams) Add(id ID) {
	k := Stream{id.Domain, id.Server}
	s[k] = max(s[k], id.Seq)
}

// String is a list of GTIDs, by domain and server.
func (s Streams) String() string {
	var list []string
	for _, k := range slices.SortedFunc(maps.Keys(s), func(a, b Stream) int {
		return cmp.Or(cmp.Compare(a.Domain, b.Domain), cmp.Compare(a.Server, b.Server))
	}) {
		list = append(list, ID{Flavor: MariaDB, Domain: k.Domain, Server: k.Server, Seq: s[k]}.String())
	}
	return strings.Join(list, ",")
}
