package archive

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/stream"
)

// Kept is how it stands with the files that a server has.
type Kept struct {
	Files  int   // all but the one that is being written
	Bytes  int64 // theirs
	Purged int   // files that have gone just now, by us

	// Warning says what is wrong with the server's own expiry of its log; may
	// be empty.
	Warning string

	// With RunOptions.Hold: why the oldest file stays, and why it cannot even
	// be known. The files stay then, too.
	Why string
	Err error
}

// holdEvery is how often it is decided what may go.
const holdEvery = time.Minute

// maxPurge bounds the files that go at once: whether each is the archived one
// is asked just before.
const maxPurge = 64

// heldFile is a file that a server has, and since when it is whole in each of
// the repositories; the zero time: it is not.
type heldFile struct {
	Name  string
	whole []time.Time
}

// purgeable decides how many files may go from the front of a server's log, and
// why the next one stays. A file goes if it is whole in every repository, for
// keep at least, and if no replica needs it or one before it; needed are the
// names of the files from which on replicas need the log. The last one, which
// the server writes, stays. It is pure.
func purgeable(files []heldFile, needed []string, keep time.Duration, now time.Time) (n int, why string) {
	limit := len(files) - 1
	stays := "the server writes it"
	for _, name := range needed {
		i := slices.IndexFunc(files, func(f heldFile) bool { return f.Name == name })
		if i < 0 {
			return 0, fmt.Sprintf("a replica needs the log from %.200q on, which is not there", name)
		}
		if i < limit {
			limit, stays = i, "a replica needs it"
		}
	}
	for i := range max(limit, 0) {
		switch at := wholeSince(files[i].whole); {
		case at.IsZero():
			return i, "it is not whole in every repository"
		case now.Sub(at) < keep:
			return i, fmt.Sprintf("it stays until %s", at.Add(keep).UTC().Format(time.RFC3339))
		}
	}
	return max(limit, 0), stays
}

// wholeSince is the last of the times; zero if one is, or if there is none.
func wholeSince(times []time.Time) (last time.Time) {
	for _, at := range times {
		if at.IsZero() {
			return time.Time{}
		}
		if at.After(last) {
			last = at
		}
	}
	return last
}

// keeper looks after the files of one server.
type keeper struct {
	*runner
	number int // of the server
	server Server
	may    bool // the account may purge, and this has been tried
}

// run looks again and again.
func (k *keeper) run(ctx context.Context) {
	tick := time.NewTicker(k.HoldEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		kept := k.round(ctx)
		if ctx.Err() != nil {
			return
		}
		if k.Kept != nil {
			k.Kept(k.server.Name, kept)
		}
		if kept.Purged >= maxPurge {
			continue
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

func (k *keeper) round(ctx context.Context) (kept Kept) {
	dsn, err := k.server.dsn()
	if err != nil {
		return Kept{Err: err}
	}
	k.server.DSN = dsn
	s, err := Ask(ctx, dsn)
	if err != nil {
		return Kept{Err: err}
	}
	kept = s.kept(k.Hold)
	if !k.Hold {
		return kept
	}
	kept.Why, kept.Err = k.purge(ctx, s)
	if kept.Err != nil {
		return kept
	}
	after, err := Ask(ctx, k.server.DSN)
	if err != nil {
		return Kept{Err: err}
	}
	why, purged := kept.Why, len(s.files)-len(after.files)
	kept = after.kept(true)
	kept.Why, kept.Purged = why, max(0, purged)
	return kept
}

// kept is what the server says.
func (s Source) kept(hold bool) (k Kept) {
	for _, f := range s.files[:max(0, len(s.files)-1)] {
		k.Files++
		k.Bytes += f.Size
	}
	k.Warning = s.expiry.warning(hold)
	return k
}

// purge removes what may go, and says why the next file stays.
func (k *keeper) purge(ctx context.Context, s Source) (stays string, err error) {
	if len(s.files) == 0 {
		return "", nil
	}
	places, err := k.allPlaces(ctx)
	if err != nil {
		return "", err
	}
	for _, r := range places { // what is there under its name must be its own
		if err := Admit(ctx, Admission{Repository: r, Set: k.Set, DSN: k.server.DSN, LookOnly: true}); err != nil {
			return "", err
		}
	}
	needed, err := k.needs(ctx, s)
	if err != nil {
		return "", err
	}
	files := make([]heldFile, 0, len(s.files))
	for _, f := range s.files {
		files = append(files, heldFile{Name: f.Name, whole: make([]time.Time, len(places))})
	}
	n, why := purgeable(files, needed, k.Keep, time.Now())
	for at := 0; at < min(len(files)-1, maxPurge) && at == n; at++ { // behind one that stays none goes
		if err := k.look(ctx, places, s, at, files[at].whole); err != nil {
			return "", err
		}
		n, why = purgeable(files, needed, k.Keep, time.Now())
	}
	if n == 0 && k.may {
		return why, nil
	}
	// With nothing to go, it is tried once whether the account may.
	err = k.purgeTo(ctx, s.Server, files[n].Name)
	k.may = err == nil
	return why, err
}

// allPlaces opens every repository that is not open yet. One that cannot be
// opened holds everything.
func (k *keeper) allPlaces(ctx context.Context) (list []*repository.Repository, err error) {
	for i, first := range k.places {
		select {
		case <-first.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		repo := first.repo
		if first.err != nil {
			if repo, err = k.Places[i].Open(ctx); err != nil {
				return nil, err
			}
		}
		list = append(list, repo)
	}
	return list, nil
}

// look finds out since when file n is whole in each place. It must be the very
// file that the server has now: after RESET MASTER names begin anew.
func (k *keeper) look(ctx context.Context, places []*repository.Repository, s Source, n int, whole []time.Time) error {
	id, err := fileID(ctx, k.server.DSN, s.files[n].Name)
	if err != nil {
		return err
	}
	for i, r := range places {
		if whole[i], err = closedSince(ctx, r, k.Set, s.Server, s.files[n], id); err != nil {
			return err
		}
	}
	return nil
}

// fileID asks the server for the ID of a file of its log.
func fileID(ctx context.Context, dsn, file string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	s, err := stream.Open(ctx, stream.Options{DSN: dsn, From: binlog.Position{File: file, Offset: firstOffset}})
	if err != nil {
		return "", err
	}
	defer func() { _ = s.Close() }()
	for !s.Described() {
		if _, err := s.Next(); err != nil {
			return "", err
		}
	}
	return s.Format().ID(), nil
}

// closedSince is since when all bytes of a file are in a repository, and the
// mark that it is whole; zero: they are not.
func closedSince(ctx context.Context, r *repository.Repository, set, server string, f sourceFile, id string) (at time.Time, err error) {
	found, err := list(ctx, r, set, Summary{Server: server, File: f.Name, ID: id}.dir(set)+"/")
	if err != nil || len(found) != 1 || len(found[0].closed) == 0 {
		return at, err
	}
	chain := Chain(found[0].segments)
	if len(chain) == 0 || chain[len(chain)-1].End < f.Size {
		return at, nil
	}
	for _, name := range found[0].closed {
		s, err := summary(ctx, r, name, r.Check)
		if err != nil {
			return at, err
		}
		if s.End >= f.Size && s.End == chain[len(chain)-1].End && (at.IsZero() || s.Archived.Before(at)) {
			at = s.Archived
		}
	}
	return at, nil
}

// purgeTo removes the files before one, if the server is still who it was.
func (k *keeper) purgeTo(ctx context.Context, name, file string) error {
	return withServer(ctx, k.server.DSN, func(db *sql.DB, who dbconn.Server) error {
		ctx, cancel := context.WithTimeout(ctx, askTime)
		defer cancel()
		now, err := dbconn.ServerName(ctx, db, who)
		if err != nil {
			return fmt.Errorf("archive: %w", err)
		}
		if now != name {
			return fmt.Errorf("archive: the server was %s, and is %s now", name, now)
		}
		for range purgeTries {
			_, err = db.ExecContext(ctx, "PURGE BINARY LOGS TO ?", file)
			switch {
			case err == nil:
			case dbconn.Number(err) == errUnknownTarget: // somebody else was faster
				return nil
			case Denied(err):
				return fault.New(fault.Storage, fmt.Errorf("archive: purge binary logs: %w", err), "with archive.purge: hold the account needs BINLOG_ADMIN (MySQL) or BINLOG ADMIN (MariaDB)")
			default:
				return fmt.Errorf("archive: purge binary logs: %w", err)
			}
			left, err := files(ctx, db)
			if err != nil || len(left) == 0 || left[0].Name == file {
				return err
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(purgeWait):
			}
		}
		return nil // a replica reads one of them, or the server needs it after a crash: later
	})
}

// A server purges no file that somebody reads, and it takes a moment until it
// notices that we, who have asked for the files' IDs, do so no more.
const (
	purgeTries = 20
	purgeWait  = 100 * time.Millisecond
)

// errUnknownTarget is ER_UNKNOWN_TARGET_BINLOG of both vendors.
const errUnknownTarget = 1373

// needs asks the other servers of the set from which file on they need this
// one's log. A server keeps what a replica is reading, but not what one needs
// that is not connected; so one that does not answer may need everything.
func (k *keeper) needs(ctx context.Context, s Source) (files []string, err error) {
	for i, other := range k.Servers {
		if i == k.number {
			continue
		}
		dsn, err := other.dsn()
		if err != nil {
			return nil, err
		}
		err = withServer(ctx, dsn, func(db *sql.DB, who dbconn.Server) error {
			ctx, cancel := context.WithTimeout(ctx, answerTime)
			defer cancel()
			channels, err := replication(ctx, db, who)
			if err != nil {
				return err
			}
			more, err := neededOf(channels, s.Server)
			files = append(files, more...)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("archive: what server %s needs of the log: %w", other.Name, err)
		}
	}
	return files, nil
}

// channel is what a replica says of one of its sources.
type channel struct {
	source string // by dbconn.ServerName; empty if it was never connected
	host   string
	file   string // of the source's log, in which is what it executes next
}

// neededOf are the files of a source from which on its replica needs the log. It
// is pure.
func neededOf(channels []channel, source string) (files []string, err error) {
	for _, c := range channels {
		switch {
		case c.source == "" && c.host != "":
			return nil, errors.New("it is to replicate from a server that it has not met yet")
		case c.source == source && c.file == "":
			return nil, errors.New("it replicates from this server, and does not say from where")
		case c.source == source:
			files = append(files, c.file)
		}
	}
	return files, nil
}

// replication asks a server from whom it replicates.
func replication(ctx context.Context, q dbconn.Querier, who dbconn.Server) (list []channel, err error) {
	maria := who.Flavor == gtid.MariaDB
	question := "SHOW REPLICA STATUS"
	switch {
	case maria:
		question = "SHOW ALL SLAVES STATUS"
	case !who.AtLeast(8, 4):
		question = "SHOW SLAVE STATUS" // its columns are Master_… up to 8.0.21, and here
	}
	rows, err := dbconn.Records(ctx, q, question)
	if Denied(err) {
		return nil, fault.New(fault.Storage, fmt.Errorf("archive: %w", err), "the account needs REPLICATION CLIENT (MySQL) or SLAVE MONITOR (MariaDB)")
	}
	if err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	for _, said := range rows { // MySQL from 8.0.22 on has other names
		c := channel{source: cmp.Or(said["Source_UUID"], said["Master_UUID"]), host: cmp.Or(said["Source_Host"], said["Master_Host"]),
			file: cmp.Or(said["Relay_Source_Log_File"], said["Relay_Master_Log_File"])}
		if id := said["Master_Server_Id"]; maria && id != "0" {
			c.source = "mariadb-" + id
		}
		list = append(list, c)
	}
	return list, nil
}
