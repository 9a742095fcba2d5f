package report

import (
	"fmt"
	"html/template"
	"strings"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/units"
)

// page is what the template writes down: nothing is decided there.
type page struct {
	Title    string
	Kind     string // Restore or Drill
	Policy   string
	Style    template.CSS
	Verdict  verdict
	Facts    []fact
	Clock    *clock
	Timeline *timeline
	Chain    *chain
	Log      *logPart
	Proofs   []proof
	Warnings texts
	Notes    texts
	Lanes    lanes
	History  *history
	Begun    string
}

// fact is a value with its name. What is empty is not shown.
type fact struct {
	Name string
	Time string
	Code string // a name or a number that is copied
	Text string
	GTID gtids
}

// proof is one line of what was proven.
type proof struct {
	Check
	Mark, Word string
}

// texts are lines, the first of them shown.
type texts struct {
	Shown, Rest []string
	Left        string // how many there are behind Shown
	More        string // and what is said of those behind Rest, if there are any
}

// lanes are tables that were replayed verbatim.
type lanes struct {
	Shown, Rest []lane
	Left, More  string // as of texts
}

type lane struct{ Table, Reason string }

// chain is the backups that were unpacked.
type chain struct {
	Caption string
	Backups []link
	Rest    string // how many more there are
}

// logPart is the log that was replayed.
type logPart struct {
	Caption string
	Facts   []fact
}

type link struct {
	ID, Kind, Finished, Sizes, Age string
}

// What is shown of long lists, and what of them can be opened.
const (
	mostShown = 10
	mostRest  = 500

	mostBackups = 50
)

func newPage(in *Input) *page {
	p := &page{Kind: "Restore", Proofs: newProofs(in)}
	if in.Drill != nil {
		p.Kind = "Drill"
	}
	p.Verdict = newVerdict(in, p.Proofs)
	p.Title = joined(" · ", p.Verdict.Head, clean(in.Set), isoSecond(in.Begun))
	p.Facts = facts(in)
	p.Clock, p.Timeline, p.Chain, p.Log = newClock(in), newTimeline(in), newChain(in), newLog(in)
	p.Warnings, p.Notes, p.Lanes = newTexts(warnings(in)), newTexts(notes(in)), newLanes(in)
	p.History = newHistory(in)
	p.Begun = isoSecond(in.Begun)
	return p
}

// facts say what was brought back, and where it is.
func facts(in *Input) []fact {
	var list []fact
	at, exact := moment(in)
	age := ""
	if d := in.Begun.Sub(at).Seconds(); !at.IsZero() && !in.Begun.IsZero() && d >= 0 {
		age = span(d) + " before this run began"
	}
	name := map[bool]string{true: "Last transaction", false: "Backup finished"}[exact]
	if !at.IsZero() && in.Finished {
		list = append(list, fact{Name: name, Time: iso(at), Text: age})
	}
	list = append(list, wanted(in))
	if r := in.Reached; r != nil {
		if r.File != "" {
			list = append(list, fact{Name: "Position", Code: position(r.File, r.Offset), Text: of(r.Server)})
		}
		if r.GTIDs != "" {
			list = append(list, fact{Name: "GTIDs", GTID: newGTIDs(r.GTIDs)})
		}
	}
	if in.Dir != "" {
		list = append(list, fact{Name: "Data directory", Code: clean(in.Dir), Text: on(in.Host)})
	}
	if v := version(in); v != "" {
		list = append(list, fact{Name: "Server", Text: v})
	}
	return list
}

// wanted is what was asked for; a time in UTC, too.
func wanted(in *Input) fact {
	f := fact{Name: "Asked for", Text: "the end of the archived log"}
	if in.Until == "" {
		return f
	}
	if t, err := time.Parse(time.RFC3339Nano, in.Until); err == nil {
		f.Time, f.Text = iso(t), "and everything committed before"
		if in.Until != f.Time {
			f.Text = "written as " + clean(in.Until)
		}
		return f
	}
	f.Text = ""
	if set, ok := strings.CutPrefix(in.Until, "gtid:"); ok {
		f.GTID = newGTIDs(set)
	} else {
		f.Code = cut(clean(in.Until), mostText)
	}
	return f
}

func of(server string) string {
	if server == "" {
		return ""
	}
	return "in the log of " + clean(server)
}

func on(host string) string {
	if host == "" {
		return ""
	}
	return "on " + clean(host)
}

// version is that of the server that ran, else that of the last backup's.
func version(in *Input) string {
	if in.ServerVersion == "" && len(in.Backups) > 0 {
		return clean(in.Backups[len(in.Backups)-1].ServerVersion)
	}
	return clean(in.ServerVersion)
}

func newChain(in *Input) *chain {
	if len(in.Backups) == 0 {
		return nil
	}
	c := &chain{}
	var stored int64
	for _, b := range in.Backups {
		stored += b.StoredBytes
		l := link{ID: clean(b.ID), Kind: joined(", ", clean(b.Kind), clean(b.Driver)), Finished: isoSecond(b.Finished), Sizes: size(b.StoredBytes) + " stored"}
		if b.DataBytes > 0 {
			l.Sizes += ", " + size(b.DataBytes) + " unpacked"
		}
		if d := in.Begun.Sub(b.Finished).Seconds(); !b.Finished.IsZero() && !in.Begun.IsZero() && d >= 0 {
			l.Age = span(d) + " old"
		}
		if len(c.Backups) < mostBackups {
			c.Backups = append(c.Backups, l)
		}
	}
	if n := len(in.Backups) - len(c.Backups); n > 0 {
		c.Rest = "and " + counted(int64(n), "later increment")
	}
	c.Caption = counted(int64(len(in.Backups)), "backup") + ", " + size(stored)
	if in.Repository != "" {
		c.Caption += " in repository " + clean(in.Repository)
	}
	return c
}

// newLog is what was replayed, or would have been.
func newLog(in *Input) *logPart {
	if len(in.Logs) == 0 && in.Replay == nil {
		return nil
	}
	l := &logPart{Caption: "what was replayed on top of the backup", Facts: logFacts(in)}
	if in.Replay == nil || !in.Replay.Finished {
		l.Caption = "what was to be replayed on top of the backup"
	}
	return l
}

func logFacts(in *Input) []fact {
	var list []fact
	for _, l := range in.Logs {
		if l.Server != "" {
			list = append(list, fact{Name: "Server", Code: clean(l.Server)})
		}
		list = append(list, fact{Name: "Files", Text: joined(", ", counted(int64(len(l.Files)), "file"), size(l.Bytes), stored(l)), Code: between(l.Files)})
	}
	r := in.Replay
	if r == nil {
		return list
	}
	if p := r.Plan; p != nil {
		list = append(list,
			fact{Name: "From", Code: position(p.From.File, p.From.Offset)},
			fact{Name: "To", Code: position(p.To.File, p.To.Offset)})
		if !p.First.IsZero() {
			list = append(list, fact{Name: "First commit", Time: iso(p.First)}, fact{Name: "Last commit", Time: iso(p.Last)})
		}
	}
	per := func(n int64) string {
		if r.Resumed || r.Seconds <= 0 || n == 0 {
			return "" // the counts are not those of this run
		}
		return units.Count(int64(float64(n)/r.Seconds+0.5)) + " per second"
	}
	list = append(list,
		fact{Name: "Transactions", Text: joined(", ", counted(r.Transactions, "transaction"), per(r.Transactions))},
		fact{Name: "Row changes", Text: joined(", ", counted(r.RowChanges, "row change"), per(r.RowChanges))},
		fact{Name: "Net rows", Text: joined(", ", counted(r.NetRows, "row")+" written", share(r.NetRows, r.RowChanges))})
	if r.Barriers > 0 {
		list = append(list, fact{Name: "Executed alone", Text: counted(r.Barriers, "DDL or other statement")})
	}
	return list
}

func stored(l Log) string {
	if l.StoredBytes == 0 {
		return ""
	}
	return size(l.StoredBytes) + " stored"
}

func share(part, whole int64) string {
	if whole <= 0 || part > whole {
		return ""
	}
	return percent(float64(part), float64(whole)) + " of the changes"
}

// between names the first and the last of some files.
func between(files []string) string {
	switch len(files) {
	case 0:
		return ""
	case 1:
		return clean(files[0])
	default:
		return clean(files[0]) + " … " + clean(files[len(files)-1])
	}
}

func newProofs(in *Input) (list []proof) {
	add := func(c Check) {
		p := proof{Check{cut(clean(c.Name), mostText), c.Done, cut(clean(c.Text), mostError)}, marks[good], "proven"}
		if !c.Done {
			p.Mark, p.Word = marks[poor], "not proven"
		}
		list = append(list, p)
	}
	if in.Replay != nil {
		for _, c := range in.Replay.Verified {
			add(Check(c))
		}
	}
	if in.Drill != nil {
		for _, c := range in.Drill.Checks {
			add(c)
		}
	}
	return list
}

// warnings are those of the plan, and what the report itself has to warn of.
func warnings(in *Input) []string {
	list := in.Warnings
	if r := in.Replay; r != nil && r.Finished && !r.Finalized {
		list = append([]string{"The target is not ready for use: the replay was not finalized, and its checkpoint is still there."}, list...)
	}
	return list
}

// notes say how this run was special, and what the replay noted.
func notes(in *Input) []string {
	var list []string
	if in.Resumed {
		list = append(list, "This run went on with one that was interrupted: times and steps are those of this run only.")
	}
	if in.Forward {
		list = append(list, "A restore that was done before was moved forward, from "+base(in.Base)+".")
	}
	if in.Replay != nil {
		list = append(list, in.Replay.Notes...)
	}
	return list
}

func base(b *State) string {
	switch {
	case b == nil:
		return "the state that it had"
	case b.File != "":
		return position(b.File, b.Offset)
	default:
		return newGTIDs(b.GTIDs).Short
	}
}

func newTexts(list []string) texts {
	shown, rest, more := parts(list)
	t := texts{Left: units.Count(int64(len(list) - len(shown))), More: more}
	for _, s := range shown {
		t.Shown = append(t.Shown, cut(clean(s), mostText))
	}
	for _, s := range rest {
		t.Rest = append(t.Rest, cut(clean(s), mostText))
	}
	return t
}

func newLanes(in *Input) lanes {
	if in.Replay == nil {
		return lanes{}
	}
	shown, rest, more := parts(in.Replay.Lanes)
	l := lanes{Left: units.Count(int64(len(in.Replay.Lanes) - len(shown))), More: more}
	for _, r := range shown {
		l.Shown = append(l.Shown, lane{cut(clean(r.Table), mostText), cut(clean(r.Reason), mostText)})
	}
	for _, r := range rest {
		l.Rest = append(l.Rest, lane{cut(clean(r.Table), mostText), cut(clean(r.Reason), mostText)})
	}
	return l
}

// parts divides a list into what is shown, what can be opened, and how many
// more there are.
func parts[T any](list []T) (shown, rest []T, more string) {
	if len(list) <= mostShown {
		return list, nil, ""
	}
	shown, rest = list[:mostShown], list[mostShown:]
	if n := len(rest) - mostRest; n > 0 {
		rest, more = rest[:mostRest], fmt.Sprintf("and %s more, which the JSON report has", units.Count(int64(n)))
	}
	return shown, rest, more
}
