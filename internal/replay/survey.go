package replay

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/txn"
)

// The survey reads every event of every file once before anything is written:
// it checks all checksums, finds start and stop, and finds what would be
// refused. So bad input is reported while the target is still untouched.

// fileSurvey is what the survey found in one file, from the start offset on.
type fileSurvey struct {
	file         *binlog.File
	names        *Names // to be skipped
	only         *Only
	made         made // by the file, under --only
	transactions int64
	ddl          int64
	statements   int64
	first, last  time.Time // commit times of the first transaction and of the last one to replay
	lastSeen     time.Time // commit time of the file's last transaction
	maxEvent     int       // largest event body, uncompressed, in bytes
	ids          gtid.Set  // GTIDs of the transactions
	before       gtid.Set  // of those in the file before the start offset
	lastBefore   gtid.ID   // the last one of these
	sample       []gtid.ID // the first and the last few of ids
	marks        []int64   // GTID stop: end of the last transaction of the set, at most one
	incomplete   error     // the file ends inside a transaction
	end          int64     // end of the last whole transaction or event
	stop         int64     // offset where the replay stops, -1 if not in this file
	stopExact    bool      // a stop position was found to be a boundary
	anonymous    bool      // there are transactions without a GTID
	stopBefore   int64     // boundary before a stop that is none
	lastStart    int64     // of the last transaction before the stop
	lastEnd      int64     // likewise; without one, where the survey has begun
	met          []gtid.ID // transactions that a MariaDB start by GTIDs names
	passed       *gtid.ID  // the first one behind the stop that a start by GTIDs holds
	rest         gtid.Set  // all of those
	refused      []Refusal
	jumps        []Jump
	beforeLast   time.Time // latest commit time in the file before the start offset
	known        gtid.Set  // of the log before the file and of what has been read of it
	skipped      []Skipped
	unlike       bool            // behind skipped transactions statements may do other things than on the source
	statement    binlog.Position // the first change in statement format that is not skipped
	behind       binlog.Position // likewise, behind one that makes unlike
	err          error           // what ended the survey of this file
}

func (s *fileSurvey) firstSeen() time.Time { return s.first }

// Refusal is a construct that cannot be replayed.
type Refusal struct {
	Position binlog.Position `json:"position"`
	Reason   string          `json:"reason"`
}

// Jump is a place where the server that wrote the log passed over numbers of its
// own transactions. It gives them without a hole; so either somebody has set one
// by hand, or transactions are not in the log: removed, or committed elsewhere
// and not logged here.
type Jump struct {
	Position binlog.Position `json:"position"`
	ID       string          `json:"gtid"`  // of the transaction there
	After    string          `json:"after"` // what the log has before it
}

func (j Jump) String() string {
	return fmt.Sprintf("%s: transaction %s comes behind %s: what is between is in no file", j.Position, j.ID, j.After)
}

// survey scans files[from:], the first one from offset.
func survey(ctx context.Context, set *binlog.Set, from int, offset int64, stop Stop, cut scope, limit int64, progress func(int64)) ([]*fileSurvey, error) {
	out := make([]*fileSurvey, len(set.Files))
	last := len(set.Files) - 1
	if n := set.Index(stop.Position.File); n >= 0 {
		last = n
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.NumCPU())
	for i := from; i <= last; i++ {
		start := int64(0)
		if i == from {
			start = offset
		}
		g.Go(func() error {
			out[i] = surveyFile(ctx, set, i, start, stop, cut, limit, progress)
			return ctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return untilStop(out[from : last+1])
}

// untilStop leaves out the files behind the stop: damage there does not matter.
func untilStop(found []*fileSurvey) ([]*fileSurvey, error) {
	for i, s := range found {
		if s.err != nil {
			return nil, s.escape()
		}
		if s.stop >= 0 {
			return found[:i+1], nil
		}
	}
	return found, nil
}

// escape gives an error in a file its class, and says how to keep what comes
// before it.
func (s *fileSurvey) escape() error {
	err := LogError(s.err)
	var e *fault.Error
	if errors.As(err, &e) && e.Class == fault.Failed && s.transactions > 0 {
		e.Hint += fmt.Sprintf("; --until %s keeps everything before it", s.file.At(s.end))
	}
	return err
}

func surveyFile(ctx context.Context, set *binlog.Set, i int, offset int64, stop Stop, cut scope, limit int64, progress func(int64)) *fileSurvey {
	f := set.Files[i]
	s := &fileSurvey{file: f, names: cut.names, only: cut.only, made: made{}, stop: -1, end: max(offset, f.First), known: set.Heads[i].Previous.Clone()}
	s.lastEnd = s.end
	s.err = s.scan(ctx, offset, stop, limit, i == len(set.Files)-1, progress)
	s.checkStopPosition(stop)
	return s
}

// scan reads the file's transactions up to the stop.
func (s *fileSurvey) scan(ctx context.Context, offset int64, stop Stop, limit int64, last bool, progress func(int64)) error {
	f := s.file
	if err := s.readBefore(offset, limit); err != nil {
		return err
	}
	if err := s.known.Union(s.before); err != nil {
		return binlog.At(f.At(0), err)
	}
	sc := txn.NewScanner(f, offset, &binlog.Inflater{Limit: limit})
	released := offset
	defer func() {
		progress(sc.Offset() - released)
		f.Release(released, int64(len(f.Data)))
	}()
	for s.stop < 0 {
		t, ok, err := sc.Next()
		if err != nil && last && isCutOff(err) {
			s.incomplete = err
			return nil
		}
		if err != nil {
			return cutOffInTheMiddle(err)
		}
		if !ok {
			s.end = sc.Offset()
			return nil
		}
		if err := s.add(&t, stop); err != nil {
			return err
		}
		if sc.Offset()-released > progressStep {
			progress(sc.Offset() - released)
			f.Release(released, sc.Offset())
			released = sc.Offset()
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	return s.lookBehind(sc, stop)
}

// lookBehind looks whether the target has what comes after the stop in its file.
// Damage there does not matter.
func (s *fileSurvey) lookBehind(sc *txn.Scanner, stop Stop) error {
	for !stop.has.IsEmpty() {
		t, ok, err := sc.Next()
		if !ok || err != nil {
			return nil //nolint:nilerr // as above
		}
		if err := s.seeBehind(&t, stop); err != nil {
			return err
		}
	}
	return nil
}

// seeBehind notes a transaction behind the stop that the target has.
func (s *fileSurvey) seeBehind(t *txn.Transaction, stop Stop) error {
	if !t.HasID || !stop.has.Contains(t.ID) {
		return nil
	}
	if s.passed == nil {
		s.passed = &t.ID
	}
	s.meet(t.ID, stop)
	return s.rest.Add(t.ID)
}

// meet notes a transaction that a MariaDB start by GTIDs names.
func (s *fileSurvey) meet(id gtid.ID, stop Stop) {
	if id.Flavor == gtid.MariaDB && stop.has.Contains(id) && slices.Contains(stop.has.Heads(), id) {
		s.met = append(s.met, id)
	}
}

// progressStep is how many bytes are read before progress is told, and the
// pages of the mapping that were read are given back.
const progressStep = 4 << 20

func isCutOff(err error) bool {
	return errors.Is(err, binlog.ErrTruncated) || errors.Is(err, txn.ErrIncomplete)
}

func cutOffInTheMiddle(err error) error {
	if !isCutOff(err) {
		return err
	}
	return fmt.Errorf("%w: %w, and it is not the last one of the log: get this file again from where it was archived", binlog.ErrGap, err)
}

func (s *fileSurvey) add(t *txn.Transaction, stop Stop) error {
	if s.stop < 0 && stop.Before(t) {
		s.stop = t.Start
		s.stopExact = stop.Position.IsZero() || s.ended(stop.Position.Offset)
		if !s.stopExact {
			s.stop, s.stopBefore = s.end, s.lastStart
		}
	}
	s.seeTime(t)
	if s.stop >= 0 {
		return s.seeBehind(t, stop) // behind the stop only integrity counts; nothing of it is replayed
	}
	s.lastStart, s.last = t.Start, t.Committed
	s.end, s.lastEnd = t.End, t.End
	s.transactions++
	switch t.Kind {
	case txn.DDL:
		s.ddl++
	case txn.Statements:
		s.statements++
	default:
	}
	for i := range t.Events {
		s.maxEvent = max(s.maxEvent, len(t.Events[i].Body))
	}
	skipped, err := s.seeSkip(t, s.names)
	if err != nil {
		return err
	}
	if !skipped {
		if err := s.seeOnly(t); err != nil {
			return err
		}
	}
	if t.Refused == nil && t.Kind != txn.Rows {
		t.Refused = t.CheckContext()
	}
	if t.Refused != nil && !skipped {
		s.refused = append(s.refused, Refusal{t.Position(), t.Refused.Error()})
	}
	if !t.HasID {
		s.anonymous = true
		return nil
	}
	if stop.HasSet && stop.Set.Contains(t.ID) {
		s.marks = []int64{t.End}
	}
	s.meet(t.ID, stop)
	if len(s.sample) < sampleSize {
		s.sample = append(s.sample, t.ID)
	}
	if err := s.follow(t); err != nil {
		return binlog.At(t.Position(), err)
	}
	return binlog.At(t.Position(), s.ids.Add(t.ID))
}

// follow looks for a jump. Only the server's own transactions count, and only
// where the log has some of that origin before: others can come in any order.
func (s *fileSurvey) follow(t *txn.Transaction) error {
	before := t.ID
	before.Seq--
	if len(s.jumps) < maxJumps && t.Server == s.file.ServerID() && before.Seq > 0 && !s.known.Contains(before) && s.known.Knows(t.ID) {
		s.jumps = append(s.jumps, Jump{t.Position(), t.ID.String(), s.known.String()})
	}
	return s.known.Add(t.ID)
}

// maxJumps is how many of a file are told.
const maxJumps = 10

// sampleSize is how many GTIDs of a file are compared with the target's.
const sampleSize = 1000

// readBefore reads the part of the file before the start, for its GTIDs, and
// to see that the start lies between two transactions.
func (s *fileSurvey) readBefore(offset, limit int64) error {
	if offset <= s.file.First {
		return nil
	}
	sc := txn.NewScanner(s.file, 0, &binlog.Inflater{Limit: limit})
	end := s.file.First
	for end < offset {
		t, ok, err := sc.Next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if t.Start < offset && offset < t.End {
			return fault.New(fault.Gap, fmt.Errorf("start %s lies inside the transaction from %d to %d", s.file.At(offset), t.Start, t.End),
				"take the position from the backup; a replay begins between transactions")
		}
		if end = t.End; t.Start < offset && t.Committed.After(s.beforeLast) {
			s.beforeLast = t.Committed
		}
		if t.Start >= offset || !t.HasID {
			continue
		}
		s.lastBefore = t.ID
		if err := s.before.Add(t.ID); err != nil {
			return binlog.At(t.Position(), err)
		}
	}
	return nil
}

func (s *fileSurvey) seeTime(t *txn.Transaction) {
	if s.first.IsZero() {
		s.first = t.Committed
	}
	s.lastSeen = t.Committed
}

// checkStopPosition settles a stop that is a position in this file, and not in
// front of a transaction of it.
func (s *fileSurvey) checkStopPosition(stop Stop) {
	at := stop.Position
	switch {
	case at.File != s.file.Name:
	case at.Offset == s.lastEnd:
		s.stop, s.stopExact = s.lastEnd, true
	case s.stop < 0 && at.Offset <= s.end: // behind the last one stands what ends the file
		s.stop, s.stopExact, s.stopBefore = s.end, s.ended(at.Offset), s.lastStart
	}
}

// ended reports whether no transaction of the file that was seen so far goes on
// behind an offset.
func (s *fileSurvey) ended(offset int64) bool { return s.transactions == 0 || offset >= s.lastEnd }
