package report_test

import (
	"bytes"
	"errors"
	"io"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/lifeboat-db/lifeboat/internal/replay"
	"github.com/lifeboat-db/lifeboat/internal/report"
)

// doc is a report as a browser reads it.
type doc struct {
	t    *testing.T
	text string // the file
	root *html.Node
}

func render(t *testing.T, in report.Input) *doc {
	t.Helper()
	var b bytes.Buffer
	if err := report.HTML(&b, in); err != nil {
		t.Fatal(err)
	}
	root, err := html.Parse(strings.NewReader(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	return &doc{t, b.String(), root}
}

// all returns the elements of a name.
func (d *doc) all(name string) (list []*html.Node) {
	for n := range d.root.Descendants() {
		if n.Type == html.ElementNode && n.Data == name {
			list = append(list, n)
		}
	}
	return list
}

// section is the text of the section with a heading's id, nothing if there is
// none.
func (d *doc) section(id string) string {
	for _, s := range d.all("section") {
		if attr(s, "aria-labelledby") == id {
			return words(s)
		}
	}
	return ""
}

func attr(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

// words is what is read aloud of an element: without what is hidden, with one
// blank between words.
func words(n *html.Node) string {
	var b strings.Builder
	var walk func(*html.Node)
	walk = func(n *html.Node) {
		if n.Type == html.TextNode {
			b.WriteString(n.Data)
			return
		}
		if attr(n, "aria-hidden") == "true" || n.Data == "svg" {
			return
		}
		for c := range n.ChildNodes() {
			walk(c)
		}
		if !slices.Contains([]string{"code", "time", "span", "strong"}, n.Data) {
			b.WriteByte(' ')
		}
	}
	walk(n)
	return strings.Join(strings.Fields(b.String()), " ")
}

// says fails unless a section has all of the texts, in their order.
func (d *doc) says(section string, texts ...string) {
	d.t.Helper()
	have := d.section(section)
	rest := have
	for _, want := range texts {
		_, after, ok := strings.Cut(rest, want)
		if !ok {
			d.t.Errorf("section %s does not say %q there:\n%s", section, want, have)
			return
		}
		rest = after
	}
}

func TestRestored(t *testing.T) {
	d := render(t, restored())
	d.says("verdict", "Restored and proven", "Set shop is back as of its last transaction, committed at 2026-11-25T02:59:41.512345Z, up to bin.000042:734003221; all 6 proofs hold.",
		"Last transaction 2026-11-25T02:59:41.512345Z 5 min 11 s before this run began",
		"Asked for 2026-11-25T02:59:42Z written as 2026-11-25T03:59:42+01:00",
		"Position bin.000042:734003221 in the log of mariadb-1",
		"GTIDs 3e11fa47…:…1234600-8765432, 4e11fa47…:1-77", "all of it (120 B)", set,
		"Data directory /srv/restored/shop on db7.example", "Server 11.8.6-MariaDB-log")
	d.says("time", "7 min 12 s", "No objective is set.", "predicted 6 min 42 s, it took 7 % more")
	d.says("steps", "5 steps, to scale",
		"unpack the backup 3 min 51 s · 41.0 GiB · 181 MiB/s begun after 400 ms", "fetch the log 38.2 s · 2.0 GiB · 53.5 MiB/s",
		"start a private server 9.1 s begun after 3 min 52 s", "replay the log 3 min 02 s · 6.0 GiB · 33.9 MiB/s", "stop the server 8.6 s")
	d.says("backups", "3 backups, 41.0 GiB in repository offsite",
		"full, mariadb-backup, 3 d 01 h old 20261122T010000Z-0a1b2c 37.0 GiB stored, 120 GiB unpacked finished 2026-11-22T01:31:04Z",
		"incremental, mariadb-backup, 26 h old 20261124T010000Z-77aa01 2.0 GiB stored finished",
		"incremental, mariadb-backup, 2 h 01 min old 20261125T010000Z-c0ffee")
	d.says("log", "Server mariadb-1", "Files bin.000040 … bin.000042 3 files, 6.0 GiB, 2.0 GiB stored", "From bin.000040:8812", "To bin.000042:734003221",
		"First commit 2026-11-25T01:03:12.25Z", "Last commit 2026-11-25T02:59:41.512345Z",
		"1,234,567 transactions, 6,806 per second", "23,456,789 row changes", "4,567,890 rows written, 19 % of the changes", "12 DDL or other statements")
	d.says("proofs", "proven stop reached exactly: bin.000042:734003221", "proven read-back read back and compared: 4567890 rows")
	d.says("remarks", "Warnings", "2 tables of MyISAM", "Notes", "gtid_binlog_state left alone", "Tables replayed verbatim", "shop.audit partial row images")
	if d.section("history") != "" {
		t.Error("a restore has a history of drills")
	}
}

func TestDrilled(t *testing.T) {
	d := render(t, drilled())
	d.says("verdict", "Drill failed", "6 of 8 proofs hold; not proven: read-back, query; it took 2 min 12 s more than the objective.")
	d.says("time", "17 min 12 s", "Over the objective of 15 min by 2 min 12 s: 115 % of it used.", "objective 15 min")
	d.says("proofs", "not proven read-back", "proven tables", "not proven query SELECT COUNT(*)")
	d.says("history", "30 drills since 2026-10-27T03:04:53Z: 28 passed, 2 failed.", "Begun Took", "2026-11-25T03:04:53Z 40.0 GiB, 39.7 MiB/s 17 min 12 s failed", "2026-11-24T03:04:53Z")

	passed := drilled()
	passed.Drill.Passed, passed.Drill.Objective = true, time.Hour
	d = render(t, passed)
	d.says("verdict", "Drill passed, not all is proven")
	d.says("time", "Within the objective of 1 h: 42 min 48 s to spare, 29 % of it used.")
	passed.Replay.Verified, passed.Drill.Checks = proofs(), passed.Drill.Checks[:1]
	render(t, passed).says("verdict", "Drill passed Set shop", "all 7 proofs hold.")
}

func TestFailed(t *testing.T) {
	in := failed()
	d := render(t, in)
	d.says("verdict", "Not restored", "Set shop was not brought back: the run ended after 5 min 12 s, in the step “start a private server”.",
		in.Error, "The same command, run again, goes on where this run ended.")
	d.says("steps", "start a private server did not end")
	d.says("time", "Time until it ended 5 min 12 s It did not recover in this time. took 5 min 12 s predicted 6 min 42 s")
	d.says("log", "what was to be replayed")
	if strings.Contains(d.section("verdict"), "Last transaction") {
		t.Error("it says what was reached, and nothing was")
	}
	broken := failed()
	broken.Steps[2].Seconds, broken.Steps[2].Error = 3, "exit status 1 <b>"
	broken.Steps = append(broken.Steps, report.Step{Name: "stop the server", Begun: broken.Steps[2].Begun, Seconds: 1})
	d = render(t, broken)
	d.says("verdict", "in the step “start a private server”.")
	d.says("steps", "start a private server failed · 3.0 s begun after", ": exit status 1 <b>")
	in.Drill = &report.Drill{}
	render(t, in).says("verdict", "Drill failed")
	in.Steps = in.Steps[:2]
	render(t, in).says("verdict", "after 5 min 12 s; the last step that was done is “fetch the log”.")
}

// Each kind of end has words of its own: nobody takes one for another.
func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		name, head string
		change     func(*report.Input)
	}{
		{"a proof left out", "Restored, not all is proven", func(in *report.Input) { in.Replay.Verified[5].Done = false }},
		{"no log to replay", "Restored, nothing is proven Set shop is back as of the backup finished at 2026-11-25T01:03:12Z, up to bin.000042:734003221; no proof was carried out.", func(in *report.Input) { in.Replay, in.Logs = nil, nil }},
		{"a part", "Of set shop only crm,shop.orders is back, and replicas cannot attach to it, as of", func(in *report.Input) { in.Replay.Only = "crm,shop.orders" }},
		{"without a transaction", "Set shop is back without skipped transactions (0-1-7) as of", func(in *report.Input) { in.Replay.LeftOut = &replay.LeftOut{Skipped: "0-1-7"} }},
		{"nothing to do", "Restored before Set shop is back", func(in *report.Input) { in.Steps, in.Replay = nil, nil }},
		{"a plan", "Planned, not begun Nothing has been written", func(in *report.Input) { in.Steps, in.Replay, in.Finished, in.Reached = nil, nil, false, nil }},
		{"refused at once", "Not restored", func(in *report.Input) { in.Steps, in.Replay, in.Finished, in.Error = nil, nil, false, "no space" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := restored()
			c.change(&in)
			render(t, in).says("verdict", c.head)
		})
	}
}

func TestRemarks(t *testing.T) {
	in := restored()
	in.Resumed, in.Forward, in.Replay.Finalized, in.Replay.Resumed = true, true, false, true
	d := render(t, in)
	d.says("remarks", "was not finalized", "went on with one that was interrupted", "moved forward, from bin.000040:8812")
	if strings.Contains(d.section("log"), "per second") {
		t.Error("counts of several runs are divided by the time of one")
	}
}

func TestWanted(t *testing.T) {
	for until, want := range map[string]string{
		"":                     "Asked for the end of the archived log",
		"2026-11-25T02:59:42Z": "Asked for 2026-11-25T02:59:42Z and everything committed before",
		"bin.000042:4711":      "Asked for bin.000042:4711 Position",
		"gtid:0-1-17,1-2-3":    "Asked for 0-1-17, 1-2-3 Position",
	} {
		in := restored()
		in.Until = until
		render(t, in).says("verdict", want)
	}
}

// Whatever is missing is left out, and nothing breaks.
func TestNothing(t *testing.T) {
	d := render(t, report.Input{})
	d.says("verdict", "Planned, not begun")
	for _, id := range []string{"time", "steps", "backups", "log", "proofs", "remarks", "history"} {
		if s := d.section(id); s != "" {
			t.Errorf("section %s: %s", id, s)
		}
	}
	d.wellFormed()
	d = render(t, report.Input{Finished: true, Steps: []report.Step{{}}, Backups: []report.Backup{{}}, Base: &report.State{}, Logs: []report.Log{{}},
		Replay: &replay.Report{}, Reached: &report.State{}, Drill: &report.Drill{History: []report.Point{{}}}})
	d.wellFormed()
}

func TestNumbersThatAreNone(t *testing.T) {
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), -1, math.MaxFloat64, math.SmallestNonzeroFloat64} {
		in := drilled()
		in.Seconds, in.PredictedSeconds, in.Steps[0].Seconds, in.Drill.History[0].Seconds, in.Replay.Seconds = bad, bad, bad, bad, math.Abs(bad)
		in.Drill.History[1].Time, in.Steps[1].Begun = time.Time{}, time.Time{}
		d := render(t, in)
		d.wellFormed()
		if m := regexp.MustCompile(`NaN|Inf|="-[0-9]`).FindString(d.text); m != "" {
			t.Errorf("%v: %s", bad, m)
		}
	}
}

func TestHuge(t *testing.T) {
	in := huge()
	begun := time.Now()
	d := render(t, in)
	t.Logf("%d bytes in %s", len(d.text), time.Since(begun))
	d.wellFormed()
	if most := len(in.Reached.GTIDs) + 400<<10; len(d.text) > most {
		t.Errorf("%d bytes, want at most %d", len(d.text), most)
	}
	if n := strings.Count(d.text, in.Reached.GTIDs); n != 1 {
		t.Errorf("the GTID set is there %d times", n)
	}
	d.says("steps", "200 steps, to scale", "180 shorter steps, together")
	d.says("history", "10,000 drills since", "the last 5 drills", "45 more", "the 45 drills before")
	d.says("remarks", "warning 0", "991 more", "and 491 more, which the JSON report has")
	for _, s := range d.all("svg") {
		if n := len(slices.Collect(s.ChildNodes())); n > 1000 {
			t.Errorf("%d elements in chart %s", n, attr(s, "class"))
		}
	}
	failures := 0
	for _, p := range d.all("path") {
		if attr(p, "class") == "cross" {
			failures++
		}
	}
	if failures < 60 {
		t.Errorf("%d marks of failures: some are lost between the others", failures)
	}
}

// Names, GTIDs, errors: each text of the input may be hostile.
func TestEscaping(t *testing.T) {
	const hostile = `</script><script>alert(1)</script>"'><img src=x onerror=alert(1)>` + "\u202e\x00\x1b[31m\xff{{.Title}}</title></style><b>"
	in := drilled()
	in.Finished, in.Error = false, "x"
	n := poison(reflect.ValueOf(&in), hostile)
	if n < 30 {
		t.Fatalf("only %d texts", n)
	}
	want := render(t, drilled())
	for _, finished := range []bool{true, false} {
		in.Finished = finished
		d := render(t, in)
		d.wellFormed()
		for _, bad := range []string{"<script", "<img", "\u202e", "\x00", "\x1b", "ZgotmplZ"} {
			if strings.Contains(d.text, bad) {
				t.Errorf("%q is in the file", bad)
			}
		}
		if !strings.Contains(d.section("remarks"), `<script>alert(1)</script>"'><img src=x onerror=alert(1)>`) {
			t.Error("the text itself is not shown")
		}
		for _, name := range []string{"script", "img", "b", "style", "title", "link", "meta"} {
			have, usual := len(d.all(name)), len(want.all(name))
			if name != "title" && have != usual { // charts have titles, too
				t.Errorf("%d elements %s, want %d", have, name, usual)
			}
		}
	}
}

// poison sets every text in a value.
func poison(v reflect.Value, text string) (n int) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
		return 1
	case reflect.Pointer:
		if !v.IsNil() {
			n += poison(v.Elem(), text)
		}
	case reflect.Slice:
		for i := range v.Len() {
			n += poison(v.Index(i), text)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				n += poison(v.Field(i), text)
			}
		}
	default:
	}
	return n
}

// The data source name of the target may hold a password.
func TestPassword(t *testing.T) {
	if strings.Contains(render(t, restored()).text, "hunter2") {
		t.Error("the password is in the report")
	}
}

// The same input makes the same file, wherever and whenever.
func TestSame(t *testing.T) {
	a, b := render(t, huge()).text, render(t, huge()).text
	if a != b {
		t.Error("two reports of the same differ")
	}
}

func TestWriteError(t *testing.T) {
	r, w := io.Pipe()
	want := errors.New("disk full")
	r.CloseWithError(want)
	if err := report.HTML(w, restored()); !errors.Is(err, want) {
		t.Errorf("%v", err)
	}
}

func TestWellFormed(t *testing.T) {
	for name, in := range map[string]report.Input{"restored": restored(), "drilled": drilled(), "failed": failed()} {
		t.Run(name, func(t *testing.T) { render(t, in).wellFormed() })
	}
}

// wellFormed checks what every report has to be: accessible, and whole by
// itself.
func (d *doc) wellFormed() {
	d.t.Helper()
	if lang := attr(d.all("html")[0], "lang"); lang != "en" {
		d.t.Errorf("lang is %q", lang)
	}
	if titles := d.all("title"); len(titles) == 0 || strings.TrimSpace(words(titles[0])) == "" || titles[0].Parent.Data != "head" {
		d.t.Error("no title")
	}
	d.headings()
	d.tables()
	d.charts()
	d.alone()
	d.ids()
}

// headings: one h1 at the beginning, no level left out, none empty.
func (d *doc) headings() {
	d.t.Helper()
	level := 0
	for n := range d.root.Descendants() {
		if n.Type != html.ElementNode || !regexp.MustCompile(`^h[1-6]$`).MatchString(n.Data) {
			continue
		}
		have := int(n.Data[1] - '0')
		if have > level+1 || have == 1 && level != 0 || words(n) == "" {
			d.t.Errorf("heading %s %q behind one of level %d", n.Data, words(n), level)
		}
		level = have
	}
	if level == 0 {
		d.t.Error("no heading")
	}
}

// tables have captions, and each row names itself.
func (d *doc) tables() {
	d.t.Helper()
	for _, table := range d.all("table") {
		if first := table.FirstChild.NextSibling; first == nil || first.Data != "caption" || words(first) == "" {
			d.t.Errorf("a table without a caption: %s", words(table))
		}
	}
	for _, row := range d.all("tr") {
		scoped := false
		for c := range row.ChildNodes() {
			scoped = scoped || c.Data == "th" && attr(c, "scope") != ""
		}
		if !scoped {
			d.t.Errorf("a row without a heading: %s", words(row))
		}
	}
}

// charts are named, or said in words beside them.
func (d *doc) charts() {
	d.t.Helper()
	for _, s := range d.all("svg") {
		if attr(s, "aria-hidden") != "true" && (attr(s, "role") != "img" || attr(s, "aria-label") == "") {
			d.t.Errorf("an image without a name: class %q", attr(s, "class"))
		}
	}
}

// alone: nothing is loaded, run or styled from elsewhere.
func (d *doc) alone() {
	d.t.Helper()
	for n := range d.root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if slices.Contains([]string{"script", "iframe", "object", "embed", "img", "base", "form"}, n.Data) {
			d.t.Errorf("an element %s", n.Data)
		}
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") || a.Key == "style" || a.Key == "src" || a.Key == "href" && !strings.HasPrefix(a.Val, "data:") {
				d.t.Errorf("%s has %s=%q", n.Data, a.Key, a.Val)
			}
		}
	}
	style := d.all("style")
	if len(style) != 1 || regexp.MustCompile(`url\(|@import`).MatchString(style[0].FirstChild.Data) {
		d.t.Error("styles from elsewhere")
	}
}

// ids are unique, and those that are named are there.
func (d *doc) ids() {
	d.t.Helper()
	have := map[string]int{}
	for n := range d.root.Descendants() {
		if id := attr(n, "id"); id != "" {
			have[id]++
		}
	}
	for id, n := range have {
		if n != 1 {
			d.t.Errorf("id %s is there %d times", id, n)
		}
	}
	for _, s := range d.all("section") {
		if have[attr(s, "aria-labelledby")] != 1 {
			d.t.Errorf("no heading %s", attr(s, "aria-labelledby"))
		}
	}
}
