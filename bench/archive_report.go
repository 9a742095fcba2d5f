package bench

import (
	"fmt"
	"math"
)

// ArchiveReport is what archiving costs one server, and how fast it catches up.
type ArchiveReport struct {
	Head
	Seconds  int              `json:"seconds"`  // of each turn
	Together bool             `json:"together"` // all processes share the processors
	Paces    []Pace           `json:"paces"`
	Peak     map[string]int64 `json:"peak_rss_bytes"` // of each archiver
	Load     string           `json:"load_average"`   // just before
	CatchUp  CatchUp          `json:"catch_up"`
}

// Pace is one turn of one archiver.
type Pace struct {
	Way   string `json:"way"`
	Round int    `json:"round"`
	pace
	SourceCPU   float64 `json:"source_cpu_seconds"`
	ArchiverCPU float64 `json:"archiver_cpu_seconds"`
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

// total adds up what a way's turns have.
func (r ArchiveReport) total(way string, of func(Pace) float64) (sum float64) {
	for _, p := range r.Paces {
		if p.Way == way {
			sum += of(p)
		}
	}
	return sum
}

func rate(p Pace) float64 { return p.Transactions }

// share is a way's rate by none's, and how far it may be off: twice the standard
// error of what the rounds say by themselves.
func (r ArchiveReport) share(way string) (share, error float64) {
	var ratios []float64
	for _, p := range r.Paces {
		for _, none := range r.Paces {
			if p.Way == way && none.Way == nobody && p.Round == none.Round {
				ratios = append(ratios, p.Transactions/none.Transactions)
			}
		}
	}
	return r.total(way, rate) / r.total(nobody, rate), 2 * deviation(ratios) / math.Sqrt(float64(len(ratios)))
}

// deviation is the standard deviation of a sample.
func deviation(values []float64) float64 {
	n, mean, squares := float64(len(values)), 0.0, 0.0
	for _, v := range values {
		mean += v / n
	}
	for _, v := range values {
		squares += (v - mean) * (v - mean)
	}
	return math.Sqrt(squares / max(1, n-1))
}

func (r ArchiveReport) page() page {
	name, where := "archive", "the source has a processor of its own, as if it were on another machine than workload and archiver"
	if r.Together {
		name, where = "archive-together", "all processes share the machine's processors"
	}
	p := page{
		name: r.name(name),
		title: fmt.Sprintf("archive: %s, sysbench write_only, %d turns of %d s each, %d tables of %d rows",
			r.Server, len(r.Paces)/len(archivers), r.Seconds, r.Tables, r.TableSize),
		rows: [][]string{{"archiver", "transactions/s", "of none", "±", "p95 ms", "source's CPU µs/tx", "archiver's CPU", "archiver's MB"}},
		about: append(r.about(),
			"one run of the workload, archivers in turn; one whose turn it is not is stopped by a signal; ± is twice the standard error of the rounds' ratios; "+where+"; what is archived is in memory",
			fmt.Sprintf("catch-up: %.0f MB of log, written in %.1f s, archived in %.1f s: %.1f times as fast as written; %.0f MB of memory, %.1f s of CPU (load before: %s)",
				megabytes(r.CatchUp.Bytes), r.CatchUp.WriteSeconds, r.CatchUp.Seconds, r.CatchUp.Times(), megabytes(r.CatchUp.Archiver.Peak), r.CatchUp.Archiver.CPUSecond, r.CatchUp.Load),
			"load average before: "+r.Load,
			"what was archived was read back and is the server's log, byte for byte",
		),
	}
	for _, way := range archivers {
		p.rows = append(p.rows, r.cells(way))
	}
	return p
}

func (r ArchiveReport) cells(way string) []string {
	turns := r.total(way, func(Pace) float64 { return 1 })
	seconds := turns * float64(r.Seconds)
	share, off := r.share(way)
	source := r.total(way, func(p Pace) float64 { return p.SourceCPU }) / (r.total(way, rate) * float64(r.Seconds))
	archiver := r.total(way, func(p Pace) float64 { return p.ArchiverCPU }) / seconds
	percent := func(v float64) string { return fmt.Sprintf("%.1f %%", 100*v) }
	return []string{way, number(r.total(way, rate)/turns, 0), percent(share), percent(off),
		number(r.total(way, func(p Pace) float64 { return p.P95 })/turns, 1), number(1e6*source, 0), percent(archiver), number(megabytes(r.Peak[way]), 0)}
}
