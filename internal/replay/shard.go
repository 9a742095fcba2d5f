package replay

import (
	"context"
	"sync/atomic"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/collation"
)

// work is one rows event for a table that is compacted or counted.
type work struct {
	table *table
	file  int
	ev    binlog.Event
	rows  binlog.RowsBody
}

// shard indexes the changes of some of the tables, in log order. All events of
// a table go to one shard, so shards need no locks among each other.
type shard struct {
	q       collation.Querier
	folders *folders
	images  *images
	batches chan []work
	rest    []work // of the current batch, from the event at hand on
	done    chan error
	memory  atomic.Int64 // bytes of indexes and of images kept in memory
	tables  []*table
}

// batchEvents is how many events go to a shard at once; with queueBatches this
// bounds what is on its way to a shard to about 1,000 × 4 headers of 200 bytes,
// and the images they point to, which lie in the mapped file.
const (
	batchEvents  = 1000
	queueBatches = 4
)

func newShard(files []*binlog.File, q collation.Querier, f *folders) *shard {
	return &shard{q: q, folders: f, images: &images{files: files}, batches: make(chan []work, queueBatches), done: make(chan error, 1)}
}

// run indexes until the channel is closed or an event does not fit.
func (s *shard) run(ctx context.Context) {
	var err error
	for batch := range s.batches {
		if err != nil {
			continue // drain, so that the sender is never stuck
		}
		err = s.index(ctx, batch)
	}
	s.done <- err
}

func (s *shard) index(ctx context.Context, batch []work) error {
	for i := range batch {
		s.rest = batch[i:]
		wk := &batch[i]
		if !wk.table.indexed {
			wk.table.indexed = true
			s.tables = append(s.tables, wk.table)
		}
		base := s.images.base(wk.file, &wk.ev, wk.rows.Images)
		if err := wk.table.add(ctx, base, &wk.rows); err != nil {
			return binlog.At(s.images.files[wk.file].At(wk.ev.Offset), err)
		}
	}
	s.rest = nil
	s.memory.Store(s.bytes())
	return ctx.Err()
}

func (s *shard) bytes() int64 {
	n := s.images.bytes
	for _, t := range s.tables {
		switch {
		case t.index != nil:
			n += t.index.Bytes()
		case t.copies != nil:
			n += t.copies.Bytes()
		}
	}
	return n
}

// full reports whether the shard cannot take more events into memory pages.
func (s *shard) full() bool { return len(s.images.inner) > innerPages-batchEvents*(queueBatches+2) }
