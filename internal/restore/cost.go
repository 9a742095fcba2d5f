package restore

import "strings"

// Cost is what a restore took, in seconds, by what it grows with. Unpack and
// Fetch go on at the same time.
type Cost struct {
	BackupBytes int64   `json:"backup_bytes"` // read
	LogBytes    int64   `json:"log_bytes"`
	Unpack      float64 `json:"unpack_seconds"` // grows with the backup, as does Load
	Load        float64 `json:"load_seconds"`   // of a dump
	Fetch       float64 `json:"fetch_seconds"`  // grows with the log, as does Replay
	Replay      float64 `json:"replay_seconds"`
	Rest        float64 `json:"other_seconds"` // starts and stops of the server, proofs
}

// Cost is that of a restore that was carried out from its beginning to its end
// in one run; of another one it cannot be told.
func (r *Report) Cost() (c Cost, ok bool) {
	if !r.Finished || r.Resumed || r.Forward || r.Plan == nil || len(r.Steps) == 0 {
		return c, false
	}
	c.BackupBytes, c.LogBytes = r.Plan.BackupBytes, r.Plan.LogBytes
	for _, s := range r.Steps {
		switch {
		case s.Name == stepUnpack:
			c.Unpack += s.Seconds
		case s.Name == stepLoad:
			c.Load += s.Seconds
		case s.Name == stepFetch:
			c.Fetch += s.Seconds
		case strings.HasPrefix(s.Name, StepReplay):
			c.Replay += s.Seconds
		}
	}
	c.Rest = max(0, r.Seconds-c.Load-c.Replay-max(c.Unpack, c.Fetch))
	return c, true
}

// Predict says how long a plan will take at the same rates; not ok: nothing of
// its kind was measured.
func (c Cost) Predict(p *Plan) (seconds float64, ok bool) {
	backup, okBackup := grow(p.BackupBytes, c.BackupBytes)
	log, okLog := grow(p.LogBytes, c.LogBytes)
	if !okBackup || !okLog {
		return 0, false
	}
	return c.Rest + c.Load*backup + c.Replay*log + max(c.Unpack*backup, c.Fetch*log), true
}

// grow is how many times as much is to be read as was.
func grow(want, had int64) (times float64, ok bool) {
	switch {
	case want == 0:
		return 0, true
	case had == 0:
		return 0, false
	}
	return float64(want) / float64(had), true
}
