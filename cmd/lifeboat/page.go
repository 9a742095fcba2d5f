package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/atomicfile"
	"github.com/lifeboat-db/lifeboat/internal/drill"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	html "github.com/lifeboat-db/lifeboat/internal/report"
	"github.com/lifeboat-db/lifeboat/internal/restore"
)

// pageOf is a restore's report as package report draws it, but for what only the
// caller knows: Error, Host, ServerVersion and Drill.
func pageOf(r *restore.Report) html.Input {
	in := html.Input{
		Set: r.Set, Dir: r.Dir, Begun: r.Begun, Seconds: r.Seconds, Finished: r.Finished, Resumed: r.Resumed, Forward: r.Forward,
		Replay: r.Replay, Reached: stateOf(r.Reached),
	}
	for _, s := range r.Steps {
		in.Steps = append(in.Steps, html.Step(s))
	}
	if r.Plan != nil {
		pageOfPlan(&in, r.Plan)
	}
	return in
}

func pageOfPlan(in *html.Input, p *restore.Plan) {
	in.Repository, in.Until, in.PredictedSeconds, in.Warnings = p.Repository, p.Until, p.Seconds, p.Warnings
	in.Base = stateOf(&p.Base)
	for _, b := range p.Backups {
		in.Backups = append(in.Backups, html.Backup{
			ID: b.ID, Kind: b.Kind, Driver: b.Driver, ServerVersion: b.ServerVersion, Finished: b.Finished, StoredBytes: b.StoredBytes, DataBytes: b.DataBytes,
		})
	}
	for _, l := range p.Legs {
		in.Logs = append(in.Logs, html.Log{Server: l.Server, Files: l.Names, Bytes: l.Bytes, StoredBytes: l.Stored})
	}
}

func stateOf(b *restore.Base) *html.State {
	if b == nil {
		return nil
	}
	return &html.State{Server: b.Server, File: b.File, Offset: b.Offset, GTIDs: b.GTIDs, At: b.At}
}

// writePage writes a page into a file, whole or not at all.
func writePage(path string, in html.Input, err error) error {
	if err != nil {
		in.Error = err.Error()
	}
	in.Host, _ = os.Hostname()
	var page bytes.Buffer
	if err := html.HTML(&page, in); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if err := errors.Join(atomicfile.Replace(path, page.Bytes()), os.Chmod(path, 0o644)); err != nil { //nolint:gosec // people read it
		return fault.FromOS(fmt.Errorf("report: %w", err))
	}
	return nil
}

// drillPage is the page of a drill, with the history of those before.
func drillPage(r *drill.Result, history []drill.Result, objective time.Duration) html.Input {
	in := pageOf(r.Restore)
	d := &html.Drill{Objective: objective, Passed: r.Passed, Checks: []html.Check{
		{Name: "CHECK TABLE of every table", Done: r.Tables > 0, Text: fmt.Sprintf("%d tables", r.Tables)},
	}}
	for _, h := range history {
		d.History = append(d.History, html.Point{Time: h.Time, Seconds: h.Seconds, Passed: h.Passed, Bytes: h.BackupBytes + h.LogBytes})
	}
	in.Drill = d
	return in
}

// drillReport is where a drill's page goes.
func drillReport(dir string, at time.Time) string {
	return filepath.Join(dir, "drill-"+at.UTC().Format("20060102T150405Z")+".html")
}
