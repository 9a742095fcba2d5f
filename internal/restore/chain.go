package restore

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/replay"
)

// chain is legs that lead on from a base, one after another.
type chain struct {
	legs []*Leg
	from point // at which the last leg begins
	at   point // at which it ends
	runs []run // of the legs
}

// end is where a chain ends, as a stop that is exact: of a time nobody knows
// whether all of it is there.
func (c chain) end() string {
	if !c.at.set.IsEmpty() {
		return "gtid:" + c.at.set.String()
	}
	last := c.last().Files[len(c.last().Files)-1]
	return binlog.Position{File: last.File, Offset: last.Boundary}.String()
}

func (c chain) last() *Leg { return c.legs[len(c.legs)-1] }

// finder looks for chains.
type finder struct {
	start chain // at the base
	req   Request
	stop  replay.Stop
	runs  []run
	logs  []archive.Log
	at    map[string]int // by server: number of the file in which the base lies, by position; -1: in none
	found []chain        // the shortest to the end of each run, shorter ones first
}

// chooseLogs finds the logs that lead on from the base to the stop: one if one
// does, else several one after another, by GTIDs.
func (p *Plan) chooseLogs(logs []archive.Log, req Request, stop replay.Stop) (err error) {
	f := &finder{req: req, stop: stop, logs: logs, at: map[string]int{}}
	base, err := pointAt(p.Base)
	if err != nil {
		return err
	}
	f.start.at = base
	if stop.HasSet && base.set.ContainsSet(stop.Set) {
		if stop.Set.ContainsSet(base.set) {
			return nil // the base is what is wanted
		}
		if req.Base != nil {
			return fault.New(fault.Gap, fmt.Errorf("restore: the target has more than %s already: %s", stop, base.GTIDs), noWayBack)
		}
		return fault.New(fault.Gap, fmt.Errorf("it has more than %s already: %s", stop, base.GTIDs), "take an older backup")
	}
	if len(logs) == 0 && stop.IsEnd() {
		p.Warnings = append(p.Warnings, "no log is archived: the backup is brought back as it is")
		return nil
	}
	if err := f.find(); err != nil {
		return err
	}
	c, err := f.choose()
	if err != nil {
		return err
	}
	c.last().trim(stop)
	p.Legs, p.LogBytes = c.legs, 0
	for _, l := range c.legs {
		p.LogBytes += l.Bytes
		p.SpaceNeeded += 2 * l.Bytes // the files themselves, and what they bring
	}
	return nil
}

// find goes from the base through all runs, fewest legs first. It does not go
// on behind the stop. The state at the end of a leg is that of its run alone,
// so that one chain to each is enough.
func (f *finder) find() error {
	if err := f.divide(); err != nil {
		return err
	}
	seen := make([]bool, len(f.runs))
	for now := []chain{f.start}; len(now) > 0; {
		var next []chain
		for _, c := range now {
			for i, r := range f.runs {
				if seen[i] || len(c.legs) > 0 && f.reaches(c) {
					continue
				}
				if longer, err := f.extend(c, r); err == nil {
					seen[i], next = true, append(next, longer)
				}
			}
		}
		f.found = append(f.found, next...)
		now = next
	}
	return nil
}

// divide takes the logs apart into runs, those of the base's own server first,
// and finds the base in them.
func (f *finder) divide() error {
	base := f.start.at
	logs := slices.Clone(f.logs)
	slices.SortStableFunc(logs, func(a, b archive.Log) int {
		return cmp.Or(strings.Compare(own(a, base), own(b, base)), strings.Compare(a.Server, b.Server))
	})
	for _, l := range logs {
		list, err := runs(l)
		if err != nil {
			return err
		}
		i, ok := l.ByPosition(base.Base)
		if !ok {
			i = -1
		}
		for n, r := range list {
			if list[n], err = r.complete(base.set, ok && l.Server == base.Server); err != nil {
				return fmt.Errorf("log of %s: %w", l.Server, err)
			}
		}
		f.runs = append(f.runs, list...)
		f.at[l.Server] = i
		for _, r := range list {
			if r.holds(i) {
				f.start.runs = append(f.start.runs, r)
			}
		}
	}
	return nil
}

// position is the file by which a chain enters a run by position, -1: it does
// not. Behind a leg GTIDs lead on.
func (f *finder) position(c chain, r run) int {
	if len(c.legs) == 0 {
		return f.at[r.server]
	}
	return -1
}

// extend goes on with a run that leads further.
func (f *finder) extend(c chain, r run) (chain, error) {
	if err := f.oneHistory(c, r); err != nil {
		return chain{}, err
	}
	begun := f.req.Begun
	if len(c.legs) > 0 {
		begun = nil
	}
	l, err := r.leg(c.at, f.position(c, r), begun)
	if err != nil {
		return chain{}, err
	}
	if len(c.legs) > 0 && c.at.set.Equal(r.reach) && r.server != f.req.Log {
		return chain{}, fmt.Errorf("%w: at %s", errEarlier, r.reach)
	}
	return chain{legs: append(slices.Clone(c.legs), l), from: c.at, at: l.end(r.reach, c.at), runs: append(slices.Clone(c.runs), r)}, nil
}

// oneHistory checks that a run is of the same history as those of its server on
// the way; if there is none, of the history that its server was in when the
// state was reached: the last one that had been begun, or else the first.
func (f *finder) oneHistory(c chain, r run) error {
	want, known := -1, false
	for _, other := range c.runs {
		if other.server == r.server {
			want, known = other.history, true
		}
	}
	for _, other := range f.runs {
		if !known && other.server == r.server && (want < 0 || !other.files[0].Begun.After(c.at.At.Add(archive.ClockError))) {
			want = other.history
		}
	}
	if r.history != want {
		return fmt.Errorf("%w: the log of %s was reset, or its server has lost transactions", errApart, r.server)
	}
	for _, other := range f.runs {
		if known || other.server != r.server || other.history != r.history || other.first > r.first {
			continue
		}
		if err := other.checkHistory(c.at); err != nil {
			return err
		}
	}
	return nil
}

// own sorts the log of the base's own server first.
func own(l archive.Log, base point) string {
	if l.Server == base.Server {
		return "0"
	}
	return "1"
}

// reaches reports whether a stop that is none of files is in the last leg.
func (f *finder) reaches(c chain) bool {
	switch {
	case f.stop.HasSet:
		return c.at.set.ContainsSet(f.stop.Set)
	case !f.stop.Time.IsZero():
		// On a replica, what was there already may have been committed later.
		return c.last().passes(f.stop.Time) && (c.from.set.IsEmpty() || !c.from.set.Equal(c.at.set))
	default:
		return false
	}
}

// choose picks the chain that leads to the stop.
func (f *finder) choose() (chain, error) {
	if len(f.found) == 0 {
		return chain{}, fault.New(fault.Gap, errors.Join(append(f.why(f.start), errors.New("no archived log goes on from there"))...), "lifeboat archive status shows what is there")
	}
	ends := f.found
	if f.req.Log != "" {
		ends = slices.DeleteFunc(slices.Clone(ends), func(c chain) bool { return c.last().Server != f.req.Log })
		if len(ends) == 0 {
			return chain{}, f.short("the log of "+f.req.Log+" cannot be reached", "lifeboat archive status shows what is there")
		}
	}
	switch {
	case f.stop.IsEnd():
		return f.chooseEnd(ends)
	case !f.stop.Position.IsZero():
		return f.choosePosition(ends)
	default:
		return f.chooseReach(ends)
	}
}

// chooseReach is for stops that are times or GTIDs.
func (f *finder) chooseReach(ends []chain) (chain, error) {
	ends = slices.DeleteFunc(slices.Clone(ends), func(c chain) bool { return !f.reaches(c) })
	if len(ends) == 0 {
		return chain{}, f.short(f.stop.String()+" lies behind what can be reached: later transactions may be missing", "take an earlier --until, or leave it out")
	}
	for _, c := range ends[1:] {
		if f.stop.HasSet {
			break // either has these transactions, and stops behind the last of them
		}
		if a, b := ends[0].last().upTo(f.stop.Time), c.last().upTo(f.stop.Time); !a.ContainsSet(b) && !b.ContainsSet(a) {
			return chain{}, parted(ends[0], c)
		}
	}
	return ends[0], nil
}

// parted says that there are two ends, of which nobody but the operator knows
// which one counts.
func parted(a, b chain) error {
	return fault.New(fault.Gap, fmt.Errorf("the logs of %s and %s end differently: only that of %s has %s, only that of %s has %s",
		a.last().Server, b.last().Server, a.last().Server, missing(a.at.set, b.at.set), b.last().Server, missing(b.at.set, a.at.set)),
		fmt.Sprintf("say which one counts: --log %s or --log %s", a.last().Server, b.last().Server))
}

// chooseEnd is for the end of what is archived: everything that any log has must
// be in it.
func (f *finder) chooseEnd(ends []chain) (chain, error) {
	best := ends[0]
	for _, c := range ends[1:] {
		if !f.covers(best, c) && f.covers(c, best) {
			best = c
		}
	}
	for _, c := range ends {
		if !f.covers(best, c) {
			return chain{}, parted(best, c)
		}
	}
	if gap := best.last().gap; gap != "" && !f.contains(best, f.tip(best.last().Server)) {
		return chain{}, f.shortOf(best, "the log of "+best.last().Server+" goes on behind a gap: "+gap)
	}
	for _, l := range f.logs {
		if f.req.Log == "" && len(l.Files) > 0 && l.Server != best.last().Server && !f.has(best, l.Server) {
			return chain{}, f.shortOf(best, "more is archived of "+l.Server)
		}
	}
	return best, nil
}

// covers reports whether a chain has what another one has.
func (f *finder) covers(c, other chain) bool {
	return c.at.set.ContainsSet(other.at.set) && f.wrote(c, other.runs[len(other.runs)-1])
}

// lag is by how much the archive of one server may be behind that of another, and
// their clocks, where there are no GTIDs to compare them by.
const lag = time.Minute

// tip is the end of a server's log.
func (f *finder) tip(server string) run {
	i := len(f.runs) - 1
	for f.runs[i].server != server {
		i--
	}
	return f.runs[i]
}

// contains reports whether a chain has all of a run, by GTIDs.
func (f *finder) contains(c chain, r run) bool {
	return !r.reach.IsEmpty() && c.at.set.ContainsSet(r.reach) && f.wrote(c, r) && f.oneHistory(c, r) == nil
}

// wrote reports whether a chain has what each server has written, as far as a run
// says who that was. Where MariaDB's servers have parted, the position of one
// looks like a later one of the other. What is not known is not held against it.
func (f *finder) wrote(c chain, r run) bool {
	base, legs := c.runs[:len(f.start.runs)], c.runs[len(f.start.runs):]
	if r.wrote == nil || len(legs) == 0 || legs[len(legs)-1].wrote == nil {
		return true
	}
	reached := map[uint32]uint64{} // by the base, in each domain
	for _, id := range f.start.at.set.Heads() {
		reached[id.Domain] = id.Seq
	}
	for stream, seq := range r.wrote {
		has := func(r run) bool { return r.wrote[stream] >= seq }
		// A server that was made of a backup does not know who wrote what before.
		if !slices.ContainsFunc(legs, has) && (seq > reached[stream.Domain] || !slices.ContainsFunc(base, has)) {
			return false
		}
	}
	return true
}

// has reports whether a chain has what the end of a server's log has.
func (f *finder) has(c chain, server string) bool {
	r := f.tip(server)
	last := lastCommit(r.files)
	if c.at.set.IsEmpty() {
		return !last.After(c.last().Until.Add(lag))
	}
	if begun := r.files[len(r.files)-1].Begun; !r.reach.IsEmpty() && begun.After(last) {
		last = begun // what came before it counts, too
	}
	// What had ended before the base was there, and parts from it, is of another
	// past. What goes on from it is not: the base may be that of a server that
	// lagged behind.
	return f.contains(c, r) || last.Before(f.start.at.At.Add(-lag)) && !r.reach.ContainsSet(c.at.set)
}

// choosePosition is for a stop that is a place in a file. Files of several
// servers have the same names.
func (f *finder) choosePosition(ends []chain) (chain, error) {
	var fit []chain
	var errs []error
	for _, c := range ends {
		ok, err := f.holds(c)
		if ok {
			fit = append(fit, c)
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	if len(fit) == 0 {
		hint := "lifeboat archive status shows what is there; an older backup may lead there"
		if f.req.Base != nil {
			hint = "lifeboat archive status shows what is there; if it lies before the state of the target, " + noWayBack
		}
		return chain{}, f.short(errors.Join(append(errs, fmt.Errorf("%s is in no file that can be reached", f.stop))...).Error(), hint)
	}
	for _, c := range fit {
		if c.last().Server == f.start.at.Server {
			return c, nil
		}
	}
	for _, c := range fit[1:] {
		if c.last().Server != fit[0].last().Server {
			return chain{}, fault.New(fault.Gap, fmt.Errorf("%s and %s both have a file %s", fit[0].last().Server, c.last().Server, f.stop.Position.File),
				fmt.Sprintf("say which one is meant: --log %s or --log %s", fit[0].last().Server, c.last().Server))
		}
	}
	return fit[0], nil
}

// holds reports whether the stop is a place in the last leg, behind all that is
// there before it.
func (f *finder) holds(c chain) (bool, error) {
	stop, l := f.stop.Position, c.last()
	i := slices.IndexFunc(l.Files, func(file archive.File) bool { return file.File == stop.File })
	if i < 0 || stop.Offset > l.Files[i].End {
		return false, nil
	}
	reach, err := reachOf(l.Files[:i+1])
	switch {
	case err != nil:
		return false, err
	case !reach.IsEmpty() && !reach.ContainsSet(c.from.set):
		return false, fmt.Errorf("%s of %s lies before what is there already: %s", f.stop, l.Server, c.from.GTIDs)
	case len(c.legs) == 1 && i == 0 && l.Server == c.from.Server && l.Files[0].File == c.from.File && stop.Offset < c.from.Offset:
		return false, fmt.Errorf("%s lies before the state, which is that of %s:%d", f.stop, c.from.File, c.from.Offset)
	}
	return true, nil
}

// short says that the stop is not reached, and what is in the way.
func (f *finder) short(text, hint string) error {
	best := f.found[0]
	for _, c := range f.found {
		if c.last().Until.After(best.last().Until) {
			best = c
		}
	}
	err := f.shortOf(best, text)
	var e *fault.Error
	if errors.As(err, &e) {
		e.Hint = hint
	}
	return err
}

func (f *finder) shortOf(best chain, text string) error {
	errs := append([]error{errors.New(text)}, f.why(best)...)
	if !best.last().Until.After(f.start.at.At) {
		from := "the backup"
		if f.req.Base != nil {
			from = "the state of the target"
		}
		return fault.New(fault.Gap, errors.Join(append(errs, fmt.Errorf("nothing that was committed behind %s can be reached", from))...), "lifeboat archive status shows what is there")
	}
	until := best.last().Until.UTC().Format(time.RFC3339Nano)
	hint := "with --until " + best.end() + " it comes back up to there"
	if common, with := f.common(best); with != "" {
		hint = "--until gtid:" + common + " brings back what both have; after that --log " + with + " without --until goes on from there"
	}
	return fault.New(fault.Gap, errors.Join(append(errs, fmt.Errorf("the log of %s leads to %s", best.last().Server, until))...), hint)
}

// common is what a chain and a log that has parted from it both have, and whose
// log that is; none, or positions, which have no difference: empty.
func (f *finder) common(c chain) (set, server string) {
	for _, r := range f.runs {
		if _, err := f.extend(c, r); !errors.Is(err, errApart) || f.oneHistory(c, r) != nil {
			continue
		}
		both, only := c.at.set.Clone(), c.at.set.Clone()
		if only.Subtract(r.reach) == nil && both.Subtract(only) == nil && !both.IsEmpty() {
			return both.String(), r.server
		}
	}
	return "", ""
}

// why says of each log why it does not lead on from the end of a chain: of its
// first run that has more.
func (f *finder) why(c chain) (errs []error) {
	told := map[string]bool{}
	if len(c.legs) > 0 {
		told[c.last().Server] = c.last().gap == ""
	}
	for _, r := range f.runs {
		if _, err := f.extend(c, r); !told[r.server] && err != nil && !errors.Is(err, errEarlier) {
			told[r.server] = true
			errs = append(errs, fmt.Errorf("log of %s: %w", r.server, err))
		}
	}
	return errs
}
