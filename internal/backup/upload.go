package backup

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository"
)

// upload cuts a stream into parts and puts each of them into all repositories.
//
// There are as many buffers as parts may be under way. Who writes waits for a
// free one: so slow storage slows down the tool, and memory is bounded.
type upload struct {
	ctx    context.Context // ends when a repository has failed for good
	fail   context.CancelCauseFunc
	lanes  []*lane
	id     string
	size   int         // plain bytes of a part
	free   chan []byte // buffers of that capacity
	part   []byte      // being filled; nil if none is
	number int         // of the last part that was begun
	puts   sync.WaitGroup
}

// lane is the way into one repository.
type lane struct {
	repo     *repository.Repository
	prefix   string // the backup's folder
	patience time.Duration
	inline   int // parts in the manifest, and in each list: inlineParts

	mu    sync.Mutex
	parts []Part // part n at n-1; complete once all puts are done
}

func newUpload(ctx context.Context, t *taking) *upload {
	u := &upload{id: t.id, size: t.PartBytes, free: make(chan []byte, t.Workers)}
	u.ctx, u.fail = context.WithCancelCause(ctx)
	for range t.Workers {
		u.free <- nil // made when it is needed
	}
	for _, r := range t.Repositories {
		u.lanes = append(u.lanes, &lane{repo: r, prefix: folder(t.Set, t.id), patience: t.Patience, inline: inlineParts})
	}
	return u
}

// Write takes bytes of the stream.
func (u *upload) Write(p []byte) (int, error) {
	for done := 0; done < len(p); {
		if err := u.begin(); err != nil {
			return done, err
		}
		n := min(len(p)-done, u.size-len(u.part))
		u.part = append(u.part, p[done:done+n]...)
		if done += n; len(u.part) == u.size {
			u.send()
		}
	}
	return len(p), nil
}

// begin waits for a buffer, unless a part is being filled.
func (u *upload) begin() error {
	if u.ctx.Err() != nil {
		return context.Cause(u.ctx)
	}
	if u.part != nil {
		return nil
	}
	select {
	case buffer := <-u.free:
		if buffer == nil {
			buffer = make([]byte, 0, u.size)
		}
		u.part = buffer[:0]
		return nil
	case <-u.ctx.Done():
		return context.Cause(u.ctx)
	}
}

// send puts the part that is being filled.
func (u *upload) send() {
	data := u.part
	u.part = nil
	u.number++
	number := u.number
	u.puts.Go(func() {
		var all sync.WaitGroup
		for _, l := range u.lanes {
			all.Go(func() {
				if err := l.putPart(u.ctx, u.id, number, data); err != nil {
					u.fail(fmt.Errorf("part %d: %w", number, err))
				}
			})
		}
		all.Wait()
		u.free <- data // there is room: it came from there
	})
}

// finish puts what is left after the driver has ended with this error, and
// waits. The error of a repository is the one that counts: the driver's is what
// came of it.
func (u *upload) finish(driver error) error {
	if driver == nil && len(u.part) > 0 {
		u.send()
	}
	if driver != nil && u.ctx.Err() == nil {
		u.fail(driver) // what is under way is of no use
	}
	u.puts.Wait()
	if u.ctx.Err() != nil {
		return context.Cause(u.ctx)
	}
	return nil
}

// stop frees what the context holds.
func (u *upload) stop() {
	u.fail(nil)
	u.puts.Wait()
}

// putPart puts part number of the backup.
func (l *lane) putPart(ctx context.Context, id string, number int, data []byte) error {
	name, stored, err := l.put(ctx, fmt.Sprintf("%s%06d", l.prefix, number), kindPart, partMeta{id, number}, data)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if missing := number - len(l.parts); missing > 0 {
		l.parts = append(l.parts, make([]Part, missing)...)
	}
	l.parts[number-1] = Part{Name: strings.TrimPrefix(name, l.prefix), Plain: int64(len(data)), Stored: stored}
	return nil
}

// seal puts the manifest, after the lists of parts that it has no room for.
func (l *lane) seal(ctx context.Context, m Manifest) (Manifest, error) {
	m.Parts = l.parts
	for _, p := range m.Parts {
		m.PlainBytes += p.Plain
		m.StoredBytes += p.Stored
	}
	if err := errors.Join(m.checkForm(), m.checkParts()); err != nil {
		return Manifest{}, err
	}
	short := m
	short.Parts = m.Parts[:min(len(m.Parts), l.inline)]
	for chunk := range slices.Chunk(m.Parts[len(short.Parts):], l.inline) {
		prefix := fmt.Sprintf("%sparts-%06d", l.prefix, len(short.PartLists)+1)
		name, _, err := l.put(ctx, prefix, kindParts, listMeta{m.ID, chunk}, nil)
		if err != nil {
			return Manifest{}, err
		}
		short.PartLists = append(short.PartLists, strings.TrimPrefix(name, l.prefix))
	}
	m.PartLists = short.PartLists
	name, _, err := l.put(ctx, l.prefix+"manifest", kindManifest, short, nil)
	m.Object = name
	return m, err
}

// put tries until the object is there, the storage fails for good, or patience
// is at an end.
func (l *lane) put(ctx context.Context, prefix, kind string, meta any, data []byte) (name string, stored int64, err error) {
	deadline := time.Now().Add(l.patience)
	for wait := firstWait; ; wait = min(2*wait, maxWait) {
		name, stored, err = l.repo.Put(ctx, prefix, kind, meta, data)
		if err == nil || !mayPass(err) || time.Now().Add(wait).After(deadline) {
			return name, stored, err
		}
		select {
		case <-time.After(wait/2 + rand.N(wait/2)):
		case <-ctx.Done():
			return "", 0, context.Cause(ctx)
		}
	}
}

// Waits between two tries.
const (
	firstWait = 500 * time.Millisecond
	maxWait   = 30 * time.Second
)

// mayPass tells storage that is down from storage that refuses: an account, a
// certificate, permissions and a lack of space are for a person to mend.
func mayPass(err error) bool {
	var answer interface{ HTTPStatusCode() int } // of S3's SDK
	var certificate *tls.CertificateVerificationError
	switch {
	case fault.ClassOf(err) != fault.Storage, errors.As(err, &certificate):
		return false
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS), errors.Is(err, errors.ErrUnsupported), errors.Is(err, syscall.EMLINK):
		return false
	case errors.As(err, &answer):
		status := answer.HTTPStatusCode()
		return status == 0 || status == 408 || status == 429 || status >= 500 && status != 501 && status != 507
	}
	return true
}
