package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/lifeboat-db/lifeboat/internal/units"
)

// history is the drills so far.
type history struct {
	Count  string // of drills
	Since  string // the first one
	Text   string
	Charts []chart // one for phones, one for wider screens
	Table  []drill // the last ones, the last first
	Rest   []drill // those before
	Many   bool    // a mark stands for several drills
}

// drill is one row of the history's table.
type drill struct {
	Caption                string // of the table that begins with it
	Time, Took, Size, Rate string
	Passed                 bool
}

// What the table shows of many drills, and what can be opened.
const (
	mostDrills = 5
	moreDrills = 45
)

func newHistory(in *Input) *history {
	if in.Drill == nil || len(in.Drill.History) == 0 {
		return nil
	}
	points := slices.Clone(in.Drill.History)
	slices.SortStableFunc(points, func(a, b Point) int { return a.Time.Compare(b.Time) })
	h := &history{Count: counted(int64(len(points)), "drill"), Since: isoSecond(points[0].Time), Text: summary(points)}
	objective := finite(in.Drill.Objective.Seconds())
	for _, f := range []frame{{Class: "narrow", Width: 340, Height: 240, Columns: 60}, {Class: "wide", Width: 800, Height: 280, Columns: 160}} {
		h.Charts = append(h.Charts, newChart(f, points, objective))
		h.Many = h.Many || len(points) > f.Columns
	}
	h.tables(points)
	return h
}

// tables lists the last drills.
func (h *history) tables(points []Point) {
	var list []drill
	for i := len(points) - 1; i >= 0 && len(list) < mostDrills+moreDrills; i-- {
		p := points[i]
		d := drill{Time: isoSecond(p.Time), Took: span(p.Seconds), Passed: p.Passed, Rate: rate(p.Bytes, p.Seconds)}
		if p.Bytes > 0 {
			d.Size = size(p.Bytes)
		}
		list = append(list, d)
	}
	n := min(len(list), mostDrills)
	h.Table, h.Rest = list[:n], list[n:]
	h.Table[0].Caption = "the last " + counted(int64(n), "drill")
	if len(h.Rest) > 0 {
		h.Rest[0].Caption = "the " + counted(int64(len(h.Rest)), "drill") + " before"
	}
}

// summary tells in words how they went.
func summary(points []Point) string {
	var took []float64
	for _, p := range points {
		if p.Passed {
			took = append(took, finite(p.Seconds))
		}
	}
	n := len(points)
	s := fmt.Sprintf("%s passed, %s failed.", units.Count(int64(len(took))), units.Count(int64(n-len(took))))
	if len(took) > 1 {
		slices.Sort(took)
		s += fmt.Sprintf(" Those that passed took %s to %s, the middle one %s.", span(took[0]), span(took[len(took)-1]), span(took[(len(took)-1)/2]))
	}
	return s
}

// frame is the size of a chart.
type frame struct {
	Class         string
	Width, Height int
	Columns       int // more points than that are put together
}

// The margins of a chart hold its labels.
const (
	marginLeft   = 10
	marginRight  = 12
	marginTop    = 26
	marginBottom = 30
	labelWidth   = 8 // of a character
)

// chart is the time to recover over time.
type chart struct {
	frame
	Left, Right, Top, Bottom int // of the plot
	Title                    string
	Grid                     []tick
	Objective                *tick
	Marks                    []mark
	Line                     string // through the marks of what passed
	First, Last              string // days
}

// Below is the line of the labels under the plot.
func (c chart) Below() int { return c.Bottom + 19 }

// LabelEnd is where the labels of the horizontal lines end.
func (c chart) LabelEnd() int { return c.Left - 8 }

// Label is where that of the objective begins.
func (c chart) Label() int { return c.Left + 2 }

// Dot is the radius of a mark: less where there are many.
func (c chart) Dot() string {
	if len(c.Marks) > c.Columns/2 {
		return "2.5"
	}
	return "4"
}

// Cross draws a failure from its middle on: smaller where there are many.
func (c chart) Cross() string {
	if len(c.Marks) > c.Columns/2 {
		return "m-3 -3l6 6m0 -6l-6 6"
	}
	return "m-5 -5l10 10m0 -10l-10 10"
}

// tick is a horizontal line.
type tick struct {
	Y, TextY int
	Text     string
}

// mark is one drill, or a column of them.
type mark struct {
	X, Y   int
	High   int // the column's slowest, Y if there is only one
	Low    int
	Failed bool
	Newest bool
	Title  string
}

func newChart(f frame, points []Point, objective float64) chart {
	c := chart{frame: f, Left: marginLeft, Right: f.Width - marginRight, Top: marginTop, Bottom: f.Height - marginBottom}
	top := objective
	for _, p := range points {
		top = max(top, finite(p.Seconds))
	}
	unit := step125(top * 1.08)
	most := max(unit, math.Ceil(top*1.08/unit)*unit)
	y := func(seconds float64) int {
		return c.Bottom - int(finite(seconds)/most*float64(c.Bottom-c.Top)+0.5)
	}
	for v := unit; v <= most*1.001; v += unit {
		c.Grid = append(c.Grid, tick{y(v), y(v) + 5, span(v)})
		c.Left = max(c.Left, marginLeft+labelWidth*utf8.RuneCountInString(span(v)))
	}
	if objective > 0 {
		c.Objective = &tick{y(objective), y(objective) - 5, "objective " + span(objective)}
	}
	c.plot(points, y)
	c.First, c.Last = day(points[0].Time), day(points[len(points)-1].Time)
	if c.First == c.Last {
		c.Last = ""
	}
	c.Title = "Time to recover of each drill over time. " + summary(points)
	return c
}

func day(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.DateOnly)
}

// step125 is a distance of lines, of which three or four have room: one that
// people count in.
func step125(top float64) float64 {
	steps := []float64{1e-3, 5e-3, 0.02, 0.1, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 4 * 3600, 6 * 3600, 12 * 3600}
	for _, s := range steps {
		if top <= 4*s {
			return s
		}
	}
	return 86400 * math.Ceil(top/86400/4)
}

// column is the points that one mark stands for.
type column struct {
	x      int
	passed []Point
	failed []Point
}

// plot makes the marks: one for each point, or for each column if there are too
// many. A column's failures have a mark of their own.
func (c *chart) plot(points []Point, y func(float64) int) {
	last := points[len(points)-1]
	for _, col := range c.columns(points) {
		if len(col.passed) > 0 {
			m := newMark(col.x, col.passed, y)
			m.Newest = last.Passed && col.passed[len(col.passed)-1] == last
			c.Line += fmt.Sprintf("%d,%d ", m.X, m.Y)
			c.Marks = append(c.Marks, m)
		}
		if len(col.failed) > 0 {
			m := newMark(col.x, col.failed, y)
			m.Failed, m.Y = true, m.High
			m.Newest = !last.Passed && col.failed[len(col.failed)-1] == last
			c.Marks = append(c.Marks, m)
		}
	}
	// What failed is drawn last, so that nothing hides it.
	slices.SortStableFunc(c.Marks, func(a, b mark) int { return cmp.Compare(order(a), order(b)) })
}

func order(m mark) int {
	if m.Failed {
		return 1
	}
	return 0
}

// columns divides the points by their time.
func (c *chart) columns(points []Point) []column {
	const inset = 10 // marks lie inside
	left, width := c.Left+inset, float64(c.Right-c.Left-2*inset)
	first := points[0].Time
	whole := points[len(points)-1].Time.Sub(first).Seconds()
	var out []column
	at := -1
	for i, p := range points {
		share := 0.5
		if whole > 0 {
			share = p.Time.Sub(first).Seconds() / whole
		}
		n := i
		if len(points) > c.Columns {
			n = int(share * float64(c.Columns-1))
			share = float64(n) / float64(c.Columns-1)
		}
		if n != at {
			out, at = append(out, column{x: left + int(share*width+0.5)}), n
		}
		col := &out[len(out)-1]
		if p.Passed {
			col.passed = append(col.passed, p)
		} else {
			col.failed = append(col.failed, p)
		}
	}
	return out
}

// newMark is at the middle one of some points, which are in the order of time.
func newMark(x int, points []Point, y func(float64) int) mark {
	took := make([]float64, len(points))
	for i, p := range points {
		took[i] = finite(p.Seconds)
	}
	slices.Sort(took)
	middle, most := took[(len(took)-1)/2], took[len(took)-1]
	m := mark{X: x, Y: y(middle), High: y(most), Low: y(took[0])}
	result := map[bool]string{true: "passed", false: "failed"}[points[0].Passed]
	if len(points) == 1 {
		m.Title = fmt.Sprintf("%s: %s, %s", isoSecond(points[0].Time), result, span(most))
	} else {
		m.Title = fmt.Sprintf("%s to %s: %s %s, %s to %s", isoSecond(points[0].Time), isoSecond(points[len(points)-1].Time),
			counted(int64(len(points)), "drill"), result, span(took[0]), span(most))
	}
	return m
}
