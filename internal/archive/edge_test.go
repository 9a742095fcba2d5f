package archive_test

import (
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// TestGather: a follower that has all that the server had, by its last word,
// leaves what comes where it is until the next word; then it has that, too. What
// is read up to its end is never more than was there at the word's time.
func TestGather(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		w := newWorld(t, d)
		end := archive.NewEdge(time.Hour, time.Hour)
		stop := w.follow(w.options().WithEdge(end))
		defer stop()
		w.traffic(5, seeded(t)) // nothing is known: it reads what comes
		w.await()
		archive.Tell(end, w.end(), time.Now())
		w.exec("INSERT INTO d.t (b) VALUES ('it may be reading already')")
		archive.Tell(end, w.end(), time.Now())
		w.await()
		had := w.log().Files
		w.exec("INSERT INTO d.t (b) VALUES ('this waits')")
		time.Sleep(300 * time.Millisecond) // a follower that does not wait stores it at once
		if now := w.log().Files; now[len(now)-1].End != had[len(had)-1].End {
			t.Errorf("before the next word it had %d, and now %d", had[len(had)-1].End, now[len(now)-1].End)
		}
		archive.Tell(end, w.end(), time.Now())
		w.await()
	})
}

// end is where the server's log ends.
func (w *world) end() binlog.Position {
	name := w.last()
	return binlog.Position{File: name, Offset: int64(len(w.files()[name]))}
}
