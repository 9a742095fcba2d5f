package archive

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
)

// TestEdge: a follower waits where the log ends, and nowhere else; and whatever
// happens to who asks, or does not happen to the log, it reads on.
func TestEdge(t *testing.T) {
	const every, patience = 100 * time.Millisecond, 5 * time.Second
	at := func(file string, offset int64) binlog.Position { return binlog.Position{File: file, Offset: offset} }
	for name, c := range map[string]struct {
		words []binlog.Position // one after each pause, from the start on; the last one again and again if it is repeated
		again bool
		from  binlog.Position
		want  time.Duration
	}{
		"nobody has asked":              {nil, false, at("b.1", 100), 0},
		"there is more":                 {[]binlog.Position{at("b.1", 200)}, true, at("b.1", 100), 0},
		"there is a later file":         {[]binlog.Position{at("b.2", 4)}, true, at("b.1", 100), 0},
		"it ends there":                 {[]binlog.Position{at("b.1", 100)}, true, at("b.1", 100), patience},
		"it was to end before that":     {[]binlog.Position{at("b.1", 90)}, true, at("b.1", 100), every},
		"it ends there, and goes on":    {[]binlog.Position{at("b.1", 100), at("b.1", 100), at("b.1", 150)}, true, at("b.1", 100), 2 * every},
		"it ends there, and is rotated": {[]binlog.Position{at("b.1", 100), at("b.2", 4)}, true, at("b.1", 100), every},
		"the server answers no more":    {[]binlog.Position{at("b.1", 100), at("b.1", 100)}, false, at("b.1", 100), every + stale*every},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				e := newEdge(every, patience)
				var words sync.WaitGroup
				defer words.Wait()
				defer cancel()
				words.Go(func() {
					for i := 0; (i < len(c.words) || c.again) && ctx.Err() == nil; i++ {
						e.tell(c.words[min(i, len(c.words)-1)], time.Now())
						time.Sleep(every)
					}
				})
				synctest.Wait()
				began := time.Now()
				(&shore{edge: e}).await(ctx, c.from)
				if took := time.Since(began); took != c.want {
					t.Errorf("it has waited for %s, and was to wait for %s", took, c.want)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		e := newEdge(every, patience)
		e.tell(at("b.1", 100), time.Now())
		began := time.Now()
		(&shore{edge: e}).await(ctx, at("b.1", 100))
		if took := time.Since(began); took != time.Millisecond {
			t.Errorf("after the end it has waited for %s", took)
		}
	})
	new(shore).await(t.Context(), at("b.1", 100)) // nobody asks
}

// TestStrangeEdge: words that are older than what was read, though the server was
// asked later, are another server's. Nobody waits for them, until one comes that
// may be this server's again.
func TestStrangeEdge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const every = 100 * time.Millisecond
		e := newEdge(every, 5*time.Second)
		var words sync.WaitGroup
		var end atomic.Int64
		end.Store(100)
		ctx, cancel := context.WithCancel(t.Context())
		defer words.Wait()
		defer cancel()
		words.Go(func() {
			for ; ctx.Err() == nil; time.Sleep(every) {
				e.tell(binlog.Position{File: "b.1", Offset: end.Load()}, time.Now())
			}
		})
		synctest.Wait()
		s := shore{edge: e}
		await := func(offset int64) time.Duration {
			began := time.Now()
			s.await(ctx, binlog.Position{File: "b.1", Offset: offset})
			return time.Since(began)
		}
		if took := await(150); took != every {
			t.Errorf("it has believed a word from before for %s", took)
		}
		for offset := range int64(50) {
			if took := await(151 + offset); took != 0 {
				t.Fatalf("it has waited for %s once more", took)
			}
		}
		end.Store(300)
		time.Sleep(every)
		synctest.Wait()
		if took := await(250); took != 0 {
			t.Errorf("there is more, and it has waited for %s", took)
		}
		if took := await(300); took != 5*time.Second {
			t.Errorf("a word that may be right again: it has waited for %s", took)
		}
	})
}
