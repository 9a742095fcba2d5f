// Package report writes what a restore or a drill has done as one HTML file:
// for somebody on call, on a phone, at night, and later for an auditor, on
// paper.
//
// The file is all there is: its styles and its charts, which are SVG, lie in
// it; it has no scripts and asks no network for anything. A content security
// policy in it says so, too: a browser would neither run nor load what some
// name might have brought in. Everything that comes from outside, such as the
// names of tables, GTIDs and errors, is escaped by html/template according to
// where it stands, and characters that are not seen (controls, changes of
// direction) are replaced before.
//
// An Input holds values only, and the same Input makes the same file: there is
// no clock in it. Ages are those at the begin of the restore. What is shown of
// long lists is bounded; the numbers beside them count all.
//
// The data source name of the target (replay.Report has it) is never shown: it
// may hold a password.
package report

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/replay"
)

// Input is what there is to tell. Only what is there is shown; all of it may be
// missing.
type Input struct {
	Set           string // of servers that replicate from each other
	Repository    string // its name
	Dir           string // the data directory
	Host          string // where that is
	ServerVersion string // that ran on it; empty: that of the last backup
	Until         string // what was asked for, as replay takes it; empty: the end of the log

	Begun            time.Time
	Seconds          float64 // from Begun to the end
	PredictedSeconds float64 // 0: not predicted
	Finished         bool    // what was wanted is in Dir
	Resumed          bool    // Begun, Seconds and Steps are those of the last run only
	Forward          bool    // a restore that was done was moved on
	Error            string  // why it is not finished

	Steps    []Step
	Backups  []Backup // full first; empty if it was moved on
	Base     *State   // from which the log was replayed
	Logs     []Log    // one after another; none: no log was needed
	Replay   *replay.Report
	Reached  *State // what is in Dir
	Warnings []string

	Drill *Drill // nil: it was no drill
}

// Step is a part of a restore. Steps may overlap.
type Step struct {
	Name    string
	Begun   time.Time
	Seconds float64 // 0: it has not come to its end
	Bytes   int64   // read by it; 0: not counted
	Error   string  // why it has failed
}

// Backup is one of the chain that was unpacked.
type Backup struct {
	ID            string
	Kind          string // full or incremental
	Driver        string
	ServerVersion string
	Finished      time.Time
	StoredBytes   int64 // in the repository
	DataBytes     int64 // of the data directory; 0: unknown
}

// State is what a data directory holds.
type State struct {
	Server string // whose log File belongs to
	File   string // empty: there is no binary log
	Offset int64  // first byte of File that is not in it
	GTIDs  string // empty: there are none
	At     time.Time
}

// Log is the part of a server's log that was read.
type Log struct {
	Server      string
	Files       []string
	Bytes       int64 // of log
	StoredBytes int64 // in the repository
}

// Drill is what makes a restore a drill.
type Drill struct {
	Objective time.Duration // in which it has to be done; 0: there is none
	Passed    bool
	Checks    []Check // beyond those of the replay
	History   []Point // all drills that are remembered, in any order
}

// Check is one proof and whether it holds.
type Check struct {
	Name string
	Done bool
	Text string
}

// Point is one drill of the history.
type Point struct {
	Time    time.Time
	Seconds float64
	Passed  bool
	Bytes   int64 // brought back; 0: unknown
}

//go:embed style.css
var style string

//go:embed page.html
var text string

var tmpl = template.Must(template.New("page").Parse(text))

// HTML writes the report. The error is that of w.
func HTML(w io.Writer, r Input) error {
	p := newPage(&r)
	p.Style = template.CSS("\n" + style) //nolint:gosec // it is ours
	sum := sha256.Sum256([]byte(p.Style))
	p.Policy = "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; img-src data:; base-uri 'none'; form-action 'none'"
	// As a whole: a page that breaks off in its middle might look like another.
	var b bytes.Buffer
	if err := tmpl.Execute(&b, p); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if _, err := b.WriteTo(w); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}
