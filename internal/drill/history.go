package drill

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/restore"
)

// historyName is the file of results, one JSON object a line, without what the
// restore has done in detail.
const historyName = "history.jsonl"

// schemaVersion is that of a Result.
const schemaVersion = 1

func appendHistory(dir string, r *Result) error {
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
	f, err := os.OpenFile(filepath.Join(dir, historyName), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644) //nolint:gosec // as above
	if err != nil {
		return fault.FromOS(fmt.Errorf("drill: history: %w", err))
	}
	_, err = f.Write(append(text, '\n'))
	return fault.FromOS(errors.Join(err, f.Sync(), f.Close()))
}

// History reads the results of a directory, the oldest first. A line that a
// crash has cut off, or that another version has written, is left out.
func History(dir string) (list []Result, err error) {
	f, err := os.Open(filepath.Join(dir, historyName))
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

// Predict says how many seconds a recovery by a plan will take, from the last
// drill of its set and repository that has passed; 0: there is none. A drill's
// time is taken to grow with the bytes that it reads.
func Predict(history []Result, p *restore.Plan) float64 {
	for i := len(history) - 1; i >= 0; i-- {
		h := history[i]
		if h.Set != p.Set || h.Repository != p.Repository || !h.Passed || h.BackupBytes+h.LogBytes == 0 {
			continue
		}
		return h.Seconds * max(1, float64(p.BackupBytes+p.LogBytes)/float64(h.BackupBytes+h.LogBytes))
	}
	return 0
}
