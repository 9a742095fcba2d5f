package demo

import (
	"fmt"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lifeboat-db/lifeboat/internal/replay"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/ui"
	"github.com/lifeboat-db/lifeboat/internal/units"
)

// Report is what a demo showed, for programs. Parts that were not reached are
// empty.
type Report struct {
	SchemaVersion int            `json:"schema_version"`
	Server        string         `json:"server"`
	Distribution  string         `json:"distribution"`
	Transactions  int64          `json:"transactions"`   // of the traffic
	SchemaChanges int            `json:"schema_changes"` // in its midst
	Backup        Backup         `json:"backup"`
	Log           Log            `json:"log"`
	Restore       Restore        `json:"restore"`
	Replay        *replay.Report `json:"replay"`
	Tables        []Comparison   `json:"tables"`
	Equal         bool           `json:"equal"` // all tables are as they were
	Serial        *Serial        `json:"serial,omitempty"`
	Seconds       float64        `json:"seconds"` // all of it
	Kept          string         `json:"kept,omitempty"`
}

// Backup is the full backup.
type Backup struct {
	Position string `json:"position"` // FILE:POSITION of the log that follows
	Bytes    int64  `json:"bytes"`
}

// Log is what was replayed.
type Log struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
}

// Restore is the way from the backup to a server that runs on it.
type Restore struct {
	Seconds float64 `json:"seconds"`
}

// Serial is the same recovery by mysqlbinlog | mysql.
type Serial struct {
	Seconds float64 `json:"seconds"` // of the replay alone
	Ratio   float64 `json:"ratio"`   // to Lifeboat's replay
	Equal   bool    `json:"equal"`   // all tables are as they were
}

// Summary renders what came back, for people.
func Summary(r *Report) string {
	var b strings.Builder
	b.WriteString("\n")
	b.WriteString(comparisons(r.Tables))
	b.WriteString("\n" + conclusion(r) + "\n\n")
	b.WriteString(ui.Table(totals(r)))
	return b.String()
}

func conclusion(r *Report) string {
	if n := unequal(r.Tables); n > 0 {
		return fmt.Sprintf("%d of %d tables did NOT come back as they were.", n, len(r.Tables))
	}
	var rows int64
	for _, t := range r.Tables {
		rows += t.RowsAfter
	}
	return fmt.Sprintf("All %d tables with their %s rows are back, as they were when the server died.", len(r.Tables), units.Count(rows))
}

func comparisons(list []Comparison) string {
	grid := [][]string{{"table", "rows", "checksum before", "checksum after", ""}}
	for _, c := range list {
		rows, result := units.Count(c.RowsAfter), "equal"
		if c.RowsBefore != c.RowsAfter {
			rows = units.Count(c.RowsBefore) + " -> " + units.Count(c.RowsAfter)
		}
		if !c.Equal {
			result = "DIFFERENT: " + c.Why
		}
		grid = append(grid, []string{c.Table, rows, dash(c.Before), dash(c.After), result})
	}
	return aligned(grid)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// aligned renders a grid: names to the left, numbers to the right.
func aligned(grid [][]string) string {
	widths := make([]int, len(grid[0]))
	for _, row := range grid {
		for n, cell := range row {
			widths[n] = max(widths[n], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, row := range grid {
		line := fmt.Sprintf("  %-*s", widths[0], row[0])
		for n := 1; n < len(row)-1; n++ {
			line += fmt.Sprintf("  %*s", widths[n], row[n])
		}
		b.WriteString(strings.TrimRight(line+"  "+row[len(row)-1], " ") + "\n")
	}
	return b.String()
}

func totals(r *Report) [][2]string {
	p := r.Replay
	per := func(n int64) int64 { return int64(float64(n) / max(p.Seconds, 0.001)) }
	rows := [][2]string{
		{"in the logs", fmt.Sprintf("%s transactions with %s row changes, %s", units.Count(p.Transactions), units.Count(p.RowChanges), units.Bytes(p.Bytes))},
		{"written", fmt.Sprintf("%s rows: one that changed often is written once", units.Count(p.NetRows))},
		{"restore", span(r.Restore.Seconds)},
		{"replay", fmt.Sprintf("%s  (%s transactions/s, %s row changes/s, %s/s)", span(p.Seconds), units.Count(per(p.Transactions)), units.Count(per(p.RowChanges)), units.Bytes(per(p.Bytes)))},
	}
	if s := r.Serial; s != nil {
		state := "same end state"
		if !s.Equal {
			state = "its end state is DIFFERENT"
		}
		rows = append(rows, [2]string{"mysqlbinlog | mysql", fmt.Sprintf("%s  (%.1f times as long, without reading back; %s)", span(s.Seconds), s.Ratio, state)})
	}
	return rows
}

func span(seconds float64) string { return took(time.Duration(seconds * float64(time.Second))) }

// whereabouts tells what was kept.
func (d *demo) whereabouts() string {
	mysqld, err := d.dist.Tool("mysqld")
	if err != nil {
		mysqld = "mysqld"
	}
	rows := [][2]string{
		{"backup/", "the full backup: a data directory"},
		{"archive/", "the binary logs; what follows the backup begins at " + d.backup.position},
		{"restored/", "what Lifeboat made of both: a data directory"},
	}
	if d.opt.Compare {
		rows = append(rows, [2]string{"serial/", "what mysqlbinlog | mysql made of both"})
	}
	return "\nKept in " + d.dir + ":\n" + ui.Table(rows) +
		"A server starts on a data directory with, for example:\n  " + mysqld + " --no-defaults" + d.startOptions() + " \\\n" +
		"    --skip-networking --socket=/tmp/demo.sock --datadir=" + d.path("restored") + "\n"
}

// startOptions are what this server needs to start where it is not at home.
func (d *demo) startOptions() (args string) {
	if os.Geteuid() == 0 {
		args += " --user=root"
	}
	if d.dist.Flavor == server.MySQL {
		args += " --secure-file-priv= --loose-mysqlx=OFF"
	}
	return args
}
