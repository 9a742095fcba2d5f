package replay

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/txn"
)

// Start says where a replay begins. Exactly one of the fields counts.
type Start struct {
	Auto     bool // the target's own GTID state, or the checkpoint of an earlier run
	Position binlog.Position
	Set      gtid.Set // transactions that the target has already
	HasSet   bool
}

// ParseStart reads FILE:POS, gtid:SET or auto.
func ParseStart(s string) (Start, error) {
	if s == "" || s == "auto" {
		return Start{Auto: true}, nil
	}
	if rest, ok := strings.CutPrefix(s, "gtid:"); ok {
		set, err := gtid.Parse(rest)
		if err != nil {
			return Start{}, fault.Usagef("--from %s: %v", s, err)
		}
		return Start{Set: set, HasSet: true}, nil
	}
	pos, err := parsePosition(s)
	if err != nil {
		return Start{}, fault.Usagef("--from %s: %v; it takes FILE:POSITION, gtid:SET or auto", s, err)
	}
	return Start{Position: pos}, nil
}

func (s Start) String() string {
	switch {
	case s.Auto:
		return "auto"
	case s.HasSet:
		return "gtid:" + s.Set.String()
	default:
		return s.Position.String()
	}
}

// Stop says where a replay ends: at the latest point that does not go beyond
// it. The zero Stop is the end of the log.
type Stop struct {
	Time     time.Time // the last moment to keep
	Position binlog.Position
	Set      gtid.Set // stop when all of these are contained
	HasSet   bool

	has gtid.Set // what the target has, if the start is by GTIDs
}

// ParseStop reads a time with its zone, FILE:POS or gtid:SET.
func ParseStop(s string) (Stop, error) {
	if s == "" {
		return Stop{}, nil
	}
	if rest, ok := strings.CutPrefix(s, "gtid:"); ok {
		set, err := gtid.Parse(rest)
		if err != nil || set.IsEmpty() {
			return Stop{}, fault.Usagef("--until %s: not a GTID set (%v)", s, err)
		}
		return Stop{Set: set, HasSet: true}, nil
	}
	if t, ok, err := parseTime(s); ok {
		return Stop{Time: t}, err
	}
	pos, err := parsePosition(s)
	if err != nil {
		return Stop{}, fault.Usagef("--until %s: it takes a time such as 2014-01-10T17:29:59.5-08:00, gtid:SET or FILE:POSITION", s)
	}
	return Stop{Position: pos}, nil
}

// IsEnd reports whether the stop is the end of the log.
func (s Stop) IsEnd() bool { return s.Time.IsZero() && s.Position.IsZero() && !s.HasSet }

func (s Stop) String() string {
	switch {
	case !s.Time.IsZero():
		return s.Time.Format(time.RFC3339Nano)
	case s.HasSet:
		return "gtid:" + s.Set.String()
	case !s.Position.IsZero():
		return s.Position.String()
	default:
		return "the end of the log"
	}
}

// Before reports whether the replay has to stop before this transaction. A
// GTID stop is settled for the log as a whole, see Plan.
func (s Stop) Before(t *txn.Transaction) bool {
	switch {
	case !s.Time.IsZero():
		return t.Committed.After(s.Time)
	case !s.Position.IsZero():
		return t.File.Name == s.Position.File && t.Start >= s.Position.Offset
	default:
		return false
	}
}

var zonedLayouts = []string{
	"2006-01-02T15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999 Z07:00",
	"2006-01-02T15:04:05.999999999-0700", "2006-01-02 15:04:05.999999999 -0700", "2006-01-02 15:04:05.999999999 UTC",
}

var unzonedLayouts = []string{
	"2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999", "2006-01-02", "2006-01-02T15:04", "2006-01-02 15:04",
}

// parseTime reads a time; ok reports whether s looks like one at all.
func parseTime(s string) (t time.Time, ok bool, err error) {
	for _, layout := range zonedLayouts {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), true, nil
		}
	}
	for _, layout := range unzonedLayouts {
		if _, err := time.Parse(layout, s); err == nil {
			return t, true, fault.Usagef("--until %s: a time without a zone means another moment on every machine; write it as %sZ for UTC or with an offset such as +01:00", s, strings.Replace(s, " ", "T", 1))
		}
	}
	return t, false, nil
}

func parsePosition(s string) (binlog.Position, error) {
	i := strings.LastIndexByte(s, ':')
	if i <= 0 {
		return binlog.Position{}, fmt.Errorf("%q is not FILE:POSITION", s)
	}
	n, err := strconv.ParseInt(s[i+1:], 10, 64)
	if err != nil || n < 0 {
		return binlog.Position{}, fmt.Errorf("%q is not a position", s[i+1:])
	}
	return binlog.Position{File: s[:i], Offset: n}, nil
}
