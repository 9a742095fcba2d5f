package storage_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lifeboat-db/lifeboat/internal/repository/store"
	"github.com/lifeboat-db/lifeboat/internal/repository/store/storetest"
	"github.com/lifeboat-db/lifeboat/internal/server"
)

// TestOutage: storage does not answer for a long time, while the server is
// written to as fast as it can be. Nothing is lost, and the archive catches up.
//
// What takes an hour is in small here. The longest back-off, a minute, is the
// unit: an outage of an hour is 60 of them. Time goes as much faster for the
// server, which gives up a connection that takes nothing (net_write_timeout).
func TestOutage(t *testing.T) {
	for _, how := range []string{"refuses", "hangs"} {
		t.Run(how, func(t *testing.T) {
			one(t, 2, func(t *testing.T, d server.Distribution) {
				random(t)
				s := start(t, d, "--net-write-timeout=1")
				gateway := storetest.Versitygw(t)
				gateway.KeepVersions(t)
				front := gateway.Front(t)
				o := front.Options(t)
				o.MaxWait, o.Stall = backoff, 10*backoff
				repo := create(t, o)
				a := s.archiver(repo)
				a.MaxWait = backoff
				stop := a.run(t)
				s.load(4 * backoff)
				s.await(repo)
				before, over := s.written(), make(chan struct{})
				front.Break(func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
					if how == "hangs" {
						select {
						case <-r.Context().Done():
						case <-over:
						}
					}
					storetest.Reset(w)
				})
				s.load(60 * backoff)
				bytes, began := s.written()-before, time.Now()
				front.Break(nil)
				close(over)
				s.await(repo)
				took := time.Since(began)
				t.Logf("in %v %d KiB were written, and archived in %v after that: %.1f times as fast", 60*backoff, bytes>>10, took.Round(time.Millisecond), float64(60*backoff)/float64(took))
				s.same(repo)
				stop()
				once(t, a, o)
			})
		})
	}
}

// once checks that nothing was put twice, and nothing was an alarm.
func once(t *testing.T, a *archiver, o store.Options) {
	t.Helper()
	if len(a.alarms) > 0 {
		t.Errorf("alarms: %v", a.alarms)
	}
	putOnce(t, o)
}

// load writes as fast as four clients can, for a while.
func (s *source) load(while time.Duration) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), while)
	defer cancel()
	var g errgroup.Group
	for range 4 {
		g.Go(func() error {
			for ctx.Err() == nil {
				if _, err := s.db.ExecContext(s.t.Context(), "INSERT INTO d.t (b) VALUES (RANDOM_BYTES(190))"); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		s.t.Error(err)
	}
}

// written is how many bytes the server's log has.
func (s *source) written() (n int64) {
	s.t.Helper()
	for _, path := range s.logs() {
		n += size(s.t, path)
	}
	return n
}

// TestBadNetwork: storage that answers badly, slowly, or breaks off, for as long
// as the test runs. Everything is archived all the same, each object once.
func TestBadNetwork(t *testing.T) {
	for name, fault := range map[string]func(chance func(n int) int) storetest.Fault{
		"30 % are 503": func(chance func(int) int) storetest.Fault {
			return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				if chance(100) < 30 {
					storetest.Refuse(w, 503, "SlowDown")
					return
				}
				next.ServeHTTP(w, r)
			}
		},
		"latency": func(func(int) int) storetest.Fault {
			return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				time.Sleep(latency)
				next.ServeHTTP(w, r)
			}
		},
		"1 MB/s": func(func(int) int) storetest.Fault {
			return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				r.Body = &slow{r.Body}
				next.ServeHTTP(w, r)
			}
		},
		"breaks off": func(chance func(int) int) storetest.Fault {
			return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				switch {
				case storetest.IsPut(r) && chance(2) == 0 && r.ContentLength > 0: // in the midst of a body
					r.Body = &broken{r.Body, chance(int(r.ContentLength))}
					next.ServeHTTP(w, r)
				case storetest.IsPut(r) && chance(4) == 0: // done, and nobody hears of it
					storetest.Lose(w, r, next)
				case chance(4) == 0: // in the midst of an answer
					storetest.Cut(w, r, next, int64(chance(500)))
				default:
					next.ServeHTTP(w, r)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			one(t, uint64(len(name)), func(t *testing.T, d server.Distribution) {
				r := random(t)
				s := start(t, d)
				gateway := storetest.Versitygw(t)
				gateway.KeepVersions(t)
				front := gateway.Front(t)
				o := front.Options(t)
				o.Tries, o.MaxWait = 30, backoff
				repo := create(t, o)
				front.Break(fault(locked(r)))
				a := s.archiver(repo)
				a.SegmentBytes = 300_000
				stop := a.run(t)
				s.write(20, r)
				s.noise(2, r)
				s.same(open(t, withEndpoint(o, gateway)))
				stop()
				once(t, a, withEndpoint(o, gateway))
			})
		})
	}
}

// withEndpoint is the same place by another way.
func withEndpoint(o store.Options, s *storetest.Server) store.Options {
	o.Endpoint = s.Endpoint
	return o
}

// locked makes chances for several goroutines.
func locked(r *rand.Rand) func(n int) int {
	var mu sync.Mutex
	return func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return r.IntN(n)
	}
}

// slow is a body that comes with a megabyte a second.
type slow struct{ io.ReadCloser }

func (s *slow) Read(b []byte) (int, error) {
	const piece = 20_000
	n, err := s.ReadCloser.Read(b[:min(len(b), piece)])
	time.Sleep(time.Duration(n) * time.Second / 1_000_000)
	return n, err
}

// broken is a body that breaks off.
type broken struct {
	io.ReadCloser
	left int
}

var errBroken = errors.New("the connection has broken off")

func (b *broken) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, errBroken
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
