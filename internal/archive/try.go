package archive

import (
	"context"
	"fmt"
	"slices"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/stream"
)

// Try receives the head of the source's last file, as archiving it does: so the
// account, and what the server says of its log, are shown to suffice.
func (s Source) Try(ctx context.Context, dsn string) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	in, err := stream.Open(ctx, stream.Options{DSN: dsn, From: binlog.Position{File: s.End.File, Offset: firstOffset}})
	if err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	defer func() { _ = in.Close() }() // nothing was to be kept
	for !in.Described() {
		if _, err := in.Next(); err != nil {
			return fmt.Errorf("archive: %w", err)
		}
	}
	return nil
}

// Standing says how an archived log stands to that of its server.
type Standing struct {
	Tip    binlog.Position // end of what is archived; zero: nothing is
	Behind int64           // bytes of the server's log that come later
	Alarm  string          // why something can never be archived any more; empty: all can be
	Gaps   int             // places at which what is archived does not go on
}

// Standing compares the source with what is archived of it. What is archived is
// to be read first: a file that has come since is no alarm.
func (s Source) Standing(l Log) Standing {
	st := Standing{Tip: l.tip(), Gaps: len(l.Gaps())}
	_, st.Alarm = start(l, s.files, "", binlog.Position{})
	st.Behind = behindBytes(st.Tip, s.files)
	return st
}

// alarm says why the server's log does not go on from what is archived of it; empty:
// it does, or nobody knows. Names and sizes alone do not tell: a log that was begun
// anew has the same ones after a while.
func (s Source) alarm(ctx context.Context, dsn string, l Log) string {
	if len(l.Files) == 0 {
		return ""
	}
	if len(s.files) == 0 {
		return "the server has no binary log any more"
	}
	tip := l.Files[len(l.Files)-1]
	if slices.ContainsFunc(s.files, func(f sourceFile) bool { return f.Name == tip.File }) {
		if id, err := fileID(ctx, dsn, tip.File); err == nil && id != tip.ID {
			return fmt.Sprintf("the server has another %s than the archived one: its log was reset", tip.File)
		}
	}
	_, why := start(l, s.files, "", binlog.Position{})
	return why
}

// Has reports whether the archive has all that the server's log had up to end.
func (s Standing) Has(end binlog.Position) bool {
	return s.Alarm == "" && !s.Tip.IsZero() && !before(s.Tip, end)
}
