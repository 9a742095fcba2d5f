package storage_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/metrics"
	"github.com/lifeboat-db/lifeboat/internal/repository/store"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/test/smalldisk"
)

// TestDiskFull: a repository whose disk is full says so, by its class and in the
// metrics; what it has is whole; and when there is space again the archive goes
// on by itself, however long it would wait after any other failure.
func TestDiskFull(t *testing.T) {
	one(t, 0, func(t *testing.T, d server.Distribution) {
		r := random(t)
		s := start(t, d)
		disk := smalldisk.Mount(t, 2<<20)
		repo := create(t, store.Options{URL: disk})
		a := s.archiver(repo)
		registry := prometheus.NewRegistry()
		shown := metrics.NewArchive(registry).Listen("db1", "r")
		full := make(chan error, 1000)
		a.Listener = archive.Both(a.Listener, archive.Both(shown, archive.Listener{Waiting: func(err error, _ time.Duration) { full <- err }}))
		a.MaxWait = 100 * time.Hour // of which the first pause is more than an hour
		stop := a.run(t)
		s.noise(3, r) // it cannot be compressed
		err := <-full
		if fault.ClassOf(err) != fault.NoSpace || diskFull(t, registry) != 1 {
			t.Errorf("class %d, metric %v: %v", fault.ClassOf(err), diskFull(t, registry), err)
		}
		s.write(5, r)
		for _, f := range load(t, repo).Files {
			if _, err := archive.Fetch(t.Context(), repo, f, t.TempDir()); err != nil {
				t.Errorf("what is there is not whole: %v", err)
			}
		}
		if long {
			<-full // it is still full
		}
		space := time.Now()
		smalldisk.Resize(t, disk, 64<<20)
		s.await(repo)
		t.Logf("everything is archived %v after there was space", time.Since(space).Round(time.Millisecond))
		if diskFull(t, registry) != 0 {
			t.Error("the metric says that it is full")
		}
		s.same(repo)
		stop()
	})
}

// noise commits n transactions of a megabyte each.
func (s *source) noise(n int, r *rand.Rand) {
	s.t.Helper()
	text := make([]byte, 1<<20)
	for range n {
		for i := range text {
			text[i] = byte(r.Uint32())
		}
		s.exec(fmt.Sprintf("INSERT INTO d.t (b) VALUES (x'%x')", text))
	}
}

// diskFull is the metric.
func diskFull(t *testing.T, registry *prometheus.Registry) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "lifeboat_archive_disk_full" {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatal("there is no such metric")
	return 0
}
