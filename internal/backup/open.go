package backup

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"

	"github.com/lifeboat-db/lifeboat/internal/repository"
)

// Open gives the stream of a backup again: its parts in order, each verified
// before a byte of it is given. As many as workers are fetched ahead, and are in
// memory; 0: 4. What it gives may be used only once it has ended with io.EOF.
func Open(ctx context.Context, r *repository.Repository, m Manifest, workers int) io.ReadCloser {
	return open(ctx, r, m, workers)
}

func open(ctx context.Context, r *repository.Repository, m Manifest, workers int) *parts {
	if workers <= 0 {
		workers = defaultWorkers
	}
	s := &parts{repo: r, m: m, queue: make(chan chan fetched, workers-1)}
	s.ctx, s.stop = context.WithCancel(ctx)
	s.fetchers.Go(s.fetchAll)
	return s
}

// parts is the stream of a backup. The queue has, in order, a channel for each
// part that is fetched or will be next.
type parts struct {
	ctx      context.Context
	stop     context.CancelFunc
	repo     *repository.Repository
	m        Manifest
	queue    chan chan fetched
	fetchers sync.WaitGroup

	now bytes.Reader // of the part being read
	err error        // that ended it
}

type fetched struct {
	data []byte
	err  error
}

// fetchAll starts to fetch each part as soon as there is room in the queue.
func (s *parts) fetchAll() {
	defer close(s.queue)
	for n := range s.m.Parts {
		part := make(chan fetched, 1)
		select {
		case s.queue <- part:
			s.fetchers.Go(func() {
				data, err := s.fetch(n + 1)
				part <- fetched{data, err}
			})
		case <-s.ctx.Done():
			return
		}
	}
}

// fetch reads part n, which counts from 1.
func (s *parts) fetch(n int) ([]byte, error) {
	object := s.m.PartObject(n)
	h, data, err := s.repo.Read(s.ctx, object)
	if err != nil {
		return nil, fmt.Errorf("part %d: %w", n, err)
	}
	var meta partMeta
	want := partMeta{s.m.ID, n}
	if err := json.Unmarshal(h.Meta, &meta); err != nil || h.Kind != kindPart || meta != want || h.Size != s.m.Parts[n-1].Plain {
		return nil, damaged(s.repo, object, fmt.Errorf("it is not part %d, of %d bytes", n, s.m.Parts[n-1].Plain))
	}
	return data, nil
}

func (s *parts) Read(p []byte) (int, error) {
	for s.err == nil && s.now.Len() == 0 {
		s.next()
	}
	if s.now.Len() > 0 {
		return s.now.Read(p)
	}
	return 0, s.err
}

// next waits for the next part, or sets err.
func (s *parts) next() {
	part, ok := <-s.queue
	switch {
	case s.ctx.Err() != nil:
		s.err = context.Cause(s.ctx)
	case !ok:
		s.err = io.EOF
	default:
		f := <-part
		if f.err != nil {
			s.err = fmt.Errorf("backup %s: %w", s.m.ID, f.err)
			s.stop()
			return
		}
		s.now.Reset(f.data)
	}
}

// Close ends what is under way.
func (s *parts) Close() error {
	s.stop()
	for range s.queue { // so that fetchAll is not held up
	}
	s.fetchers.Wait()
	return nil
}
