package bench

import (
	"errors"
	"fmt"
	"strings"
)

// RestoreReport compares whole restores of one database.
type RestoreReport struct {
	Head
	Transactions int             `json:"transactions"` // behind the backup
	DataBytes    int64           `json:"data_bytes"`   // of the source's data directory
	LogBytes     int64           `json:"log_bytes"`
	Stored       int64           `json:"stored_bytes"`   // of lifeboat's repository
	Backups      [2]float64      `json:"backup_seconds"` // mariadb-backup's into files, lifeboat's into the repository
	Ways         []RestoreResult `json:"ways"`
}

// RestoreResult is what one way did.
type RestoreResult struct {
	Way       string        `json:"way"`
	Seconds   float64       `json:"seconds"` // from nothing to a server that is shut down
	Steps     []RestoreStep `json:"steps"`
	Equal     bool          `json:"end_state_equal"`
	Different []string      `json:"different_tables,omitempty"`
	Load      string        `json:"load_average"`
	Error     string        `json:"error,omitempty"`
}

// RestoreStep is a part of it. Lifeboat's may run at the same time.
type RestoreStep struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
}

func (s RestoreStep) String() string { return fmt.Sprintf("%s %.1f s", s.Name, s.Seconds) }

// problem tells of the ways that did not arrive.
func (r RestoreReport) problem() error {
	var all []error
	for _, w := range r.Ways {
		all = append(all, problem(w.Way, w.Error, w.Equal, w.Different))
	}
	return errors.Join(all...)
}

// times is how many times as fast lifeboat restore is as a way.
func (r RestoreReport) times(w RestoreResult) string {
	for _, l := range r.Ways {
		if l.Way == restored && l.Equal && w.Equal {
			return fmt.Sprintf("%.2f", w.Seconds/l.Seconds)
		}
	}
	return "–"
}

func (r RestoreReport) page() page {
	p := page{
		name: r.name("restore"),
		title: fmt.Sprintf("restore: %s, %.1f GB of data, %d transactions in %.0f MB of binary log",
			r.Server, float64(r.DataBytes)/1e9, r.Transactions, megabytes(r.LogBytes)),
		rows: [][]string{{"way", "seconds", "lifeboat is × as fast", "steps", "end state"}},
		about: append(r.about(),
			fmt.Sprintf("sysbench: %d tables of %d rows, write_only behind the backup", r.Tables, r.TableSize),
			fmt.Sprintf("backup: mariadb-backup %.1f s into files, lifeboat %.1f s into a repository of %.1f GB, log included", r.Backups[0], r.Backups[1], float64(r.Stored)/1e9),
			"copy-back has its backup and its logs on the same disk, uncompressed; every way's input is read once before; the clock ends with a clean shutdown",
		),
	}
	for _, w := range r.Ways {
		var steps []string
		for _, s := range w.Steps {
			steps = append(steps, s.String())
		}
		p.rows = append(p.rows, []string{w.Way, number(w.Seconds, 1), r.times(w), strings.Join(steps, ", "), verdict(w.Error, w.Equal)})
		p.about = append(p.about, "load average before "+w.Way+": "+w.Load)
	}
	return p
}
