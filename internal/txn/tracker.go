package txn

import (
	"fmt"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
)

// Tracker finds the ends of transactions while events come by one at a time. It
// looks at what begins and ends a group and at nothing else: unlike a Scanner it
// refuses no kind of transaction, and keeps no event. For logs whose groups
// begin with a GTID event (MySQL from 5.7.6, MariaDB from 10.0 on).
type Tracker struct {
	Head      binlog.GTID // of the group that is open, or has just ended
	Committed time.Time   // of the group that has just ended

	open  bool
	began bool // BEGIN or what stands for it
}

// Open reports whether a group has begun and not ended.
func (t *Tracker) Open() bool { return t.open }

// Reset forgets an open group: a file has begun, and groups do not cross files.
func (t *Tracker) Reset() { t.open, t.began = false, false }

// Add takes the next event and reports whether it ends a group. Events between
// groups end none.
func (t *Tracker) Add(ev binlog.Event) (ended bool, err error) {
	switch ev.Type {
	case binlog.GTIDEvent, binlog.AnonymousGTID, binlog.GTIDTagged, binlog.MariaGTID:
		return false, t.begin(ev)
	case binlog.XIDEvent, binlog.XAPrepare, binlog.TransactionPayload:
		return t.end(ev, eventTime(ev))
	case binlog.ExecuteLoadQuery:
		if !t.began {
			return t.end(ev, eventTime(ev))
		}
		return false, nil
	case binlog.QueryEvent, binlog.QueryCompressed:
		return t.query(ev)
	default:
		return false, nil
	}
}

func (t *Tracker) begin(ev binlog.Event) error {
	if t.open {
		return fmt.Errorf("%w: %s inside a transaction", binlog.ErrCorrupt, ev.Type)
	}
	head, err := binlog.DecodeGTID(ev.Type, ev.ServerID, ev.Body)
	if err != nil {
		return err
	}
	t.Head, t.open = head, true
	t.began = ev.Type == binlog.MariaGTID && !head.Standalone
	return nil
}

func eventTime(ev binlog.Event) time.Time { return time.Unix(int64(ev.Timestamp), 0) }

// end closes the group; at is when it was committed, where its head does not say so.
func (t *Tracker) end(ev binlog.Event, at time.Time) (bool, error) {
	if !t.open {
		return false, fmt.Errorf("%w: %s", ErrNoBeginning, ev.Type)
	}
	t.open, t.began = false, false
	if !t.Head.CommitTime.IsZero() {
		at = t.Head.CommitTime
	}
	t.Committed = at.UTC()
	return true, nil
}

// verbWithin is how much of a statement is looked at for its first words.
const verbWithin = 64 << 10

func (t *Tracker) query(ev binlog.Event) (bool, error) {
	if !t.open {
		return false, nil // MySQL: nothing stands outside of a group; nothing ends here
	}
	ev, err := binlog.QueryStart(ev, verbWithin)
	if err != nil {
		return false, err
	}
	q, err := binlog.DecodeQuery(ev.Body, 0)
	if err != nil {
		return false, err
	}
	switch Verb(q.SQL) {
	case "BEGIN", "XA START", "XA BEGIN":
		t.began = true
		return false, nil
	case "COMMIT", "ROLLBACK", "XA COMMIT", "XA ROLLBACK", "XA PREPARE":
		return t.end(ev, queryTime(ev, q))
	default:
		if t.began {
			return false, nil
		}
		return t.end(ev, queryTime(ev, q))
	}
}
