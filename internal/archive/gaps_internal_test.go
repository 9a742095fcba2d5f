package archive

import (
	"testing"
	"time"
)

// TestBridge: a gap is bridged by a backup that was surely taken behind it, and by no
// other one.
func TestBridge(t *testing.T) {
	noon := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	backups := []Backup{{"early", noon.Add(-time.Hour)}, {"same", noon}, {"late", noon.Add(time.Second)}, {"later", noon.Add(time.Hour)}}
	for _, c := range []struct {
		since   time.Time
		backups []Backup
		want    string
	}{
		{noon, backups, "late"},
		{noon, backups[:2], ""}, // of the same second: nobody knows
		{noon, nil, ""},
		{noon.Add(-2 * time.Hour), backups, "early"},
		{noon.Add(2 * time.Hour), backups, ""},
		{time.Time{}, backups, ""}, // not known
	} {
		gaps := []Gap{{Since: c.since}, {Since: noon.Add(24 * time.Hour)}}
		bridge(gaps, c.backups)
		if gaps[0].Backup != c.want || gaps[1].Backup != "" {
			t.Errorf("%v: %+v, want %q", c.since, gaps, c.want)
		}
		if got, want := len(open(gaps)), map[bool]int{true: 2, false: 1}[c.want == ""]; got != want {
			t.Errorf("%v: %d are open, want %d", c.since, got, want)
		}
	}
}
