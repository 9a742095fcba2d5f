package archive

import (
	"context"
	"fmt"

	"github.com/lifeboat-db/lifeboat/internal/repository"
)

// tail is the last file of a server's log in a repository, kept from one
// connection to the next: a reconnect lists what was stored since, and reads
// that, and not the whole log again. Others may have stored, too. It is for one
// goroutine at a time.
//
// Invariant: what last says is stored.
type tail struct {
	last   File // its Summary and Closed only; the zero File: nothing is known
	broken bool // what was stored does not go on from last
}

// load reads what is archived of a server's log: all of it the first time, later
// its end only, the files from the last one on that was known.
func (t *tail) load(ctx context.Context, r *repository.Repository, set, server string) (Log, error) {
	if t.last.Server == server && !t.broken {
		log, ok, err := t.refresh(ctx, r, set)
		if ok || err != nil {
			return log, err
		}
	}
	return t.loadAll(ctx, r, set, server)
}

func (t *tail) loadAll(ctx context.Context, r *repository.Repository, set, server string) (Log, error) {
	*t = tail{}
	log, err := LoadServer(ctx, r, set, server)
	if err == nil && len(log.Files) > 0 {
		t.last = log.Files[len(log.Files)-1]
	}
	return log, err
}

// refresh reads what was stored since. It is not ok if what was known is not
// there any more, or if it cannot be told which file comes next.
func (t *tail) refresh(ctx context.Context, r *repository.Repository, set string) (log Log, ok bool, err error) {
	log.Server = t.last.Server
	for {
		f, ok, err := t.look(ctx, r, set)
		if err != nil || !ok {
			return Log{}, false, err
		}
		t.last = f
		log.Files = append(log.Files, f)
		if !f.Closed {
			return log, true, nil
		}
		next, err := list(ctx, r, set, logsDir(set)+"/"+f.Server+"/"+f.Next+".")
		if err != nil {
			return Log{}, false, fmt.Errorf("archive: %w", err)
		}
		switch len(next) {
		case 0:
			return log, true, nil
		case 1:
			t.last = File{Summary: next[0].bare()}
		default: // names have begun anew
			return Log{}, false, nil
		}
	}
}

// look reads what was stored of the last file since.
func (t *tail) look(ctx context.Context, r *repository.Repository, set string) (f File, ok bool, err error) {
	found, err := list(ctx, r, set, t.last.dir(set)+"/")
	if err != nil {
		return f, false, fmt.Errorf("archive: %w", err)
	}
	if len(found) != 1 {
		return f, false, nil
	}
	if chain := Chain(found[0].segments); t.last.End > firstOffset && (len(chain) == 0 || chain[len(chain)-1].End < t.last.End) {
		return f, false, nil
	}
	if f, err = found[0].lookBehind(ctx, r, t.last.Summary); err != nil {
		return f, false, fmt.Errorf("archive: %w", err)
	}
	return f, true, nil
}

// stored notes a segment.
func (t *tail) stored(s Summary) {
	switch last := t.last.Summary; {
	case s.Start == firstOffset:
		*t = tail{last: File{Summary: place{server: s.Server, file: s.File, id: s.ID}.bare()}}
	case s.Server != last.Server || s.File != last.File || s.ID != last.ID || s.Start > last.End:
		t.broken = true
		return
	}
	sum, err := t.last.join(s)
	t.last.Summary, t.broken = sum, err != nil
}

// closed notes what a whole file holds.
func (t *tail) closed(whole Summary) { *t = tail{last: File{Summary: whole, Closed: true}} }
