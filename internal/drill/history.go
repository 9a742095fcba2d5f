package drill

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/restore"
)

// Files of results, one JSON object a line, without what the restore has done in
// detail: of drills, and of restores.
const (
	historyName  = "history.jsonl"
	restoresName = "restores.jsonl"
)

// schemaVersion is that of a Result.
const schemaVersion = 1

func appendTo(dir, name string, r *Result) error {
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // monitoring reads it
		return fault.FromOS(fmt.Errorf("drill: history: %w", err))
	}
	line := *r
	line.Restore = nil
	text, err := json.Marshal(line)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644) //nolint:gosec // as above
	if err != nil {
		return fault.FromOS(fmt.Errorf("drill: history: %w", err))
	}
	_, err = f.Write(append(text, '\n'))
	return fault.FromOS(errors.Join(err, f.Sync(), f.Close()))
}

// Keep writes down what a restore took, by which others are predicted. One that
// was not carried out in one run tells nothing.
func Keep(dir string, rep *restore.Report) error {
	c, ok := rep.Cost()
	if !ok {
		return nil
	}
	return appendTo(dir, restoresName, &Result{SchemaVersion: schemaVersion, Set: rep.Set, Repository: rep.Plan.Repository, Host: host(), Time: rep.Begun,
		Seconds: rep.Seconds, Passed: true, BackupBytes: c.BackupBytes, LogBytes: c.LogBytes, Predicted: rep.Plan.Seconds, Cost: &c})
}

// History reads the drills of a directory, the oldest first. A line that a crash
// has cut off, or that another version has written, is left out.
func History(dir string) (list []Result, err error) { return read(dir, historyName) }

func read(dir, name string) (list []Result, err error) {
	f, err := os.Open(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.FromOS(fmt.Errorf("drill: history: %w", err))
	}
	defer func() { _ = f.Close() }() // only read
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var r Result
		if json.Unmarshal(lines.Bytes(), &r) == nil && r.SchemaVersion == schemaVersion {
			list = append(list, r)
		}
	}
	return list, nil
}

// Predict says in a plan how long it will take, at the rates of the last drill of
// its set and repository that has passed, best on this machine; if there is none,
// at those of a restore. Where nothing was measured it says nothing.
func Predict(dir string, p *restore.Plan) {
	drills, _ := read(dir, historyName) // what cannot be read was not measured
	restores, _ := read(dir, restoresName)
	p.Seconds, p.Measured = predict(drills, restores, host(), p)
}

func predict(drills, restores []Result, host string, p *restore.Plan) (seconds float64, measured string) {
	for _, from := range []struct {
		list []Result
		what string
		here bool
	}{{drills, "drill", true}, {drills, "drill", false}, {restores, "restore", true}, {restores, "restore", false}} {
		for _, r := range slices.Backward(from.list) {
			if r.Cost == nil || r.Set != p.Set || r.Repository != p.Repository || (r.Host == host) != from.here {
				continue
			}
			if seconds, ok := r.Cost.Predict(p); ok {
				return seconds, fmt.Sprintf("the %s of %s on %s", from.what, r.Time.UTC().Format(time.RFC3339), cmp.Or(r.Host, "an unknown machine"))
			}
		}
	}
	return 0, ""
}
