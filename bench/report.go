package bench

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Report is the outcome of one comparison: one server, one data set, all ways.
type Report struct {
	Head
	Workload     string            `json:"workload"`
	Transactions uint64            `json:"transactions"`
	LogBytes     int64             `json:"log_bytes"`
	LogFiles     int               `json:"log_files"`
	Settings     map[string]string `json:"settings"` // of every target's server
	Ways         []Result          `json:"ways"`
}

// Result is what one way did.
type Result struct {
	Way                   string   `json:"way"`
	Seconds               float64  `json:"seconds"`
	TransactionsPerSecond float64  `json:"transactions_per_second"`
	MegabytesPerSecond    float64  `json:"megabytes_per_second"`   // 10^6 bytes of log
	TimesSerial           float64  `json:"times_serial,omitempty"` // how many times as fast
	TimesApplier          float64  `json:"times_applier,omitempty"`
	Tool                  Use      `json:"tool"`             // programs beside the server
	Server                Use      `json:"server"`           // the target's server
	Shutdown              float64  `json:"shutdown_seconds"` // clean, right after the replay
	Load                  string   `json:"load_average"`     // of the machine, just before
	Equal                 bool     `json:"end_state_equal"`
	Different             []string `json:"different_tables,omitempty"`
	Error                 string   `json:"error,omitempty"`
}

func (r Result) verdict() string { return verdict(r.Error, r.Equal) }

func newReport(ds *dataset) Report {
	return Report{
		Head:     newHead("replay", ds.Spec.Distribution, ds.Spec.Version, ds.Spec.Tables, ds.Spec.TableSize),
		Workload: ds.Spec.Workload, Transactions: ds.Committed, LogBytes: ds.Bytes, LogFiles: len(ds.Logs),
	}
}

// add appends a result with the figures that follow from the data set.
func (r *Report) add(result Result) {
	if result.Error == "" && result.Seconds > 0 {
		result.TransactionsPerSecond = float64(r.Transactions) / result.Seconds
		result.MegabytesPerSecond = megabytes(r.LogBytes) / result.Seconds
	}
	r.Ways = append(r.Ways, result)
	for n := range r.Ways {
		r.Ways[n].TimesSerial = r.times(Serial, r.Ways[n])
		r.Ways[n].TimesApplier = r.times(Applier, r.Ways[n])
	}
}

// times is how many times as fast a result is as a way's. There is none
// between runs of which one did not do the work.
func (r *Report) times(way string, result Result) float64 {
	for _, base := range r.Ways {
		if base.Way == way && base.Equal && result.Equal && result.Seconds > 0 {
			return base.Seconds / result.Seconds
		}
	}
	return 0
}

// problem tells of the ways that did not arrive.
func (r Report) problem() error {
	var all []error
	for _, w := range r.Ways {
		all = append(all, problem(w.Way, w.Error, w.Equal, w.Different))
	}
	return errors.Join(all...)
}

var columns = []string{"way", "seconds", "transactions/s", "MB/s", "× serial", "× applier",
	"tool MB (anon)", "server MB", "CPU s tool + server", "shutdown s", "end state"}

func (r Result) cells() []string {
	if r.Error != "" {
		return append(append([]string{r.Way, number(r.Seconds, 1)}, slices.Repeat([]string{"–"}, len(columns)-3)...), r.verdict())
	}
	tool := "–"
	if r.Tool.Peak > 0 {
		tool = fmt.Sprintf("%.0f (%.0f)", megabytes(r.Tool.Peak), megabytes(r.Tool.PeakAnon))
	}
	return []string{
		r.Way, number(r.Seconds, 1), number(r.TransactionsPerSecond, 0), number(r.MegabytesPerSecond, 1),
		number(r.TimesSerial, 2), number(r.TimesApplier, 2), tool, number(megabytes(r.Server.Peak), 0),
		fmt.Sprintf("%.1f + %.1f", r.Tool.CPUSecond, r.Server.CPUSecond), number(r.Shutdown, 1), r.verdict(),
	}
}

func number(v float64, digits int) string {
	if v == 0 {
		return "–"
	}
	return fmt.Sprintf("%.*f", digits, v)
}

func megabytes(n int64) float64 { return float64(n) / 1e6 }

// title says what was replayed.
func (r Report) title() string {
	return fmt.Sprintf("replay: %s, %s, %d transactions, %.0f MB of binary log in %d files, %d tables of %d rows",
		r.Server, r.Workload, r.Transactions, megabytes(r.LogBytes), r.LogFiles, r.Tables, r.TableSize)
}

// about lists what one must know to repeat the run.
func (r Report) about() []string {
	lines := r.Head.about()
	for _, w := range r.Ways {
		lines = append(lines, "load average before "+w.Way+": "+w.Load)
	}
	var settings []string
	for _, name := range slices.Sorted(maps.Keys(r.Settings)) {
		settings = append(settings, name+"="+r.Settings[name])
	}
	return append(lines, "settings of every target: "+strings.Join(settings, ", "))
}

// page is the report for people.
func (r Report) page() page {
	p := page{title: r.title(), rows: [][]string{columns}, about: r.about(),
		name: r.name(r.Workload)}
	for _, w := range r.Ways {
		p.rows = append(p.rows, w.cells())
	}
	return p
}
