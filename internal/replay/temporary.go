package replay

import (
	"context"
	"fmt"
	"slices"

	"github.com/lifeboat-db/lifeboat/internal/applier"
	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/txn"
)

// freeNumber finds a number for the session of a thread.
func (s *serial) freeNumber() int {
	used := map[int]bool{}
	for _, t := range s.threads {
		used[t.number] = true
	}
	n := sessionThread
	for used[n] {
		n++
	}
	return n
}

// openTemporary names the temporary tables that are open.
func (s *serial) openTemporary() []string {
	var names []string // sorted, so that equal lists compare equal
	for id, t := range s.threads {
		for n := range t.tables {
			names = append(names, fmt.Sprintf("%s (thread %d)", n, id))
		}
	}
	slices.Sort(names)
	return names
}

// sessionFor picks the session of a transaction by its first statement that
// uses temporary tables.
func (s *serial) sessionFor(ctx context.Context, t *txn.Transaction) (*applier.Session, *thread, error) {
	for i := range t.Events {
		ev := &t.Events[i]
		if ev.Type != binlog.QueryEvent || ev.Flags&binlog.FlagThreadSpecific == 0 {
			continue
		}
		q, err := binlog.DecodeQuery(ev.Body, 0)
		if err != nil {
			return nil, nil, err
		}
		th, ok := s.threads[q.ThreadID]
		if !ok {
			number := s.freeNumber()
			ses, err := s.session(ctx, number)
			if err != nil {
				return nil, nil, err
			}
			th = &thread{s: ses, number: number, tables: map[string]bool{}}
			s.threads[q.ThreadID] = th
		}
		return th.s, th, nil
	}
	return s.main, nil, nil
}

// trackTemporary notes which temporary tables a session holds, and closes a
// session that holds none any more.
func (s *serial) trackTemporary(t *txn.Transaction, th *thread) error {
	if th == nil {
		return nil
	}
	for q, err := range t.Queries() {
		if err != nil {
			return err
		}
		created, dropped := txn.TemporaryTables(q.SQL, q.Database)
		for _, n := range created {
			th.tables[n] = true
		}
		for _, n := range dropped {
			delete(th.tables, n)
		}
	}
	if len(th.tables) > 0 {
		return nil
	}
	for id, other := range s.threads {
		if other == th {
			th.s.Close()
			delete(s.threads, id)
		}
	}
	return nil
}
