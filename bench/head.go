package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/server"
)

// Head is what every report begins with.
type Head struct {
	SchemaVersion int       `json:"schema_version"` // 1
	Benchmark     string    `json:"benchmark"`      // its name
	Date          time.Time `json:"date"`
	Machine       Machine   `json:"machine"`
	Server        string    `json:"server"` // name and version
	Distribution  string    `json:"distribution"`
	Lifeboat      string    `json:"lifeboat,omitempty"` // version
	Tables        int       `json:"tables"`
	TableSize     int       `json:"table_size"`
}

func newHead(benchmark, distribution, version string, tables, tableSize int) Head {
	return Head{
		SchemaVersion: 1, Benchmark: benchmark, Date: time.Now().UTC().Truncate(time.Second), Machine: thisMachine(),
		Server: distribution + " (" + version + ")", Distribution: distribution, Tables: tables, TableSize: tableSize,
	}
}

// name is that of a report's files.
func (h Head) name(suffix string) string {
	return fmt.Sprintf("%s-%s-%s", h.Date.Format(time.DateOnly), h.Distribution, suffix)
}

// about is when, where and with what a report was made.
func (h Head) about() []string {
	lines := []string{"date: " + h.Date.Format(time.RFC3339), "machine: " + h.Machine.String()}
	if h.Lifeboat != "" {
		lines = append(lines, "lifeboat: "+h.Lifeboat)
	}
	return lines
}

// verdict is how a way ended, in a word, and in capitals where that is not as it
// should be.
func verdict(failure string, equal bool) string {
	switch {
	case failure != "":
		return "FAILED"
	case !equal:
		return "WRONG"
	}
	return "equal"
}

// problem tells of a way that did not arrive.
func problem(way, failure string, equal bool, different []string) error {
	switch verdict(failure, equal) {
	case "FAILED":
		return fmt.Errorf("%s FAILED: %s", way, failure)
	case "WRONG":
		return fmt.Errorf("%s is WRONG: other contents than the source's in %s", way, strings.Join(different, ", "))
	}
	return nil
}

// each does something for every distribution of the configuration. One that
// fails does not stop the others; the error tells of all of them.
func (c Common) each(ctx context.Context, valid error, do func(server.Distribution) error) error {
	if valid != nil {
		return fmt.Errorf("bench: %w", valid)
	}
	found, err := c.servers()
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	var failed []error
	for _, d := range found {
		if err := do(d); err != nil {
			failed = append(failed, fmt.Errorf("bench: %s: %w", d.Name, err))
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return errors.Join(failed...)
}
