package report

import (
	"cmp"
	"slices"
	"time"
)

// scale is the width of a bar's coordinates: the browser stretches them.
const scale = 1000

// leastBar is the width of a bar that would not be seen.
const leastBar = 6

// bar is a part of a whole, in units of scale.
type bar struct{ X, Width int }

// newBar is the part from x on of a whole, all in seconds.
func newBar(x, width, whole float64) bar {
	if whole <= 0 {
		return bar{0, scale}
	}
	b := bar{int(finite(x) / whole * scale), int(finite(width)/whole*scale + 0.5)}
	b.Width = min(max(b.Width, leastBar), scale)
	b.X = min(b.X, scale-b.Width)
	return b
}

// clock is how long it took, against what was promised.
type clock struct {
	Head      string
	Took      string
	Text      string // compared with the objective
	Grade     string // of the comparison
	Mark      string
	Bar       bar
	Objective *line
	Predicted *line
}

// line is a mark on a bar.
type line struct {
	X    int
	Text string
}

func newClock(in *Input) *clock {
	took := finite(in.Seconds)
	if took == 0 {
		return nil
	}
	c := &clock{Head: "Time to recover", Took: span(took), Grade: none}
	var objective float64
	if in.Drill != nil {
		objective = finite(in.Drill.Objective.Seconds())
	}
	predicted := finite(in.PredictedSeconds)
	whole := max(took, objective, predicted) * 1.04 // a mark at the end is seen
	c.Bar = newBar(0, took, whole)
	if objective > 0 {
		c.Objective = &line{int(objective / whole * scale), span(objective)}
	}
	if predicted > 0 {
		c.Predicted = &line{int(predicted / whole * scale), span(predicted)}
	}
	if !in.Finished {
		c.Head, c.Grade, c.Mark, c.Text = "Time until it ended", poor, marks[poor], "It did not recover in this time."
		return c
	}
	if predicted > 0 {
		c.Predicted.Text += ", " + deviation(took, predicted)
	}
	c.compare(took, objective)
	return c
}

// compare says what is left of the objective.
func (c *clock) compare(took, objective float64) {
	switch {
	case objective == 0:
		c.Text = "No objective is set."
		return
	case took <= objective:
		c.Grade, c.Text = good, "Within the objective of "+span(objective)+": "+span(objective-took)+" to spare, "+percent(took, objective)+" of it used."
	default:
		c.Grade, c.Text = poor, "Over the objective of "+span(objective)+" by "+span(took-objective)+": "+percent(took, objective)+" of it used."
	}
	c.Mark = marks[c.Grade]
}

// deviation says by how much a prediction was missed.
func deviation(took, predicted float64) string {
	p := (took - predicted) * 100 / predicted
	switch {
	case p > 0.5:
		return "it took " + percent(took-predicted, predicted) + " more"
	case p < -0.5:
		return "it took " + percent(predicted-took, predicted) + " less"
	default:
		return "as it was"
	}
}

// timeline is the steps, to scale.
type timeline struct {
	Caption string
	Ticks   []string // at equal distances, the first at the left, the last at the right
	Steps   []step
	Rest    []step // the shortest of many
	RestSum string
}

// step is one bar of the timeline.
type step struct {
	Name   string
	Detail string // duration, bytes and rate
	Begin  string
	Open   bool // it has not come to its end
	Error  string
	Bar    bar
}

// mostSteps is what is shown of many; the others can be opened.
const mostSteps = 20

func newTimeline(in *Input) *timeline {
	if len(in.Steps) == 0 {
		return nil
	}
	steps := slices.Clone(in.Steps)
	slices.SortStableFunc(steps, func(a, b Step) int { return a.Begun.Compare(b.Begun) })
	begun, whole := extent(in, steps)
	t := &timeline{Ticks: []string{"0" + nbsp + "s", span(whole / 2), span(whole)}}
	least, left := shortest(steps)
	var rest float64
	for _, s := range steps {
		drawn := newStep(s, begun, whole)
		if s.Error == "" && s.Seconds > 0 && s.Seconds <= least && left > 0 {
			t.Rest, rest, left = append(t.Rest, drawn), rest+finite(s.Seconds), left-1
			continue
		}
		t.Steps = append(t.Steps, drawn)
	}
	t.Caption = counted(int64(len(steps)), "step") + ", to scale"
	if len(t.Rest) > 0 {
		t.RestSum = counted(int64(len(t.Rest)), "shorter step") + ", together " + span(rest)
	}
	return t
}

// extent is the begin of the timeline and its length: no step lies outside.
func extent(in *Input, steps []Step) (time.Time, float64) {
	begun, whole := steps[0].Begun, finite(in.Seconds)
	if !in.Begun.IsZero() && in.Begun.Before(begun) {
		begun = in.Begun
	}
	for _, s := range steps {
		whole = max(whole, offset(s, begun)+finite(s.Seconds))
	}
	return begun, whole
}

func offset(s Step, begun time.Time) float64 { return finite(s.Begun.Sub(begun).Seconds()) }

// shortest says how many steps are left out, and that none of them takes longer
// than least.
func shortest(steps []Step) (least float64, left int) {
	left = len(steps) - mostSteps
	if left <= 0 {
		return 0, 0
	}
	sorted := slices.SortedFunc(slices.Values(steps), func(a, b Step) int { return cmp.Compare(finite(a.Seconds), finite(b.Seconds)) })
	open := 0 // those that have not ended are shown
	for open < len(sorted) && finite(sorted[open].Seconds) == 0 {
		open++
	}
	left = min(left, len(sorted)-open)
	if left <= 0 {
		return 0, 0
	}
	return finite(sorted[open+left-1].Seconds), left
}

func newStep(s Step, begun time.Time, whole float64) step {
	at := offset(s, begun)
	out := step{Name: cut(clean(s.Name), mostText), Begin: "begun after " + span(at), Open: finite(s.Seconds) == 0}
	seconds := finite(s.Seconds)
	if out.Open {
		seconds = whole - at
		out.Detail = "did not end"
	} else {
		out.Detail = span(seconds)
	}
	if s.Bytes > 0 {
		out.Detail = joined(" · ", out.Detail, size(s.Bytes), rate(s.Bytes, s.Seconds))
	}
	if s.Error != "" {
		out.Error = cut(clean(s.Error), mostText)
		out.Detail = joined(" · ", "failed", out.Detail)
	}
	out.Bar = newBar(at, seconds, whole)
	return out
}

// mostText bounds what is shown of a text.
const mostText = 1000
