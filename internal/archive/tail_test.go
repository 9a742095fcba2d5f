package archive_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/repository/store/storetest"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// counted is a repository whose reading requests are counted.
func counted(t *testing.T) (r *repository.Repository, reads *atomic.Int64) {
	t.Helper()
	place := storetest.Fake(t)
	r, err := repository.Create(t.Context(), repository.Location{Name: "far", Options: place.Options(t)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	reads = new(atomic.Int64)
	place.Break(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method == http.MethodGet {
			reads.Add(1)
		}
		next.ServeHTTP(w, r)
	})
	return r, reads
}

// hangUp ends the connection of the follower on the server's side.
func (w *world) hangUp() {
	w.t.Helper()
	db := servertest.Open(w.t, w.i, "")
	ids := servertest.Column(w.t, db, "SELECT id FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'")
	for _, id := range ids {
		servertest.Exec(w.t, db, "KILL "+id)
	}
}

// TestBackOff: a connection that lasted for longer than it was waited for has gone
// well: what ends now and then is taken up again at once, for as often as it ends.
func TestBackOff(t *testing.T) {
	w := newWorld(t, servertest.All(t)[0])
	o := w.options()
	o.MaxWait = 3200 * time.Millisecond
	connected, waited := make(chan time.Time, 10), make(chan time.Duration, 10)
	o.Listener.Connected = func(string, binlog.Position) { connected <- time.Now() }
	o.Listener.Waiting = func(_ error, pause time.Duration) { waited <- pause }
	stop := w.follow(o)
	defer stop()
	for range 4 {
		time.Sleep(time.Until((<-connected).Add(250 * time.Millisecond)))
		w.hangUp()
		if pause := <-waited; pause > o.MaxWait/64 {
			t.Errorf("it waits for %s", pause)
		}
	}
}

// TestReconnectIsCheap: what a reconnect reads does not grow with the log, also
// if another archive has stored some of it meanwhile.
func TestReconnectIsCheap(t *testing.T) {
	vendors(t, func(t *testing.T, d server.Distribution) {
		w := newWorld(t, d)
		var reads *atomic.Int64
		w.repo, reads = counted(t)
		o := w.options()
		connected, closed := make(chan int64, 100), make(chan string, 1000)
		o.Listener.Connected = func(string, binlog.Position) { connected <- reads.Load() }
		o.Listener.Closed = func(s archive.Summary) { closed <- s.File }
		waited := make(chan int64, 100)
		o.Listener.Waiting = func(error, time.Duration) { waited <- reads.Load() }
		rotate := func(n int) {
			t.Helper()
			for range n {
				w.exec("INSERT INTO d.t (b) VALUES ('x')", "FLUSH BINARY LOGS")
				<-closed
			}
		}
		stop := w.follow(o)
		<-connected
		var costs []int64
		for _, files := range []int{3, 30} {
			rotate(files)
			w.hangUp()
			before := <-waited
			costs = append(costs, <-connected-before)
		}
		t.Logf("requests of the two reconnects: %v", costs)
		if costs[1] > costs[0] || costs[1] > 5 {
			t.Errorf("a reconnect after 3 files takes %d requests, one after 30 more %d", costs[0], costs[1])
		}
		other := w.options()
		other.SegmentBytes = 100
		second := w.follow(other)
		defer second()
		w.rotated(5)
		w.hangUp()
		w.rotated(5) // the other one may close them
		w.await()
		stop()
		w.same()
		if len(w.alarms) > 0 {
			t.Errorf("alarms: %v", w.alarms)
		}
	})
}

// TestChain: of segments in any order those that hold the bytes without a hole.
func TestChain(t *testing.T) {
	for text, want := range map[string]string{
		"":                        "",
		"4-10":                    "4-10",
		"5-10":                    "",
		"4-10 10-20":              "4-10 10-20",
		"10-20 4-10":              "4-10 10-20",
		"4-10 11-20":              "4-10",
		"4-10 4-15 10-20 15-20":   "4-15 10-20",
		"4-10 6-30 8-20 30-31":    "4-10 6-30 30-31",
		"4-10 5-9 10-12 11-40":    "4-10 10-12 11-40",
		"4-10 4-10 7-10 9-11 5-8": "4-10 9-11",
	} {
		var segments []archive.Segment
		for part := range strings.FieldsSeq(text) {
			var s archive.Segment
			if _, err := fmt.Sscanf(part, "%d-%d", &s.Start, &s.End); err != nil {
				t.Fatal(err)
			}
			segments = append(segments, s)
		}
		var got []string
		for _, s := range archive.Chain(segments) {
			got = append(got, fmt.Sprintf("%d-%d", s.Start, s.End))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: chain %v, want %s", text, got, want)
		}
	}
}
