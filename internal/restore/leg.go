package restore

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/replay"
)

// Leg is a run of one server's files that is replayed in one go.
type Leg struct {
	Server string         `json:"server"`
	From   string         `json:"from"`  // as replay takes it
	Files  []archive.File `json:"-"`     // in order
	Names  []string       `json:"files"` // theirs
	Bytes  int64          `json:"bytes"` // of log
	Stored int64          `json:"stored_bytes"`
	Until  time.Time      `json:"until"` // last commit in them
	GTIDs  string         `json:"gtids"` // that they reach

	run string // names the run that it is of
	gap string // behind them more of the log is archived, which does not go on from them
}

// run is files of one server's log that follow on one another.
type run struct {
	server  string
	files   []archive.File
	first   int          // number of the first one in its log
	reach   gtid.Set     // of all transactions up to its end; empty: the log has no GTIDs
	wrote   gtid.Streams // of MariaDB, up to its end; nil: not known
	gap     string       // behind it more is archived
	history int          // runs of a server with the same number are of one history
}

// runs divides a log at its gaps. Behind a gap another history begins where a
// server does not say that it has all of what it had before: its log was reset,
// or it has lost transactions, and has given their GTIDs to others.
func runs(l archive.Log) (list []run, err error) {
	history := 0
	for n := 0; n < len(l.Files); {
		files, gap := contiguous(l, n)
		r := run{server: l.Server, files: files, first: n, gap: gap}
		if r.reach, err = reachOf(files); err != nil {
			return nil, fmt.Errorf("log of %s: %w", l.Server, err)
		}
		if r.wrote, err = wroteOf(files); err != nil {
			return nil, fmt.Errorf("log of %s: %w", l.Server, err)
		}
		if len(list) > 0 {
			before, ok := previous(files[0])
			if had := list[len(list)-1].reach; !ok || had.IsEmpty() || !before.ContainsSet(had) {
				history++
			}
		}
		r.history = history
		list, n = append(list, r), n+len(files)
	}
	return list, nil
}

// complete has a run say also what its server had before its log was begun, as far
// as the base shows: Previous_gtids has only what was logged (MySQL
// sql/binlog.cc, open_binlog: gtids_only_in_table is left out), GTID_LIST only the
// state of the binary log, not gtid_slave_pos. So the log of every server that was
// made from a copy seems to lack what came with that. own: the base is a place in
// the log of this server.
func (r run) complete(base gtid.Set, own bool) (run, error) {
	lost := base.Foregone(r.reach, own)
	if lost.IsEmpty() {
		return r, nil
	}
	r.files = slices.Clone(r.files)
	for i := range r.files {
		before, ok := previous(r.files[i])
		if !ok {
			continue
		}
		if err := before.Union(lost); err != nil {
			return r, err
		}
		text := before.String()
		r.files[i].Previous = &text
	}
	r.reach = r.reach.Clone()
	return r, r.reach.Union(lost)
}

// described is the last of files that says what came before it. Of one that has
// just been begun the head may not be archived: there is no transaction in it
// then.
func described(files []archive.File) (archive.File, bool) {
	for _, f := range slices.Backward(files) {
		if f.Previous != nil {
			return f, true
		}
	}
	return archive.File{}, false
}

// wroteOf are the streams at the end of files.
func wroteOf(files []archive.File) (gtid.Streams, error) {
	f, _ := described(files)
	return f.Wrote()
}

// reachOf is what files reach.
func reachOf(files []archive.File) (set gtid.Set, err error) {
	f, ok := described(files)
	if !ok {
		return set, nil
	}
	text, err := f.Reach()
	if err != nil {
		return set, err
	}
	return gtid.ParseNamed(f.Flavor, text)
}

// previous is what a file says of the log before it.
func previous(f archive.File) (set gtid.Set, ok bool) {
	if f.Previous == nil {
		return set, false
	}
	set, err := gtid.ParseNamed(f.Flavor, *f.Previous)
	return set, err == nil
}

// contiguous are the files from number i on, up to the first gap, and what that
// is; none: "".
func contiguous(l archive.Log, i int) (files []archive.File, gap string) {
	for n := i; n < len(l.Files); n++ {
		f := l.Files[n]
		why := l.Apart(n)
		if f.Hole() {
			why = "a part of the file is missing"
		}
		if why != "" {
			return l.Files[i : n+1], fmt.Sprintf("at %s:%d: %s", f.File, f.End, why)
		}
	}
	return l.Files[i:], ""
}

// Why a run does not lead on from a state. Each is wrapped with what is missing.
var (
	errLater   = errors.New("it begins later")
	errEarlier = errors.New("it ends earlier")
	errApart   = errors.New("the logs have parted")
)

// point is what has been reached on the way.
type point struct {
	Base
	set gtid.Set // Base.GTIDs
}

func pointAt(b Base) (at point, err error) {
	at.Base = b
	at.set, err = gtid.ParseNamed(b.Flavor, b.GTIDs)
	return at, err
}

// leg is the part of a run that leads on from a point: by position in the log of
// the point's own server, if that is where byPosition says, else by GTIDs.
// A replay that has begun goes on from the file with which it has.
func (r run) leg(at point, byPosition int, begun *Begun) (*Leg, error) {
	var from string
	i, err := byPosition-r.first, error(nil)
	if r.holds(byPosition) {
		from, err = r.fromPosition(at, i)
	} else {
		i, from, err = r.fromGTIDs(at)
	}
	if err != nil {
		return nil, err
	}
	if begun != nil {
		n := slices.IndexFunc(r.files[:i+1], func(f archive.File) bool { return begin(f) == *begun })
		if n < 0 || n < i && r.holds(byPosition) {
			return nil, fmt.Errorf("a replay of the log of %s, from %s on, has begun", begun.Server, begun.File)
		}
		i = n
	}
	l := &Leg{Server: r.server, From: from, Files: r.files[i:], Until: lastCommit(r.files[i:]), GTIDs: r.reach.String(), gap: r.gap, run: begin(r.files[0]).name()}
	l.add()
	return l, nil
}

func lastCommit(files []archive.File) (last time.Time) {
	for _, f := range files {
		if f.Last.After(last) {
			last = f.Last
		}
	}
	return last
}

func begin(f archive.File) Begun { return Begun{Server: f.Server, File: f.File, ID: f.ID} }

func (b Begun) name() string { return b.Server + "." + b.File + "." + b.ID }

// holds reports whether file number i of the log is in the run.
func (r run) holds(i int) bool { return r.first <= i && i < r.first+len(r.files) }

func (r run) fromPosition(at point, i int) (string, error) {
	if f := r.files[i]; f.End < at.Offset {
		return "", fmt.Errorf("%s is archived up to %d only, the state is that of %d", f.File, f.End, at.Offset)
	}
	if !at.set.IsEmpty() && !r.reach.IsEmpty() {
		if err := r.checkReach(at); err != nil {
			return "", err
		}
	}
	return binlog.Position{File: at.File, Offset: at.Offset}.String(), nil
}

// fromGTIDs finds the last file before which there is nothing that the point
// does not have.
func (r run) fromGTIDs(at point) (int, string, error) {
	switch {
	case at.GTIDs == "":
		return 0, "", fmt.Errorf("it has no %s:%d, and the state has no GTIDs: without them only the log of one server leads on", at.File, at.Offset)
	case gtid.FlavorNamed(r.files[0].Flavor) != gtid.FlavorNamed(at.Flavor):
		return 0, "", fmt.Errorf("it is %s's, the state is %s's", r.files[0].Flavor, at.Flavor)
	}
	for i := len(r.files) - 1; i >= 0; i-- {
		if anonymous(r.files[i]) {
			return 0, "", fmt.Errorf("%s has transactions without GTIDs", r.files[i].File)
		}
		if before, ok := previous(r.files[i]); ok && at.set.ContainsSet(before) {
			return i, "gtid:" + at.GTIDs, r.checkReach(at)
		}
	}
	f := r.files[0]
	before, ok := previous(f)
	if !ok {
		return 0, "", fmt.Errorf("%s does not say what came before it", f.File)
	}
	return 0, "", fmt.Errorf("%w: %s was begun after %s, which leaves out %s", errLater, f.File, before, missing(before, at.set))
}

// anonymous reports whether a file has transactions without GTIDs.
func anonymous(f archive.File) bool {
	ids, err := gtid.ParseNamed(f.Flavor, f.GTIDs)
	return err == nil && f.Flavor == gtid.MySQL.String() && ids.Count() < uint64(max(f.Transactions, 0))
}

// missing is what a set has and another has not, for people.
func missing(all, some gtid.Set) string {
	rest := all.Clone()
	if err := rest.Subtract(some); err != nil { // positions have no difference
		return fmt.Sprintf("what comes after %s", some)
	}
	return rest.String()
}

// checkReach: a log that never has what the state has is one of a server with
// another past. What it has beside that may not fit.
func (r run) checkReach(at point) error {
	switch {
	case contradict(r.reach, at.set):
		return fmt.Errorf("%w: it reaches %s, the state %s", errApart, r.reach, at.set)
	case r.reach.ContainsSet(at.set):
		return nil
	case at.set.ContainsSet(r.reach):
		return fmt.Errorf("%w: at %s", errEarlier, r.reach)
	}
	return fmt.Errorf("%w: up to its end, %s, it never has %s, which the state has; the state does not have %s",
		errApart, r.reach, missing(at.set, r.reach), missing(r.reach, at.set))
}

// contradict reports whether two MariaDB positions name different transactions
// of one number.
func contradict(a, b gtid.Set) bool {
	return slices.ContainsFunc(a.Heads(), func(x gtid.ID) bool {
		return x.Flavor == gtid.MariaDB && slices.ContainsFunc(b.Heads(), func(y gtid.ID) bool { return x.Domain == y.Domain && x.Seq == y.Seq && x.Server != y.Server })
	})
}

// checkHistory looks for signs that GTIDs of the log are not those of the state,
// after a RESET: transactions that the state has were committed before it was
// reached, in the log as well.
func (r run) checkHistory(at point) error {
	for _, f := range r.files {
		ids, err := gtid.ParseNamed(f.Flavor, f.GTIDs)
		if err != nil {
			return err
		}
		if before, ok := previous(f); ok && contradict(before, at.set) {
			return fmt.Errorf("%w: %s begins after %s, the state is that of %s", errApart, f.File, before, at.set)
		}
		if !at.At.IsZero() && f.First.After(at.At.Add(archive.ClockError)) && overlap(f, ids, at.set) {
			return fmt.Errorf("%w: %s has GTIDs of the state, and was written after it, from %s on: the log was reset, or its server lags behind by more than %s",
				errApart, f.File, f.First.UTC().Format(time.RFC3339), archive.ClockError)
		}
	}
	return nil
}

// overlap reports whether transactions of a file are in a set.
func overlap(f archive.File, ids, set gtid.Set) bool {
	if ids.Flavor() == gtid.MariaDB {
		before, _ := previous(f)
		return slices.ContainsFunc(set.Heads(), func(h gtid.ID) bool {
			return slices.ContainsFunc(ids.Heads(), func(i gtid.ID) bool { return i.Domain == h.Domain }) && !before.Contains(h)
		})
	}
	rest := ids.Clone()
	return rest.Subtract(set) == nil && rest.Count() < ids.Count()
}

// add adds the files up.
func (l *Leg) add() {
	l.Bytes, l.Stored, l.Names = 0, 0, nil
	for _, f := range l.Files {
		l.Bytes += f.End
		l.Stored += f.Stored
		l.Names = append(l.Names, f.File)
	}
}

// trim leaves out the files that begin behind the stop.
func (l *Leg) trim(stop replay.Stop) {
	n := len(l.Files)
	for i, f := range l.Files {
		// The next file shows that nothing before the stop is missing. What the
		// first one holds may lie before the base, by a clock that was set back since.
		if i > 0 && !stop.Time.IsZero() && f.Transactions > 0 && f.First.After(stop.Time) || i > 0 && l.Files[i-1].File == stop.Position.File {
			n = min(n, i+1)
		}
	}
	l.Files = l.Files[:n]
	l.add()
}

// passes reports whether a leg has a transaction that was committed after a time.
func (l *Leg) passes(t time.Time) bool { return l.Until.After(t) }

// upTo is what a leg has at most when it stops at a time.
func (l *Leg) upTo(t time.Time) gtid.Set {
	n := slices.IndexFunc(l.Files, func(f archive.File) bool { return f.Transactions > 0 && f.First.After(t) })
	if n < 0 {
		n = len(l.Files)
	}
	set, _ := reachOf(l.Files[:max(n, 1)]) // it has been read before
	return set
}

// end is the point at the end of a leg.
func (l *Leg) end(reach gtid.Set, from point) point {
	last := l.Files[len(l.Files)-1]
	at := point{set: reach, Base: Base{Server: l.Server, File: last.File, Offset: last.End, GTIDs: l.GTIDs, Flavor: from.Flavor, At: l.Until}}
	for _, t := range []time.Time{from.At, last.Begun} {
		if t.After(at.At) {
			at.At = t
		}
	}
	return at
}
