package archive

import (
	"context"
	"sync"
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
		"nobody has asked":               {nil, false, at("b.1", 100), 0},
		"there is more":                  {[]binlog.Position{at("b.1", 200)}, true, at("b.1", 100), 0},
		"there is a later file":          {[]binlog.Position{at("b.2", 4)}, true, at("b.1", 100), 0},
		"it ends there":                  {[]binlog.Position{at("b.1", 100)}, true, at("b.1", 100), patience},
		"it is known to end before that": {[]binlog.Position{at("b.1", 90)}, true, at("b.1", 100), patience},
		"it ends there, and goes on":     {[]binlog.Position{at("b.1", 100), at("b.1", 100), at("b.1", 150)}, true, at("b.1", 100), 2 * every},
		"it ends there, and is rotated":  {[]binlog.Position{at("b.1", 100), at("b.2", 4)}, true, at("b.1", 100), every},
		"the server answers no more":     {[]binlog.Position{at("b.1", 100), at("b.1", 100)}, false, at("b.1", 100), every + stale*every},
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
				e.await(ctx, c.from)
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
		e.await(ctx, at("b.1", 100))
		if took := time.Since(began); took != time.Millisecond {
			t.Errorf("after the end it has waited for %s", took)
		}
	})
	(*edge)(nil).await(t.Context(), at("b.1", 100))
}
