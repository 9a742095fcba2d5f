package restore_test

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/restore"
)

// change is a transaction of the model: who it is, whatever its GTID says.
type change struct {
	who  int
	id   gtid.ID
	at   time.Time // committed, where it was written first
	here time.Time // committed on this server
}

// modelFile is a file of a server's log.
type modelFile struct {
	name     string
	id       string
	begun    time.Time
	previous []gtid.ID // by MariaDB's order; as a set on MySQL
	changes  []change
	lost     bool // was never archived
	next     string
}

// member is a server of the model.
type member struct {
	name  string
	n     int
	done  []change // all that it has, also from before a RESET
	ids   []gtid.ID
	files []*modelFile
	dead  bool
}

// history is what servers have done, with failovers, gaps and RESETs.
type history struct {
	r       *rand.Rand
	flavor  gtid.Flavor
	members []*member
	source  *member
	now     time.Time
	next    int // who
	seq     map[int]uint64
	resets  int
	backups []backup.Manifest
	states  map[string][]change // of backups
	log     []string
}

const (
	headEnd    = 100
	changeSize = 100
)

func newHistory(r *rand.Rand, flavor gtid.Flavor) *history {
	h := &history{r: r, flavor: flavor, now: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), seq: map[int]uint64{}, states: map[string][]change{}}
	for n := range 2 + r.IntN(2) {
		m := &member{name: string(rune('a' + n)), n: n + 1}
		h.members = append(h.members, m)
		h.rotate(m)
	}
	h.source = h.members[0]
	h.everywhere()
	for range 15 + r.IntN(25) {
		h.step()
	}
	return h
}

func (h *history) tick(d time.Duration) { h.now = h.now.Add(d) }

func (h *history) step() {
	h.tick(time.Minute)
	m := h.members[h.r.IntN(len(h.members))]
	switch k := h.r.IntN(40); {
	case k < 14:
		h.write(1 + h.r.IntN(4))
	case k < 24:
		h.replicate(m, 1+h.r.IntN(6))
	case k < 30:
		h.rotate(m)
	case k < 34:
		h.backup(m)
	case k < 36:
		h.failover()
	case k < 39:
		h.lose(m)
	case h.resets == 0:
		h.reset()
	}
}

func (h *history) say(format string, args ...any) {
	h.log = append(h.log, fmt.Sprintf(format, args...))
}

func (m *member) file() *modelFile { return m.files[len(m.files)-1] }

func (h *history) rotate(m *member) {
	if m.dead {
		return
	}
	f := &modelFile{name: fmt.Sprintf("bin.%06d", len(m.files)+1), id: fmt.Sprintf("%s%d.%d", m.name, h.resets, len(m.files)), begun: h.now, previous: slices.Clone(m.ids)}
	if len(m.files) > 0 {
		m.file().next = f.name
	}
	m.files = append(m.files, f)
}

func (m *member) commit(c change, now time.Time) {
	c.here = now
	m.done, m.ids = append(m.done, c), append(m.ids, c.id)
	m.file().changes = append(m.file().changes, c)
}

func (h *history) write(n int) {
	for range n {
		h.tick(time.Second)
		s := h.source
		key := s.n
		if h.flavor == gtid.MariaDB {
			// The next number of the domain, as far as the server knows.
			key = 0
			h.seq[0] = uint64(len(s.ids))
		}
		h.seq[key]++
		h.next++
		s.commit(change{who: h.next, id: h.id(s.n, h.seq[key]), at: h.now}, h.now)
		h.say("%s writes %s as %d", s.name, s.ids[len(s.ids)-1], h.next)
	}
}

func (h *history) id(n int, seq uint64) gtid.ID {
	if h.flavor == gtid.MariaDB {
		return gtid.ID{Flavor: gtid.MariaDB, Server: uint32(n), Seq: seq}
	}
	return gtid.ID{Flavor: gtid.MySQL, UUID: [16]byte{15: byte(n)}, Seq: seq}
}

// replicate brings up to n changes of the source to a member; one that has what
// the source never had stays behind.
func (h *history) replicate(m *member, n int) {
	if m.dead || m == h.source {
		return
	}
	had := len(m.done)
	if had > len(h.source.done) || !slices.Equal(whos(m.done), whos(h.source.done[:had])) {
		return
	}
	for _, c := range h.source.done[had:min(had+n, len(h.source.done))] {
		m.commit(c, h.now)
	}
	h.say("%s has %d", m.name, len(m.done))
}

func whos(list []change) (out []int) {
	for _, c := range list {
		out = append(out, c.who)
	}
	return out
}

func (h *history) failover() {
	for _, m := range h.members {
		if m != h.source && !m.dead {
			h.source.dead = true
			h.source = m
			h.say("failover to %s, which has %d", m.name, len(m.done))
			return
		}
	}
}

// lose makes a file one that was never archived; the first one behind a RESET
// stays, since nothing but it tells of that.
func (h *history) lose(m *member) {
	if f := m.files[h.r.IntN(len(m.files))]; h.resets == 0 || f.name != "bin.000001" {
		f.lost = true
		h.say("%s of %s is lost", f.name, m.name)
	}
}

// archivedOf is a file of a server as the archive has it. Files of one server,
// in the order in which they were written, with those from before a RESET.
func archivedOf(server string, f *modelFile) archive.File {
	out := archive.File{Closed: f.next != ""}
	previous := setOf(f.previous).String()
	out.Summary = archive.Summary{Server: server, File: f.name, ID: f.id, Begun: f.begun, Start: 4, Previous: &previous, Next: f.next,
		End: int64(headEnd + changeSize*len(f.changes)), Archived: f.begun}
	var ids []gtid.ID
	for _, c := range f.changes {
		out.Transactions++
		ids = append(ids, c.id)
		if out.First.IsZero() {
			out.First = c.here
		}
		out.Last = c.here
	}
	out.GTIDs = setOf(ids).String()
	if len(ids) > 0 && ids[0].Flavor == gtid.MariaDB || len(f.previous) > 0 && f.previous[0].Flavor == gtid.MariaDB {
		out.Streams = gtid.StreamsOf(slices.Concat(f.previous, ids)).String()
	}
	out.Stored = out.End
	return out
}

func setOf(ids []gtid.ID) (set gtid.Set) {
	for _, id := range ids {
		if err := set.Add(id); err != nil {
			panic(err)
		}
	}
	return set
}

// reset is one of all servers: GTIDs begin anew, and so do the names of files.
func (h *history) reset() {
	for _, m := range h.members {
		if m.dead || !slices.Equal(whos(m.done), whos(h.source.done)) {
			return
		}
	}
	h.resets++
	h.tick(3 * time.Hour)
	clear(h.seq)
	for _, m := range h.members {
		m.ids = nil
		old := m.files
		m.files = nil
		h.rotate(m)
		m.files = slices.Concat(old, m.files)
		m.file().name = "bin.000001"
	}
	h.say("RESET")
	h.everywhere()
}

// everywhere: a state without GTIDs could not be told from one of servers that
// have none.
func (h *history) everywhere() {
	h.write(2)
	for _, m := range h.members {
		h.replicate(m, 2)
	}
}

func (h *history) backup(m *member) {
	if m.dead {
		return
	}
	id := fmt.Sprintf("b%d", len(h.backups))
	b := backup.Manifest{ID: id, Kind: backup.Full, Server: m.name, Flavor: h.flavor.String(), File: m.file().name,
		Offset: int64(headEnd + changeSize*len(m.file().changes)), GTIDs: setOf(m.ids).String(), Finished: h.now}
	h.backups, h.states[id] = append(h.backups, b), slices.Clone(m.done)
	h.say("backup %s of %s at %d: %s:%d %s", id, m.name, len(m.done), b.File, b.Offset, b.GTIDs)
}

func (h *history) inventory() restore.Inventory {
	inv := restore.Inventory{Repository: "r", Set: "s", Backups: h.backups}
	for _, m := range h.members {
		l := archive.Log{Server: m.name}
		for _, f := range m.files {
			if f.lost {
				continue
			}
			a := archivedOf(m.name, f)
			a.Flavor = h.flavor.String()
			l.Files = append(l.Files, a)
		}
		if len(l.Files) > 0 {
			inv.Logs = append(inv.Logs, l)
		}
	}
	return inv
}

func (h *history) member(name string) *member {
	return h.members[slices.IndexFunc(h.members, func(m *member) bool { return m.name == name })]
}

var errOther = errors.New("replay finds another history")

// replay is what replay does with files: it skips what the target has, and on
// MariaDB looks for the transactions that the start names.
func (h *history) replay(have []change, ids gtid.Set, files []*modelFile, from binlog.Position, stop func(change) bool) ([]change, gtid.Set, error) {
	have, ids = slices.Clone(have), ids.Clone()
	start := ids.Clone()
	met := map[gtid.ID]bool{}
	if from.File == "" {
		for _, id := range files[0].previous {
			met[id] = true
		}
	}
	for i, f := range files {
		for k, c := range f.changes {
			if stop(c) {
				for _, x := range f.changes[k:] {
					met[x.id] = true
				}
				return have, ids, h.foreign(from, start, met)
			}
			if i == 0 && from.File != "" && int64(headEnd+changeSize*k) < from.Offset {
				continue
			}
			if from.File == "" && start.Contains(c.id) {
				met[c.id] = true
				continue
			}
			if err := h.foreign(from, start, met); err != nil {
				return nil, ids, err
			}
			have = append(have, c)
			if err := ids.Add(c.id); err != nil {
				return nil, ids, err
			}
		}
	}
	return have, ids, nil
}

// foreign reports that a MariaDB start by GTIDs is not of the log's history.
func (h *history) foreign(from binlog.Position, start gtid.Set, met map[gtid.ID]bool) error {
	for _, head := range start.Heads() {
		if from.File == "" && h.flavor == gtid.MariaDB && !met[head] {
			return errOther
		}
	}
	return nil
}

// carryOut does what a plan says.
func (h *history) carryOut(p *restore.Plan, state []change, stop func(change) bool) (have []change, err error) {
	have = state
	ids, _ := gtid.ParseSet(h.flavor, p.Base.GTIDs)
	for n, l := range p.Legs {
		var files []*modelFile
		m := h.member(l.Server)
		for _, a := range l.Files {
			files = append(files, m.files[slices.IndexFunc(m.files, func(f *modelFile) bool { return f.id == a.ID })])
		}
		var from binlog.Position
		if !strings.HasPrefix(l.From, "gtid:") {
			from = binlog.Position{File: p.Base.File, Offset: p.Base.Offset}
		}
		ends := stop
		if n < len(p.Legs)-1 {
			ends = func(change) bool { return false }
		}
		if have, ids, err = h.replay(have, ids, files, from, ends); err != nil {
			return nil, err
		}
	}
	return have, nil
}

// prefix is how many changes of a server make up a state; -1: it is none of its.
func (m *member) prefix(have []change) int {
	if len(have) > len(m.done) {
		return -1
	}
	a, b := whos(have), whos(m.done[:len(have)])
	slices.Sort(a)
	slices.Sort(b)
	if !slices.Equal(a, b) {
		return -1
	}
	return len(have)
}

// way is a chain that brute force has found: what it brings, and in how many legs.
type way struct {
	have []change
	legs int
	last *member
}

// ways tries all logs in all orders, from each of their files on, and keeps what
// is a state of the server whose log came last. It knows who each change is.
func (h *history) ways(base backup.Manifest) (list []way) {
	seen := map[string]int{}
	var try func(have []change, legs int)
	try = func(have []change, legs int) {
		for _, m := range h.members {
			for _, files := range m.stretches() {
				first := slices.IndexFunc(files, func(f *modelFile) bool { return m.covers(have, f) })
				if first < 0 {
					continue
				}
				reach := m.upTo(files[len(files)-1])
				if !contains(reach, have) || legs > 0 && len(reach) == len(have) {
					continue
				}
				list = append(list, way{reach, legs + 1, m})
				if key := fmt.Sprint(m.name, len(reach)); seen[key] == 0 || legs+1 < seen[key] {
					seen[key] = legs + 1
					try(reach, legs+1)
				}
			}
		}
	}
	try(h.states[base.ID], 0)
	return list
}

// stretches are the archived files of a server without gaps between them.
func (m *member) stretches() (list [][]*modelFile) {
	var now []*modelFile
	for i, f := range m.files {
		if f.lost || i > 0 && m.files[i-1].next != f.name {
			list, now = append(list, now), nil
		}
		if !f.lost {
			now = append(now, f)
		}
	}
	return slices.DeleteFunc(append(list, now), func(l []*modelFile) bool { return len(l) == 0 })
}

// upTo is what a server has at the end of a file.
func (m *member) upTo(f *modelFile) []change {
	n := len(m.done)
	for _, later := range slices.Backward(m.files) {
		if later == f {
			break
		}
		n -= len(later.changes)
	}
	return m.done[:n]
}

// covers reports whether a state has all that a server had before a file.
func (m *member) covers(have []change, f *modelFile) bool {
	before := m.upTo(f)
	return contains(have, before[:len(before)-len(f.changes)])
}

func contains(all, some []change) bool {
	has := map[int]bool{}
	for _, c := range all {
		has[c.who] = true
	}
	return !slices.ContainsFunc(some, func(c change) bool { return !has[c.who] })
}

// toTheEnd is the twin's answer: the least number of legs that bring all that
// any log can; 0: there is no such way.
func (h *history) toTheEnd(base backup.Manifest) (legs int) {
	ways := h.ways(base)
	slices.SortStableFunc(ways, func(a, b way) int { return cmp.Compare(a.legs, b.legs) })
next:
	for _, w := range ways {
		for _, other := range ways {
			if !contains(w.have, other.have) {
				continue next
			}
		}
		for _, m := range h.members {
			for _, f := range slices.Backward(m.files) {
				if f.lost {
					continue
				}
				all := m.upTo(f)
				ahead := m == w.last || contains(all, w.have) // not of another past
				if !contains(w.have, all) && (ahead || !old(base, f.begun) || !old(base, all[len(all)-1].here)) {
					continue next
				}
				break
			}
		}
		return w.legs
	}
	return 0
}

// parted reports whether a server has what the source never had: on MariaDB its
// position may look like a later one.
func (h *history) parted() bool {
	return slices.ContainsFunc(h.members, func(m *member) bool { return !contains(h.source.done, m.done) })
}

// old reports that something was clearly before a backup.
func old(base backup.Manifest, at time.Time) bool { return at.Before(base.Finished.Add(-time.Minute)) }

// histories runs a check over n random histories with each of their backups.
func histories(t *testing.T, flavor gtid.Flavor, n int, check func(h *history, b backup.Manifest)) {
	t.Helper()
	if long {
		n *= 100
	}
	for seed := range n {
		h := newHistory(rand.New(rand.NewPCG(uint64(seed), 1)), flavor)
		for _, b := range h.backups {
			check(h, b)
			if t.Failed() {
				t.Fatalf("seed %d, backup %s:\n%s", seed, b.ID, strings.Join(h.log, "\n"))
			}
		}
	}
}

func legsOf(p *restore.Plan) (text string) {
	for _, l := range p.Legs {
		text += fmt.Sprintf("%s %v from %s to %s; ", l.Server, l.Names, l.From, l.GTIDs)
	}
	return text
}

// TestLegsToTheEnd: from each backup of random histories with failovers, lost
// files and RESETs the plan is what brute force finds, which knows more than the
// catalog: it brings all that any log can, in as few legs, or is refused. What
// it brings is a state of the server whose log comes last.
func TestLegsToTheEnd(t *testing.T) {
	for _, flavor := range []gtid.Flavor{gtid.MySQL, gtid.MariaDB} {
		t.Run(flavor.String(), func(t *testing.T) {
			seen := map[string]int{}
			histories(t, flavor, 1500, func(h *history, b backup.Manifest) {
				p, err := restore.MakePlan(h.inventory(), restore.Request{Backup: b.ID})
				want := h.toTheEnd(b)
				if err != nil {
					seen["refused"]++
					if want > 0 && h.resets == 0 && (flavor == gtid.MySQL || !h.parted()) {
						t.Errorf("refused, and %d legs lead to the end: %v", want, err)
					}
					if fault.ClassOf(err) != fault.Gap {
						t.Errorf("class %d: %v", fault.ClassOf(err), err)
					}
					if advice := untilOf(err); advice != "" {
						seen["advised"]++
						if _, again := restore.MakePlan(h.inventory(), restore.Request{Backup: b.ID, Until: advice}); again != nil {
							t.Errorf("the advice is --until %s, which is refused as well: %v\n%v", advice, again, err)
						}
					}
					return
				}
				if len(p.Legs) == 0 {
					if len(h.inventory().Logs) > 0 {
						t.Error("no legs")
					}
					return
				}
				have, err := h.carryOut(p, h.states[b.ID], func(change) bool { return false })
				if errors.Is(err, errOther) && flavor == gtid.MariaDB {
					seen["refused by replay"]++
					return // positions do not tell; package replay looks (TestOtherHistory)
				}
				last := p.Legs[len(p.Legs)-1]
				if err != nil || h.member(last.Server).prefix(have) < 0 {
					t.Errorf("%v: it comes to %v, %s has %v", err, whos(have), last.Server, whos(h.member(last.Server).done))
				}
				if want != len(p.Legs) {
					t.Errorf("%d legs, brute force takes %d: %s", len(p.Legs), want, legsOf(p))
				}
				seen[fmt.Sprint(len(p.Legs), " legs")]++
			})
			t.Log(seen)
			if seen["refused"] == 0 || seen["advised"] == 0 || seen["1 legs"] == 0 || seen["2 legs"] == 0 || seen["3 legs"] == 0 {
				t.Error("the histories do not have everything")
			}
		})
	}
}

// untilOf is the stop that an error advises; none: "".
func untilOf(err error) string {
	_, text, _ := strings.Cut(err.Error(), "with --until ")
	until, _, _ := strings.Cut(text, " it comes back")
	return until
}

// TestLegsToAStop: a plan for a stop that is a time or GTIDs comes to a state of
// the server whose log comes last, with everything up to the stop and nothing
// behind it.
func TestLegsToAStop(t *testing.T) {
	for _, flavor := range []gtid.Flavor{gtid.MySQL, gtid.MariaDB} {
		t.Run(flavor.String(), func(t *testing.T) {
			seen := map[string]int{}
			histories(t, flavor, 1500, func(h *history, b backup.Manifest) {
				m := h.members[h.r.IntN(len(h.members))]
				n := h.r.IntN(len(m.done))
				at := m.done[n].at.Add(time.Duration(h.r.IntN(300)) * time.Second)
				h.stopAt(t, b, seen, at.Format(time.RFC3339), func(c change) bool { return c.here.After(at) }, func(have []change, c *change) error {
					for _, x := range have[len(h.states[b.ID]):] {
						if x.at.After(at) {
							return fmt.Errorf("%d of %s is in it", x.who, x.at)
						}
					}
					if c == nil || !c.here.After(at) {
						return fmt.Errorf("it does not go as far: %v", c)
					}
					return nil
				})
				if h.resets > 0 || n < 2 || h.first(m) > n {
					return
				}
				want := m.ids[:n+1]
				h.stopAt(t, b, seen, "gtid:"+setOf(want).String(), nil, func(have []change, _ *change) error {
					if !contains(have, m.done[:n+1]) && flavor == gtid.MySQL {
						return fmt.Errorf("it does not have %v", whos(m.done[:n+1]))
					}
					return nil
				})
			})
			t.Log(seen)
			for _, k := range []string{"refused", "time 1", "time 2", "gtid 1", "gtid 2"} {
				if seen[k] == 0 {
					t.Errorf("the histories have no %q", k)
				}
			}
		})
	}
}

// first is the number of the change with which a server's GTIDs begin.
func (h *history) first(m *member) int { return len(m.done) - len(m.ids) }

// stopAt plans for a stop and carries it out; behind is nil for GTIDs, where it
// is the last transaction of the set after which a replay stops.
func (h *history) stopAt(t *testing.T, b backup.Manifest, seen map[string]int, until string, behind func(change) bool, right func(have []change, next *change) error) {
	t.Helper()
	p, err := restore.MakePlan(h.inventory(), restore.Request{Backup: b.ID, Until: until})
	if err != nil {
		seen["refused"]++
		return
	}
	if len(p.Legs) == 0 {
		return
	}
	last := p.Legs[len(p.Legs)-1]
	m := h.member(last.Server)
	if behind == nil {
		set, _ := gtid.Parse(strings.TrimPrefix(until, "gtid:"))
		end := 0
		for i, c := range m.done[h.first(m):] {
			if set.Contains(c.id) {
				end = i + 1
			}
		}
		done := whos(m.done[:h.first(m)+end])
		behind = func(c change) bool { return !slices.Contains(done, c.who) }
	}
	have, err := h.carryOut(p, h.states[b.ID], behind)
	if errors.Is(err, errOther) && h.flavor == gtid.MariaDB {
		seen["refused by replay"]++
		return
	}
	n := m.prefix(have)
	if err != nil || n < 0 {
		t.Errorf("until %s: %v: it comes to %v, %s has %v\n%s", until, err, whos(have), m.name, whos(m.done), legsOf(p))
		return
	}
	var next *change
	if n < len(m.done) {
		next = &m.done[n]
	}
	if err := right(have, next); err != nil {
		t.Errorf("until %s: %v: it comes to %v, %s has %v\n%s", until, err, whos(have), m.name, whos(m.done), legsOf(p))
	}
	seen[fmt.Sprintf("%s %d", map[bool]string{true: "gtid", false: "time"}[strings.HasPrefix(until, "gtid:")], len(p.Legs))]++
}

// TestBegunLog: a restore that goes on stays in the log that it has begun, from
// the same file on, whatever has been archived or has expired since.
func TestBegunLog(t *testing.T) {
	for _, flavor := range []gtid.Flavor{gtid.MySQL, gtid.MariaDB} {
		went := 0
		histories(t, flavor, 300, func(h *history, b backup.Manifest) {
			then, now := h.inventory(), h.inventory()
			for i, l := range then.Logs { // less was archived
				then.Logs[i].Files = l.Files[:max(1, len(l.Files)-h.r.IntN(3))]
			}
			p, err := restore.MakePlan(then, restore.Request{Backup: b.ID})
			if err != nil || len(p.Legs) == 0 {
				return
			}
			first := p.Legs[0].Files[0]
			for i, l := range now.Logs { // what is not needed has expired
				if n := slices.IndexFunc(l.Files, func(f archive.File) bool { return f.ID == first.ID }); n >= 0 {
					now.Logs[i].Files = l.Files[h.r.IntN(n+1):]
				}
			}
			begun := restore.Begun{Server: first.Server, File: first.File, ID: first.ID}
			p, err = restore.MakePlan(now, restore.Request{Base: &p.Base, Begun: &begun})
			if err == nil && (len(p.Legs) == 0 || p.Legs[0].Files[0].ID != first.ID) {
				t.Errorf("it was in %s, and goes on in %s", first.File, legsOf(p))
			}
			if err == nil {
				went++
			}
			begun.ID = "another"
			if _, err := restore.MakePlan(now, restore.Request{Base: &restore.Base{Server: b.Server, File: b.File, Offset: b.Offset, GTIDs: b.GTIDs, Flavor: b.Flavor, At: b.Finished}, Begun: &begun}); err == nil {
				t.Error("the log that it was in is not there, and it goes on in another")
			}
		})
		if went == 0 {
			t.Error("none goes on")
		}
	}
}
