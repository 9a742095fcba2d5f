package archive

import (
	"context"
	"fmt"

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

// Has reports whether the archive has all that the server's log had up to end.
func (s Standing) Has(end binlog.Position) bool {
	return s.Alarm == "" && !s.Tip.IsZero() && !before(s.Tip, end)
}
