package metrics_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/metrics"
	"github.com/lifeboat-db/lifeboat/internal/stream"
)

// scraped is what Prometheus gets, without the process's own metrics.
func scraped(t *testing.T, at string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+at+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(regexp.MustCompile(`(?m)^lifeboat_.*$`).FindAllString(string(text), -1), "\n")
}

// Each event moves the metrics of its own pair, and all are there from the
// beginning: an alert on a metric that is not there is silent.
func TestArchive(t *testing.T) {
	registry := metrics.NewRegistry()
	a := metrics.NewArchive(registry)
	one, other := a.Listen("db1", "main"), a.Listen("db1", "near")
	at, stop, err := metrics.Serve(t.Context(), "127.0.0.1:0", registry)
	if err != nil {
		t.Fatal(err)
	}
	steps := []struct {
		do   func()
		want string
	}{
		{func() {}, `connected{P} 0;disk_full{P} 0;last_commit_timestamp_seconds{P} 0;stored_bytes_total{P} 0;segments_total{P} 0;alarms_total{P} 0;errors_total{kind="denied",P} 0;errors_total{kind="server",P} 0;errors_total{kind="storage",P} 0;errors_total{kind="no_space",P} 0;errors_total{kind="refused",P} 0`},
		{func() { one.Connected("id", binlog.Position{File: "b.000001", Offset: 4}) }, `connected{P} 1`},
		{func() {
			one.Stored(archive.Summary{File: "b.000001", End: 700, Last: time.Unix(1389000000, 0)}, 500)
			one.Stored(archive.Summary{File: "b.000001", End: 900}, 100)
		}, `connected{P} 1;stored_bytes_total{P} 600;segments_total{P} 2;last_commit_timestamp_seconds{P} 1.389e+09`},
		{func() { one.Alarm(archive.Alarm{}) }, `alarms_total{P} 1`},
		{func() { one.Waiting(fault.Errorf(fault.NoSpace, "full"), time.Second) }, `connected{P} 0;disk_full{P} 1;errors_total{kind="no_space",P} 1`},
		{func() { one.Stored(archive.Summary{}, 1) }, `disk_full{P} 0;stored_bytes_total{P} 601`},
		{func() { one.Waiting(errors.New("gone"), 0) }, `errors_total{kind="server",P} 1`},
		{func() { one.Waiting(fmt.Errorf("x: %w", stream.ErrDenied), 0) }, `errors_total{kind="denied",P} 1`},
		{func() { one.Waiting(fault.Errorf(fault.Storage, "x"), 0) }, `errors_total{kind="storage",P} 1`},
		{func() { one.Waiting(fault.Errorf(fault.Refused, "x"), 0) }, `errors_total{kind="refused",P} 1`},
		{func() {}, `held_files{S} 0;held_bytes{S} 0;expiry_warning{S} 0;hold_failing{S} 0;purged_files_total{S} 0`},
		{func() { a.Kept("db1", archive.Kept{Files: 3, Bytes: 700, Purged: 2, Warning: "x"}) }, `held_files{S} 3;held_bytes{S} 700;expiry_warning{S} 1;purged_files_total{S} 2`},
		{func() { a.Kept("db1", archive.Kept{Err: errors.New("gone")}) }, `held_files{S} 3;held_bytes{S} 700;expiry_warning{S} 1;hold_failing{S} 1`},
		{func() { a.Kept("db1", archive.Kept{Files: 1}) }, `held_files{S} 1;held_bytes{S} 0;expiry_warning{S} 0;hold_failing{S} 0;purged_files_total{S} 2`},
	}
	for _, s := range steps {
		s.do()
		text := scraped(t, at)
		for want := range strings.SplitSeq(s.want, ";") {
			line := "lifeboat_archive_" + strings.NewReplacer("P}", `repository="main",server="db1"}`, "S}", `server="db1"}`).Replace(want)
			if !strings.Contains(text+"\n", line+"\n") {
				t.Errorf("no %s in\n%s", line, text)
			}
		}
	}
	untouched := regexp.MustCompile(`(?m)^.*repository="near".*$`).FindAllString(scraped(t, at), -1)
	for _, line := range untouched {
		if !strings.HasSuffix(line, " 0") && !strings.Contains(line, "lag_seconds") {
			t.Errorf("the other repository has %s", line)
		}
	}
	if len(untouched) != 12 {
		t.Errorf("%d metrics of a pair: %v", len(untouched), untouched)
	}
	other.ServerAt(binlog.Position{File: "b.000001", Offset: 900})
	other.Connected("id", binlog.Position{File: "b.000001", Offset: 900})
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// Every metric is in the guide, and the guide has no others.
func TestGuide(t *testing.T) {
	registry := prometheus.NewRegistry()
	metrics.NewArchive(registry).Listen("s", "r")
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../docs/archive.md")
	if err != nil {
		t.Fatal(err)
	}
	guide := map[string]bool{}
	for _, name := range regexp.MustCompile(`lifeboat_archive_[a-z_]+`).FindAllString(string(text), -1) {
		guide[name] = true
	}
	for _, f := range families {
		if !guide[f.GetName()] {
			t.Errorf("%s is not in docs/archive.md", f.GetName())
		}
		delete(guide, f.GetName())
	}
	if len(guide) > 0 {
		t.Errorf("docs/archive.md has what there is not: %v", guide)
	}
}

// An address that somebody has is an error, with what to do.
func TestTakenAddress(t *testing.T) {
	at, stop, err := metrics.Serve(t.Context(), "127.0.0.1:0", metrics.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stop() }()
	if _, _, err := metrics.Serve(t.Context(), at, metrics.NewRegistry()); err == nil || !strings.Contains(err.Error(), "archive.metrics") {
		t.Errorf("a second one: %v", err)
	}
}
