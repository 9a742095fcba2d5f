package replay

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
)

// Plan is what a replay is going to do: from where to where, over which files.
type Plan struct {
	Files        []string        `json:"files"`
	From         binlog.Position `json:"from"`
	To           binlog.Position `json:"to"` // the first position that is not replayed
	Transactions int64           `json:"transactions"`
	Statements   int64           `json:"statement_barriers"`
	DDL          int64           `json:"ddl_barriers"`
	Bytes        int64           `json:"bytes"`
	First        time.Time       `json:"first_commit"`
	Last         time.Time       `json:"last_commit"`
	Incomplete   string          `json:"incomplete_transaction,omitempty"`
	Open         string          `json:"open_end,omitempty"` // the log may go on behind To
	Refused      []Refusal       `json:"refused,omitempty"`
	Jumps        []Jump          `json:"jumps,omitempty"`   // in the numbers of the server's own transactions
	Skipped      []Skipped       `json:"skipped,omitempty"` // counted in Transactions

	set      *binlog.Set
	fromFile int
	toFile   int      // index of the file that To lies in
	skip     gtid.Set // transactions that the target has already
	hasSkip  bool
	maxEvent int
	before   gtid.Set // in the log before the start
	later    string   // of transactions before the start that are later than a stop in time
	restored bool     // Options.Restored
	made     made
}

// scope is what of the log is to be applied.
type scope struct {
	names  *Names // transactions that are left out
	behind bool   // others have been before
	only   *Only  // tables that are wanted
}

// makePlan finds start and stop in the log and checks everything between them.
// have is what the target says it contains.
func makePlan(ctx context.Context, set *binlog.Set, start Start, stop Stop, have gtid.Set, cut scope, opt Options, progress func(int64)) (*Plan, error) {
	p, limit := &Plan{set: set, made: made{}, restored: opt.Restored}, opt.Memory
	if err := p.findStart(start); err != nil {
		return nil, err
	}
	if err := p.checkStopFile(stop); err != nil {
		return nil, err
	}
	stop.has = start.Set
	found, err := survey(ctx, set, p.fromFile, p.From.Offset, stop, cut, limit, progress)
	if err == nil && stop.HasSet {
		if stop, err = p.stopOfSet(found, stop, have); err == nil {
			found, err = survey(ctx, set, p.fromFile, p.From.Offset, stop, cut, limit, func(int64) {})
		}
	}
	if err != nil {
		return nil, LogError(err)
	}
	if err := p.checkContinuity(found, stop); err != nil {
		return nil, err
	}
	if err := errors.Join(p.settle(found, stop), p.settleSkip(found, cut.behind)); err != nil {
		return nil, err
	}
	p.before = p.set.Heads[p.fromFile].Previous.Clone()
	if err := p.before.Union(found[0].before); err != nil {
		return nil, binlog.At(p.From, err)
	}
	if last := found[0].beforeLast; !stop.Time.IsZero() && last.After(stop.Time) {
		p.later = fmt.Sprintf("before %s there is a transaction that was committed at %s, later than the stop: a clock was set back, or a session had one of its own; a stop by GTID or position is exact",
			p.From, last.Format(time.RFC3339Nano))
	}
	if err := p.checkStart(found, start, stop); err != nil {
		return nil, err
	}
	return p, p.checkTarget(found, start, have, opt.Holds)
}

// LogError gives an error of reading the log its class and the operator's next step.
func LogError(err error) error {
	var path *fs.PathError
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &path):
		return fault.New(fault.Storage, err, "check the name of the file and whether this user may read it")
	case errors.Is(err, binlog.ErrGap):
		return fault.New(fault.Gap, err, "give all files of the log, whole")
	case errors.Is(err, binlog.ErrChecksum), errors.Is(err, binlog.ErrCorrupt), errors.Is(err, binlog.ErrTruncated):
		return fault.New(fault.Failed, err, "get this file again from where it was archived")
	case errors.Is(err, binlog.ErrEncrypted):
		return fault.New(fault.Failed, err, "decrypt it first: on MySQL read it with mysqlbinlog --read-from-remote-server --raw, on MariaDB likewise")
	case errors.Is(err, binlog.ErrRelayLog):
		return fault.New(fault.Failed, err, "give the source's own binary log files")
	case errors.Is(err, binlog.ErrNotBinlog):
		return fault.New(fault.Failed, err, "give binary log files, without the .index file")
	case errors.Is(err, binlog.ErrUnknown), errors.Is(err, binlog.ErrUnsupported):
		return fault.New(fault.Failed, err, "this version of lifeboat cannot replay it; replay up to this position with --until, then go on with mysqlbinlog")
	default:
		return err
	}
}

func (p *Plan) findStart(start Start) error {
	if start.HasSet {
		return p.findStartOfSet(start.Set)
	}
	i := p.set.Index(start.Position.File)
	if i < 0 {
		return fault.New(fault.Gap, fmt.Errorf("start %s: no such file among those given", start.Position), "give the file that the backup names, and all after it")
	}
	f := p.set.Files[i]
	if start.Position.Offset > int64(len(f.Data)) {
		return fault.New(fault.Gap, fmt.Errorf("start %s: the file has only %d bytes", start.Position, len(f.Data)), "is this the file that the backup names, and whole?")
	}
	p.fromFile = i
	p.From = f.At(max(start.Position.Offset, f.First))
	if f.First > start.Position.Offset && start.Position.Offset != 4 && start.Position.Offset != 0 {
		return fault.New(fault.Gap, fmt.Errorf("start %s: lies inside the file's first event", start.Position), "take the position from the backup")
	}
	return nil
}

// findStartOfSet starts at the last file before which nothing is missing.
func (p *Plan) findStartOfSet(have gtid.Set) error {
	if !have.IsEmpty() && have.Flavor() != p.set.Flavor() {
		return fault.New(fault.Gap, fmt.Errorf("start gtid:%s: a %s set, but the log is %s's", have.String(), have.Flavor(), p.set.Flavor()), "take the start from the backup")
	}
	p.fromFile = -1
	for i, h := range p.set.Heads {
		if h.HasPrevious && have.ContainsSet(h.Previous) {
			p.fromFile = i
		}
	}
	if p.fromFile < 0 {
		first := p.set.Heads[0]
		if !first.HasPrevious {
			return fault.New(fault.Gap, errors.New("the log has no GTIDs to start by"), "name the start as FILE:POSITION")
		}
		return fault.New(fault.Gap, fmt.Errorf("the log begins after %s, the target has %q: transactions between them are missing",
			first.Previous.String(), have.String()), "give earlier files too")
	}
	f := p.set.Files[p.fromFile]
	p.From, p.skip, p.hasSkip = f.At(f.First), have.Clone(), true
	return nil
}

func (p *Plan) checkStopFile(stop Stop) error {
	if stop.Position.IsZero() {
		return nil
	}
	i := p.set.Index(stop.Position.File)
	switch {
	case i < 0:
		return fault.New(fault.Gap, fmt.Errorf("stop %s: no such file among those given", stop.Position), "give that file too, and all before it")
	case i < p.fromFile || i == p.fromFile && stop.Position.Offset < p.From.Offset:
		return fault.New(fault.Gap, fmt.Errorf("stop %s lies before the start %s", stop.Position, p.From), "take a later stop, or restore an older backup")
	case stop.Position.Offset > int64(len(p.set.Files[i].Data)):
		return fault.New(fault.Gap, fmt.Errorf("stop %s lies beyond the end of the file (%d bytes)", stop.Position, len(p.set.Files[i].Data)), "take a position that the file has, or leave --until out to replay to the end")
	}
	return nil
}

// stopOfSet turns a GTID stop into a position: behind the last transaction of
// the set.
func (p *Plan) stopOfSet(found []*fileSurvey, stop Stop, have gtid.Set) (Stop, error) {
	reach := have.Clone()
	if p.hasSkip {
		reach = p.skip.Clone()
	}
	var end binlog.Position
	for _, s := range found {
		for _, m := range s.marks {
			end = s.file.At(m)
		}
		if err := reach.Union(s.ids); err != nil {
			return stop, fault.New(fault.Gap, fmt.Errorf("stop %s: %w", stop, err), "take GTIDs of this log")
		}
	}
	switch {
	case !end.IsZero():
	case have.ContainsSet(stop.Set) && (stop.Set.ContainsSet(have) || stop.Set.Contains(found[0].lastBefore)):
		return Stop{Position: p.From, has: stop.has}, nil // what was wanted is there
	case have.ContainsSet(stop.Set):
		return stop, fault.New(fault.Gap, fmt.Errorf("the target has more than %s already: %s", stop, have.String()), "take a later stop, or restore the backup again")
	default:
		return stop, fault.New(fault.Gap, fmt.Errorf("stop %s: none of these transactions is in the log behind the start", stop), "take GTIDs of this log, or give later files too")
	}
	if !reach.ContainsSet(stop.Set) {
		return stop, fault.New(fault.Gap, fmt.Errorf("stop %s is not reached: the log and the target together contain %s", stop, reach.String()), "give later files too")
	}
	return Stop{Position: end, has: stop.has}, nil
}

// checkContinuity compares what each file contains with what the next says was
// before it.
func (p *Plan) checkContinuity(found []*fileSurvey, stop Stop) error {
	if err := p.set.CheckClosed(p.fromFile, p.fromFile+len(found)-1); err != nil {
		return LogError(err)
	}
	for i, s := range found {
		n := p.fromFile + i
		if n+1 >= len(p.set.Files) || s.stop >= 0 {
			break
		}
		head, next := p.set.Heads[n], p.set.Heads[n+1]
		if !next.HasPrevious {
			continue
		}
		until := head.Previous.Clone()
		if err := errors.Join(until.Union(s.before), until.Union(s.ids)); err != nil {
			return fault.New(fault.Gap, binlog.At(s.file.At(0), err), "give the files of one log only")
		}
		if !until.Equal(next.Previous) && (!next.Previous.ContainsSet(until) || !until.ContainsSet(next.Previous)) {
			return fault.New(fault.Gap, fmt.Errorf("%w: %s ends with %s, but %s begins after %s", binlog.ErrGap,
				s.file.Name, until.String(), p.set.Files[n+1].Name, next.Previous.String()), "give the files between them too")
		}
	}
	return nil
}

// settle finds the end and adds up.
func (p *Plan) settle(found []*fileSurvey, stop Stop) error {
	last := len(found) - 1
	for i, s := range found {
		p.Files = append(p.Files, s.file.Name)
		p.Transactions += s.transactions
		p.Statements += s.statements
		p.DDL += s.ddl
		p.maxEvent = max(p.maxEvent, s.maxEvent)
		maps.Copy(p.made, s.made)
		p.Refused = append(p.Refused, s.refused...)
		p.Jumps = append(p.Jumps, s.jumps...)
		if p.First.IsZero() {
			p.First = s.first
		}
		if !s.last.IsZero() {
			p.Last = s.last
		}
		if s.stop >= 0 {
			if !s.stopExact {
				return fault.New(fault.Gap, fmt.Errorf("stop %s lies inside the transaction that ends at %d", stop, s.stop),
					fmt.Sprintf("a replay stops between transactions: take %d or %d", s.stopBefore, s.stop))
			}
			last = i
			p.To = s.file.At(s.stop)
			break
		}
		p.To = s.file.At(s.end)
	}
	p.toFile = p.fromFile + last
	p.Bytes = p.bytes()
	if s := found[len(found)-1]; s.incomplete != nil && last == len(found)-1 {
		p.Incomplete = s.incomplete.Error()
	}
	if s := found[last]; s.stop < 0 && s.file.Tail() == (binlog.Tail{}) {
		p.Open = fmt.Sprintf("%s ends without ROTATE or STOP: its server died or still writes it, or the file was cut off; what came later is not in it", s.file.Name)
	}
	return p.checkStop(found, stop)
}

func (p *Plan) bytes() int64 {
	var n int64
	for i := p.fromFile; i < p.toFile; i++ {
		n += int64(len(p.set.Files[i].Data))
	}
	return n + p.To.Offset - p.From.Offset
}

func (p *Plan) checkStop(found []*fileSurvey, stop Stop) error {
	reached := found[p.toFile-p.fromFile].stop >= 0
	switch {
	case stop.IsEnd() || reached && !stop.Time.IsZero() && (p.Transactions > 0 || p.restored):
		return nil
	case !stop.Time.IsZero() && reached:
		return fault.New(fault.Gap, fmt.Errorf("stop %s lies before the first transaction behind the start, committed at %s",
			stop, found[0].firstSeen().Format(time.RFC3339Nano)), "take a later stop, or restore an older backup")
	case !stop.Time.IsZero():
		return fault.New(fault.Gap, fmt.Errorf("stop %s lies beyond the end of the log, whose last transaction was committed at %s: later ones may be missing",
			stop, found[len(found)-1].lastSeen.Format(time.RFC3339Nano)), "give later files too, or leave --until out to replay to the end")
	case !reached:
		return fault.New(fault.Gap, fmt.Errorf("stop %s is not reached: the log ends at %s", stop, p.To), "give later files too, or leave --until out to replay to the end")
	default:
		return nil
	}
}

// checkStart compares a start by GTIDs with the log: it must not hold what comes
// after the stop, and the log must be of the same history. A MariaDB position
// does not say who has written what came before it (package gtid), so its own
// transactions are looked for, as a MariaDB source does for a replica. A stop
// that is a time may come before what the target has: servers commit a
// transaction at different times.
func (p *Plan) checkStart(found []*fileSurvey, start Start, stop Stop) error {
	if !start.HasSet {
		return nil
	}
	reach, met := p.before.Clone(), map[gtid.ID]bool{}
	for _, s := range found {
		if s.passed != nil && !stop.Position.IsZero() {
			return fault.New(fault.Gap, fmt.Errorf("the target contains %s, which comes after the stop in %s", s.passed, s.file.Name),
				"take a later stop, or restore an older backup")
		}
		if err := errors.Join(reach.Union(s.ids), reach.Union(s.rest)); err != nil {
			return err
		}
		for _, id := range s.met {
			met[id] = true
		}
	}
	early := !stop.Time.IsZero() && found[len(found)-1].stop >= 0
	for _, h := range start.Set.Heads() {
		if h.Flavor != gtid.MariaDB || met[h] || listed(p.set.Heads[p.fromFile].List, h) {
			continue
		}
		if reach.Contains(h) {
			return fault.New(fault.Gap, fmt.Errorf("the target has %s, and the log has another transaction in its place: it goes on from another history", h),
				"take the log of a server that has that transaction, or restore up to before it")
		}
		if early && slices.ContainsFunc(reach.Heads(), func(r gtid.ID) bool { return r.Domain == h.Domain }) {
			return fault.New(fault.Gap, fmt.Errorf("the target has %s, which the log does not have before the stop", h), "take a later stop, or restore an older backup")
		}
	}
	return nil
}

// listed reports whether a binlog state tells of a transaction.
func listed(list []gtid.ID, id gtid.ID) bool {
	return slices.ContainsFunc(list, func(l gtid.ID) bool { return l.Domain == id.Domain && l.Server == id.Server && l.Seq >= id.Seq })
}

// checkTarget compares the GTID state of the target with the start: a start
// that is too early or too late shows here before anything is written.
func (p *Plan) checkTarget(found []*fileSurvey, start Start, have gtid.Set, holds string) error {
	if start.HasSet || have.IsEmpty() {
		return nil
	}
	if p.contained(found, have) {
		p.skip, p.hasSkip, p.Transactions = have.Clone(), true, 0
		return nil // an earlier run was finalized: nothing is left to do
	}
	for _, s := range found {
		for _, id := range s.sample {
			if have.Contains(id) {
				return fault.New(fault.Gap, fmt.Errorf("start %s is too early: the target contains transaction %s already, which comes after it", start, id),
					"take the position from the backup, or --from auto")
			}
		}
	}
	before := p.before
	if !related(have, before) {
		return nil // the log has GTIDs that the target has never seen: nothing to compare
	}
	said, err := gtid.ParseSet(have.Flavor(), holds)
	if err == nil {
		err = said.Union(have)
	}
	if err != nil {
		return fmt.Errorf("the GTIDs of what was restored: %w", err)
	}
	if !said.ContainsSet(before) {
		return fault.New(fault.Gap, fmt.Errorf("start %s is too late: before it the log has %s, the target only has %s", start, before.String(), have.String()),
			"take the position from the backup, or --from auto")
	}
	return nil
}

// contained reports whether the target contains all transactions of the plan.
func (p *Plan) contained(found []*fileSurvey, have gtid.Set) bool {
	some := false
	for _, s := range found {
		if s.anonymous || !have.ContainsSet(s.ids) {
			return false
		}
		some = some || !s.ids.IsEmpty()
	}
	return some
}

// related reports whether the target has taken part in the log's history at
// all: a logical dump without GTIDs has not, and can't be compared.
func related(have, log gtid.Set) bool {
	if have.Flavor() != log.Flavor() {
		return false
	}
	if log.Flavor() == gtid.MariaDB {
		for _, h := range have.Heads() {
			for _, l := range log.Heads() {
				if h.Domain == l.Domain {
					return true
				}
			}
		}
		return false
	}
	rest := log.Clone()
	return rest.Subtract(have) == nil && rest.Count() != log.Count()
}
