package gtid

import (
	"fmt"
	"strconv"
	"strings"
)

// String is the server's own text, on one line: sorted, lower case, one item per
// uuid or domain.
func (s Set) String() string {
	var b []byte
	for i, h := range s.heads {
		if i > 0 {
			b = append(b, ',')
		}
		b = h.append(b)
	}
	for i, src := range s.sources {
		if i == 0 || s.sources[i-1].uuid != src.uuid {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendUUID(b, src.uuid)
		}
		b = src.append(b)
	}
	return string(b)
}

func (src *source) append(b []byte) []byte {
	if src.tag != "" {
		b = append(append(b, ':'), src.tag...)
	}
	for _, iv := range src.ivs {
		b = strconv.AppendUint(append(b, ':'), iv.start, 10)
		if iv.end > iv.start+1 {
			b = strconv.AppendUint(append(b, '-'), iv.end-1, 10)
		}
	}
	return b
}

// MarshalText is String.
func (s Set) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is Parse.
func (s *Set) UnmarshalText(text []byte) (err error) {
	*s, err = Parse(string(text))
	return err
}

// Parse reads a set whose flavor the text tells: MySQL's items begin with a
// UUID. The text of an empty set tells nothing, and the result has no flavor.
func Parse(s string) (Set, error) {
	for _, item := range strings.Split(s, ",") {
		item = strings.TrimSpace(item)
		if item == "" {
			continue
		}
		uuid, _, _ := strings.Cut(item, ":")
		if _, err := ParseUUID(strings.TrimSpace(uuid)); err == nil || strings.Contains(item, ":") {
			return ParseSet(MySQL, s)
		}
		return ParseSet(MariaDB, s)
	}
	return Set{}, nil
}

// ParseNamed is ParseSet for the flavor of a name, see FlavorNamed.
func ParseNamed(flavor, s string) (Set, error) { return ParseSet(FlavorNamed(flavor), s) }

// ParseSet reads a server's text: @@gtid_executed and its like for MySQL,
// @@gtid_slave_pos for MariaDB. White space and line ends are let pass, "" is the
// empty set. A domain named twice is refused, as the server refuses it in
// gtid_slave_pos (ER_DUPLICATE_GTID_DOMAIN); for gtid_binlog_state, where it is
// normal, use ParseList and ListToSet.
func ParseSet(f Flavor, s string) (Set, error) {
	switch f {
	case MySQL:
		return parseMySQL(s)
	case MariaDB:
		return parsePosition(s)
	}
	return Set{}, fmt.Errorf("parse GTID set %.60q: unknown flavor", s)
}

func parseMySQL(s string) (Set, error) {
	set := Set{flavor: MySQL}
	for _, item := range strings.Split(s, ",") {
		if strings.TrimSpace(item) == "" {
			continue
		}
		if err := set.parseItem(item); err != nil {
			return Set{}, fmt.Errorf("parse GTID set: %w", err)
		}
	}
	return set, nil
}

// parseItem reads uuid:1-5:7:tag:1.
func (s *Set) parseItem(item string) error {
	parts := strings.Split(item, ":")
	uuid, err := ParseUUID(strings.TrimSpace(parts[0]))
	if err != nil {
		return err
	}
	tag := ""
	for _, part := range parts[1:] {
		part = strings.TrimSpace(part)
		if part == "" || !isDigit(part[0]) {
			if tag, err = parseTag(part); err != nil {
				return err
			}
			continue
		}
		iv, err := parseInterval(part)
		if err != nil {
			return err
		}
		if iv.start < iv.end {
			src := s.source(uuid, tag)
			src.ivs = src.ivs.add(iv)
		}
	}
	return nil
}

// parseInterval reads n or n-m; m below n is an empty interval.
func parseInterval(s string) (interval, error) {
	from, to, ranged := strings.Cut(s, "-")
	start, err := parseSeq(from)
	if err != nil {
		return interval{}, err
	}
	end := start
	if ranged {
		if end, err = parseSeq(to); err != nil {
			return interval{}, err
		}
	}
	if start == 0 || start >= endSeq || end >= endSeq {
		return interval{}, fmt.Errorf("%w: number out of range in %q", ErrSyntax, s)
	}
	return interval{start, end + 1}, nil
}

func parsePosition(s string) (Set, error) {
	ids, err := ParseList(s)
	if err != nil {
		return Set{}, fmt.Errorf("parse GTID position: %w", err)
	}
	set := Set{flavor: MariaDB}
	for _, id := range ids {
		if _, found := set.searchDomain(id.Domain); found {
			return Set{}, fmt.Errorf("parse GTID position: domain %d named twice", id.Domain)
		}
		set.advance(id)
	}
	return set, nil
}

// ParseList reads MariaDB GTIDs separated by commas and keeps their order.
func ParseList(s string) ([]ID, error) {
	var ids []ID
	for _, item := range strings.Split(s, ",") {
		if strings.TrimSpace(item) == "" {
			continue
		}
		id, err := parseMariaDBID(item)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// ListToSet turns a binlog state into the position it stands for: of each domain
// the last entry, even where an earlier one has the greater number.
func ListToSet(ids []ID) Set {
	set := Set{flavor: MariaDB}
	for i := len(ids) - 1; i >= 0; i-- {
		if _, found := set.searchDomain(ids[i].Domain); !found {
			set.advance(ids[i])
		}
	}
	return set
}
