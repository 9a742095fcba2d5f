package bench

import (
	"fmt"
	"slices"
)

// ArchiveReport is what archiving costs one server, and how fast it catches up.
type ArchiveReport struct {
	Head
	Seconds int     `json:"seconds"` // of each run
	Paces   []Pace  `json:"paces"`
	CatchUp CatchUp `json:"catch_up"`
}

// Pace is one run of the workload beside one archiver.
type Pace struct {
	Way   string `json:"way"`
	Round int    `json:"round"`
	pace
	Archiver Use    `json:"archiver"`
	Load     string `json:"load_average"` // just before
}

// CatchUp is how an archive gets over a pause.
type CatchUp struct {
	Bytes        int64   `json:"bytes"` // of log, written in the pause
	WriteSeconds float64 `json:"write_seconds"`
	Seconds      float64 `json:"seconds"` // from the archiver's start until all is stored
	Archiver     Use     `json:"archiver"`
	Load         string  `json:"load_average"`
}

// Times is how many times as fast it is as the source has written.
func (c CatchUp) Times() float64 { return c.WriteSeconds / c.Seconds }

// ratios are those of a way to none, round by round.
func (r ArchiveReport) ratios(way string) (list []float64) {
	for _, p := range r.Paces {
		for _, none := range r.Paces {
			if p.Way == way && none.Way == nobody && p.Round == none.Round {
				list = append(list, p.Transactions/none.Transactions)
			}
		}
	}
	return list
}

func (r ArchiveReport) page() page {
	p := page{
		name: r.name("archive"),
		title: fmt.Sprintf("archive: %s, sysbench write_only for %d s a run, %d tables of %d rows",
			r.Server, r.Seconds, r.Tables, r.TableSize),
		rows: [][]string{{"archiver", "transactions/s", "of none", "lowest", "highest", "p95 ms", "archiver CPU", "archiver MB"}},
		about: append(r.about(),
			"medians of the rounds; an archiver's share is compared with none's in the same round; all processes share the machine, and what is archived is in its memory",
			fmt.Sprintf("catch-up: %.0f MB of log, written in %.1f s, archived in %.1f s: %.1f times as fast as written; %.0f MB of memory, %.1f s of CPU (load before: %s)",
				megabytes(r.CatchUp.Bytes), r.CatchUp.WriteSeconds, r.CatchUp.Seconds, r.CatchUp.Times(), megabytes(r.CatchUp.Archiver.Peak), r.CatchUp.Archiver.CPUSecond, r.CatchUp.Load),
			"load average before the first run: "+r.Paces[0].Load,
			"what was archived was read back and is the server's log, byte for byte",
		),
	}
	for _, way := range archivers {
		p.rows = append(p.rows, r.cells(way))
	}
	return p
}

func (r ArchiveReport) cells(way string) []string {
	var rate, p95, cpu []float64
	var peak int64
	for _, p := range r.Paces {
		if p.Way == way {
			rate, p95, cpu = append(rate, p.Transactions), append(p95, p.P95), append(cpu, p.Archiver.CPUSecond)
			peak = max(peak, p.Archiver.Peak)
		}
	}
	share := r.ratios(way)
	percent := func(v float64) string { return fmt.Sprintf("%.1f %%", 100*v) }
	return []string{way, number(median(rate), 0), percent(median(share)), percent(slices.Min(share)), percent(slices.Max(share)),
		number(median(p95), 1), fmt.Sprintf("%.1f %%", 100*median(cpu)/float64(r.Seconds)), number(megabytes(peak), 0)}
}
