// Package datadir finds the GTID set of a stopped server from its files, so
// that it can be told whether the machine holds data that nobody else has.
//
// # When the answer is exact
//
// The set is what the server itself said while it ran (Source.Last), united with
// what the last binary log says: the set before its first event
// (PREVIOUS_GTIDS_LOG_EVENT, GTID_LIST_EVENT) and each of its GTID events. That
// is all the server has executed, if
//
//   - Last is of this server (server_uuid in auto.cnf; MariaDB: the server id in
//     the log), and said that it wrote a binary log with GTIDs and the updates of
//     its sources (log_bin, gtid_mode, log_replica_updates). None of the three
//     can be read from files, and mysql.gtid_executed cannot be read without a
//     server: without Last the set is unknown. The union also brings what is in
//     that table only, such as the gtid_purged of a restored replica.
//   - the server stopped cleanly: the last log ends in a STOP_EVENT, is not
//     marked as in use and has no damage; MariaDB has also left its NAME.state,
//     which it writes on a clean stop only and which must say the same;
//   - it has not run without its log since: InnoDB's files were not written later
//     than Slack after the STOP_EVENT. A copy with new times is unknown, too. A
//     run without log within Slack is not noticed.
//   - nobody has written with sql_log_bin=0, and no engine without a log.
//
// Everything else is an error: a crash (the tail may be torn, or transactions in
// the log rolled back), encrypted logs, anonymous transactions, a log that the
// index does not name. A set that claims too much, after RESET BINARY LOGS AND
// GTIDS, only makes more denials. Relay logs are not read: what has been received
// and not executed is the source's.
//
// The caller makes sure that no server runs, by holding the engine's locks.
//
// Sources: sql/binlog.cc (MYSQL_BIN_LOG::close, open_binlog), sql/rpl_gtid_state.cc
// of MySQL 9.7; sql/log.cc (MYSQL_BIN_LOG::write_state_to_file) of MariaDB 10.11.
package datadir

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/guard/mysqld"
)

// ErrUnknown is wrapped by every error: the set is not known.
var ErrUnknown = errors.New("the GTID set of the stopped server is not known")

// Slack is how long after the end of the binary log a server may go on writing
// data files while it stops.
const Slack = 2 * time.Minute

// Source is a stopped server's files, and what it said when it last ran.
type Source struct {
	Dir string
	// Index is the binary log's index file; "" looks for it in Dir.
	Index string
	Last  mysqld.State
}

// Contents is what a stopped server has executed.
type Contents struct {
	Executed gtid.Set
	// BinlogState is MariaDB's gtid_binlog_state: the last of each (domain,
	// server), in no order. Executed does not say who has written what.
	BinlogState []gtid.ID
}

// Executed returns what a stopped server has executed, or why it is unknown.
func Executed(ctx context.Context, s Source) (Contents, error) {
	c, err := s.executed(ctx)
	if err != nil {
		return Contents{}, fmt.Errorf("%w: %s: %w", ErrUnknown, s.Dir, err)
	}
	return c, nil
}

func (s Source) executed(ctx context.Context) (c Contents, err error) {
	if err := s.logged(); err != nil {
		return c, err
	}
	path, err := s.lastLog()
	if err != nil {
		return c, err
	}
	f, err := binlog.Open(path)
	if err != nil {
		return c, err
	}
	defer func() { _ = f.Close() }()
	if err := s.same(f); err != nil {
		return c, err
	}
	w, err := read(ctx, f)
	if err != nil {
		return c, err
	}
	if err := s.closed(f, w); err != nil {
		return c, err
	}
	for _, id := range s.Last.BinlogState {
		k := stream{id.Domain, id.Server}
		w.state[k] = max(w.state[k], id.Seq)
	}
	for k, seq := range w.state {
		c.BinlogState = append(c.BinlogState, gtid.ID{Flavor: gtid.MariaDB, Domain: k.domain, Server: k.server, Seq: seq})
	}
	c.Executed = s.Last.Executed.Clone()
	return c, c.Executed.Union(w.set)
}

// logged checks that the last run wrote all it executed to its log.
func (s Source) logged() error {
	if s.Last.Flavor == 0 {
		return errors.New("what it said while it ran was not recorded: whether all was logged cannot be seen from files")
	}
	if !s.Last.LogBin { //check:datadir-log-off
		return errors.New("it ran without a binary log")
	}
	if s.Last.Untracked != "" { //check:datadir-untracked
		return errors.New("it ran without GTIDs: " + s.Last.Untracked)
	}
	if !s.Last.LogUpdates { //check:datadir-log-updates-off
		return errors.New("it ran without log_replica_updates: what it replicated is not in its log")
	}
	return nil
}

// same checks that log and state are one server's.
func (s Source) same(f *binlog.File) error {
	if f.Format.Flavor != s.Last.Flavor {
		return fmt.Errorf("%s was written by %s", f.Name, f.Format.ServerVersion)
	}
	if f.Format.ServerID != s.Last.ServerID { //check:datadir-server-id
		return fmt.Errorf("%s was written by server id %d, the recorded state is that of %d", f.Name, f.Format.ServerID, s.Last.ServerID)
	}
	if s.Last.Flavor == gtid.MariaDB {
		return nil
	}
	uuid, err := autoUUID(filepath.Join(s.Dir, "auto.cnf"))
	if err != nil {
		return err
	}
	if uuid != s.Last.ServerUUID || uuid == "" { //check:datadir-server-uuid
		return fmt.Errorf("auto.cnf has server-uuid %q, the recorded state is that of %q", uuid, s.Last.ServerUUID)
	}
	return nil
}

func autoUUID(path string) (string, error) {
	text, err := readSmall(path)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(line, "="); ok && strings.TrimSpace(name) == "server-uuid" {
			return strings.TrimSpace(value), nil
		}
	}
	return "", fmt.Errorf("%s names no server-uuid", path)
}

// maxSmall bounds files that are read whole.
const maxSmall = 16 << 20

func readSmall(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxSmall+1))
	if err == nil && len(data) > maxSmall {
		err = fmt.Errorf("%s: larger than %d bytes", path, maxSmall)
	}
	return string(data), err
}

// lastLog finds the last binary log by its index. Names in it are absolute or
// relative to the data directory.
func (s Source) lastLog() (string, error) {
	index, err := s.findIndex()
	if err != nil {
		return "", err
	}
	names, err := readIndex(index, s.Dir)
	if err != nil {
		return "", err
	}
	last := names[len(names)-1]
	beside, err := glob(filepath.Dir(last), "*.[0-9]*")
	if err != nil {
		return "", err
	}
	for _, path := range beside {
		if !sameLog(path, last) {
			continue
		}
		if !slices.Contains(names, path) { //check:datadir-log-not-indexed
			return "", fmt.Errorf("%s is not in %s: the index is old", path, index)
		}
	}
	return last, nil
}

// sameLog reports whether both names are one base name with a number. MariaDB
// from 11.6 on has NAME.NUMBER.idx beside them.
func sameLog(a, b string) bool {
	ext := filepath.Ext(a)
	return strings.TrimSuffix(a, ext) == strings.TrimSuffix(b, filepath.Ext(b)) && strings.Trim(ext, ".0123456789") == ""
}

// glob is filepath.Glob in a directory whose name may hold anything.
func glob(dir, pattern string) ([]string, error) {
	names, err := fs.Glob(os.DirFS(dir), pattern)
	for i := range names {
		names[i] = filepath.Join(dir, names[i])
	}
	return names, err
}

func readIndex(index, dir string) (names []string, err error) {
	text, err := readSmall(index)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(text) {
		name := strings.TrimSuffix(line, "\n")
		if name == "" {
			continue
		}
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		names = append(names, filepath.Clean(name))
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s is empty", index)
	}
	return names, nil
}

// findIndex: exactly one index in the data directory names binary logs; those
// of relay logs name relay logs.
func (s Source) findIndex() (string, error) {
	if s.Index != "" {
		return s.Index, nil
	}
	all, err := glob(s.Dir, "*.index")
	if err != nil {
		return "", err
	}
	var found []string
	for _, index := range all {
		if names, err := readIndex(index, s.Dir); err == nil && !isRelay(names[len(names)-1]) {
			found = append(found, index)
		}
	}
	if len(found) != 1 { //check:datadir-one-index
		return "", fmt.Errorf("%d index files of binary logs are in the data directory, not one: say where the log is", len(found))
	}
	return found[0], nil
}

func isRelay(path string) bool {
	f, err := binlog.Open(path)
	if err == nil {
		_ = f.Close()
	}
	return errors.Is(err, binlog.ErrRelayLog) || errors.Is(err, fs.ErrNotExist) && strings.Contains(filepath.Base(path), "relay")
}

// walked is what a log says.
type walked struct {
	set     gtid.Set
	state   map[stream]uint64 // MariaDB: the last of each (domain, server)
	stopped bool              // the last event is a STOP_EVENT
	at      time.Time         // of the last event
}

type stream struct{ domain, server uint32 }

// window is how much of the mapped file may be resident.
const window = 8 << 20

// read walks a whole log.
func read(ctx context.Context, f *binlog.File) (w walked, err error) {
	head, err := f.ReadHead()
	if err != nil {
		return w, err
	}
	if !head.HasPrevious {
		return w, fmt.Errorf("%s does not say what came before it", f.Name)
	}
	w.set, w.state = head.Previous.Clone(), map[stream]uint64{}
	for _, id := range head.List {
		if err := w.add(id); err != nil {
			return w, err
		}
	}
	r, released := f.Events(0), int64(0)
	for {
		ev, ok, err := r.Next()
		if err != nil {
			return w, err
		}
		if !ok {
			return w, ctx.Err()
		}
		if err := w.event(ev); err != nil {
			return w, fmt.Errorf("%s:%d: %w", f.Name, ev.Offset, err)
		}
		if r.Offset()-released > window {
			f.Release(released, r.Offset())
			released = r.Offset()
			if ctx.Err() != nil {
				return w, ctx.Err()
			}
		}
	}
}

func (w *walked) event(ev binlog.Event) error {
	w.stopped, w.at = ev.Type == binlog.StopEvent, time.Unix(int64(ev.Timestamp), 0)
	switch ev.Type {
	case binlog.GTIDEvent, binlog.GTIDTagged, binlog.AnonymousGTID, binlog.MariaGTID:
		g, err := binlog.DecodeGTID(ev.Type, ev.ServerID, ev.Body)
		if err != nil {
			return err
		}
		if g.Anonymous {
			return errors.New("a transaction without a GTID")
		}
		return w.add(g.ID)
	default:
		return nil
	}
}

func (w *walked) add(id gtid.ID) error {
	if id.Flavor == gtid.MariaDB {
		w.state[stream{id.Domain, id.Server}] = id.Seq
	}
	return w.set.Add(id)
}

// closed checks that the log is all there is.
func (s Source) closed(f *binlog.File, w walked) error {
	if f.Format.InUse { //check:datadir-in-use
		return fmt.Errorf("%s is marked as in use: the server has not stopped cleanly", f.Name)
	}
	if !w.stopped { //check:datadir-no-stop
		return fmt.Errorf("%s does not end in a STOP_EVENT: the server has not stopped cleanly", f.Name)
	}
	if s.Last.Flavor == gtid.MariaDB {
		if err := sameState(f.Path, w.state); err != nil { //check:datadir-state-file
			return err
		}
	}
	return s.untouched(w.at)
}

// sameState compares with the NAME.state that MariaDB leaves beside its log.
func sameState(path string, state map[stream]uint64) error {
	name := strings.TrimSuffix(path, filepath.Ext(path)) + ".state"
	text, err := readSmall(name)
	if err != nil {
		return fmt.Errorf("a clean stop leaves it: %w", err)
	}
	said := map[stream]uint64{}
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		ids, err := gtid.ParseList(lines.Text())
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		for _, id := range ids {
			said[stream{id.Domain, id.Server}] = id.Seq
		}
	}
	if len(said) != len(state) {
		return fmt.Errorf("%s has %d streams, the log %d", name, len(said), len(state))
	}
	for k, v := range state {
		if said[k] != v {
			return fmt.Errorf("%s says %d-%d-%d, the log %d", name, k.domain, k.server, said[k], v)
		}
	}
	return lines.Err()
}

// untouched checks that InnoDB's files are not much younger than the log's end.
func (s Source) untouched(end time.Time) error {
	if _, err := os.Stat(filepath.Join(s.Dir, "ibdata1")); err != nil { //check:datadir-no-ibdata
		return fmt.Errorf("when the data were last written is not known: %w", err)
	}
	for _, pattern := range []string{"ibdata1", "ib_logfile*", "#innodb_redo/*", "mysql.ibd", "undo*"} {
		files, err := glob(s.Dir, pattern)
		if err != nil {
			return err
		}
		for _, path := range files {
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			if info.ModTime().After(end.Add(Slack)) { //check:datadir-touched-later
				return fmt.Errorf("%s was written at %s, the log ends at %s: a server may have run without its log", path,
					info.ModTime().UTC().Format(time.RFC3339), end.UTC().Format(time.RFC3339))
			}
		}
	}
	return nil
}
