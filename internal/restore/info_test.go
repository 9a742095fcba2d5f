package restore_test

import (
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/restore"
)

// TestInfoAlarms: it is an error if no backup leads to the end, and if the one
// that a restore would take leads there too slowly. What is unknown is no alarm.
func TestInfoAlarms(t *testing.T) {
	at := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	older := restore.BackupInfo{ID: "older", From: at, Until: at.Add(5 * time.Hour), Seconds: 900, Measured: "a drill"}
	newer := restore.BackupInfo{ID: "newer", From: at.Add(time.Hour), Until: at.Add(5 * time.Hour), Seconds: 300, Measured: "a drill"}
	slow, unknown, short, broken := newer, newer, newer, newer
	slow.Seconds, unknown.Seconds, short.Until, broken.Problem = 601, 0, at.Add(2*time.Hour), "a gap"
	for name, c := range map[string]struct {
		backups   []restore.BackupInfo
		objective float64
		class     fault.Class
		says      string
	}{
		"no backup":               {nil, 600, fault.Gap, "no backup of set"},
		"fast enough":             {[]restore.BackupInfo{older, newer}, 600, 0, ""},
		"too slow":                {[]restore.BackupInfo{newer, slow}[1:], 600, fault.VerifyFailed, "predicted to take 601 s (by a drill), and may take 600 s"},
		"only the older is taken": {[]restore.BackupInfo{older, short}, 600, fault.VerifyFailed, "900 s"},
		"no objective":            {[]restore.BackupInfo{slow}, 0, 0, ""},
		"unknown":                 {[]restore.BackupInfo{unknown}, 600, 0, ""},
		"none leads to the end":   {[]restore.BackupInfo{short, broken}, 600, fault.Gap, "leads to the end"},
	} {
		err := (&restore.Info{Repository: "r", Set: "s", Until: at.Add(5 * time.Hour), Objective: c.objective, Backups: c.backups}).Err()
		if (err == nil) != (c.says == "") || err != nil && (fault.ClassOf(err) != c.class || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
