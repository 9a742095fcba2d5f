package threeway_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/test/compare"
	"github.com/lifeboat-db/lifeboat/test/history"
)

// TestHistories replays random histories.
//
//	LIFEBOAT_SEED=N        the first seed; the next ones follow it
//	LIFEBOAT_HISTORIES=N   how many for each distribution
//	LIFEBOAT_FEATURES=LIST what histories contain, see history.Set.Select
//	LIFEBOAT_STEPS=N       how long they are
//
// Every third seed has changes of rows only, so that much is collected between
// one barrier and the next. Every fourth seed has what the vendors' own replay gets wrong, and does
// without it. The
// statements and binary logs of a history that fails are kept in the directory
// that the failure names.
func TestHistories(t *testing.T) {
	seed := uint64(number("LIFEBOAT_SEED", rand.IntN(1_000_000)))
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		for n := range uint64(number("LIFEBOAT_HISTORIES", histories)) {
			t.Run(fmt.Sprintf("seed=%d", seed+n), func(t *testing.T) { testHistory(t, d, seed+n) })
		}
	})
}

func number(variable string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(variable)); err == nil {
		return n
	}
	return otherwise
}

func testHistory(t *testing.T, d server.Distribution, seed uint64) {
	beyond := history.Beyond(d.Flavor)
	features := history.All(d.Flavor)
	if seed%3 == 1 {
		features = history.Rows(d.Flavor)
	}
	if seed%4 == 3 {
		features = features.Union(beyond)
	}
	features, err := features.Select(os.Getenv("LIFEBOAT_FEATURES"))
	must(t, err)
	h := history.New(history.Options{
		Seed: seed, Flavor: d.Flavor, Features: features, Steps: number("LIFEBOAT_STEPS", 1200),
	})
	t.Cleanup(func() { report(t, d, h, seed) })
	gtid := seed%2 == 0
	began := time.Now()
	w := record(t, d, gtid, h.Setup, h.Run)
	t.Cleanup(func() { keep(t, d, w, seed) })
	t.Logf("seed %d: %d statements, %d refused, %d binary logs, GTID %v, %d tables; %.1f s",
		seed, len(h.Entries()), refused(h), len(w.files), gtid, len(w.end.Tables), time.Since(began).Seconds())
	w.compareAll(t, ways(features.Overlaps(beyond)), compare.AtMost)
}

func refused(h *history.History) (n int) {
	for _, e := range h.Entries() {
		if e.Err != nil {
			n++
		}
	}
	return n
}

// compareAll replays in all ways and compares each end with the source's.
func (w world) compareAll(t *testing.T, ways []way, counters compare.Counters) {
	t.Helper()
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			began := time.Now()
			end, said, err := w.replayed(t, way)
			if err != nil {
				t.Fatalf("%s: %v", way.name, err)
			}
			if diff := compare.Diff(w.end, end, "source", way.name, counters); diff != "" {
				t.Errorf("%s\n%s", way.name, short(diff))
			}
			t.Logf("%.1f s; %s", time.Since(began).Seconds(), said)
		})
	}
}

func short(text string) string {
	if len(text) > 6000 {
		return text[:6000] + "\n…"
	}
	return text
}

// report keeps a failing history and says how to run it again.
func report(t *testing.T, d server.Distribution, h *history.History, seed uint64) {
	if !t.Failed() {
		return
	}
	path := filepath.Join(evidence(t, d, seed), "history.sql")
	f, err := os.Create(path)
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { _ = f.Close() }()
	if err := h.Write(f); err != nil {
		t.Error(err)
	}
	t.Logf("run again with LIFEBOAT_SEED=%d; statements and binary logs in %s", seed, filepath.Dir(path))
}

// evidence is the directory for what explains a failure.
func evidence(t *testing.T, d server.Distribution, seed uint64) string {
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("lifeboat-history-%s-%d", d.Name, seed))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Error(err)
	}
	return dir
}

// keep copies the binary logs of a test that failed.
func keep(t *testing.T, d server.Distribution, w world, seed uint64) {
	if !t.Failed() {
		return
	}
	dir := evidence(t, d, seed)
	for _, file := range w.files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), text, 0o644); err != nil {
			t.Error(err)
		}
	}
}
