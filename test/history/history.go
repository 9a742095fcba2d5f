package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/lifeboat-db/lifeboat/internal/server"
)

// Options say what a history is made of.
type Options struct {
	Seed     uint64
	Flavor   server.Flavor
	Features Set // nil: All(Flavor)
	Steps    int // turns of the sessions, of one or a few statements each; 0: 1000
	Sessions int // 0: 4
}

// Entry is one statement that was run.
type Entry struct {
	Session int // 0 is the one that makes the schema
	SQL     string
	Err     error // what the server said
}

// History is a random history. Call Setup, then Run, each once; between them
// the server may be restarted.
type History struct {
	random
	o        Options
	on       Set
	maker    *maker
	tables   []*table
	journal  *table // what triggers and functions made in mid-traffic write
	sessions []*session
	entries  []Entry
	dir      string // for LOAD DATA
	names    int    // views, triggers, routines so far
	objects  map[string][]string
	err      error // what ended the history: a lost connection
}

// New returns a history that has not begun.
func New(o Options) *History {
	if o.Features == nil {
		o.Features = All(o.Flavor)
	}
	if o.Steps == 0 {
		o.Steps = 1000
	}
	if o.Sessions == 0 {
		o.Sessions = 4
	}
	return &History{random: newRandom(o.Seed), o: o, on: o.Features, objects: map[string][]string{}}
}

// Entries returns the statements so far, in order.
func (h *History) Entries() []Entry { return h.entries }

// Write writes the statements so far for a person to read.
func (h *History) Write(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "-- seed %d, features %s\n", h.o.Seed, h.on); err != nil {
		return err
	}
	for n, e := range h.entries {
		if _, err := fmt.Fprintf(w, "/* %d: session %d */ %s;\n", n, e.Session, e.SQL); err != nil {
			return err
		}
		if e.Err != nil {
			if _, err := fmt.Fprintf(w, "-- %v\n", e.Err); err != nil {
				return err
			}
		}
	}
	return nil
}

// Setup makes the schema and its first rows.
func (h *History) Setup(ctx context.Context, db *sql.DB) error {
	s, err := h.newSession(ctx, db, 0)
	if err != nil {
		return fmt.Errorf("history: set up: %w", err)
	}
	h.maker = &maker{random: h.random, on: h.on, flavor: h.o.Flavor, kinds: extras(h.o.Flavor, h.on), schemas: []string{"h1", "h2"}}
	s.exec("CREATE DATABASE h1")
	s.exec("CREATE DATABASE h2 CHARACTER SET latin1")
	h.maker.collations = s.collations()
	h.makeJournal(s)
	for _, shape := range h.chooseShapes() {
		s.create(shape.tables(h.maker))
	}
	for range 3 * len(h.tables) {
		s.insert(pick(h.random, h.tables))
	}
	return errors.Join(h.err, s.close())
}

// chooseShapes leaves a table for each feature that is on, up to fifteen.
func (h *History) chooseShapes() (chosen []shape) {
	for _, s := range shapes() {
		if s.feature == "" || h.on[s.feature] {
			chosen = append(chosen, s)
		}
	}
	return append(some(h.random, chosen, 12), shapes()[0])
}

// makeJournal makes the table that triggers and functions write.
func (h *History) makeJournal(s *session) {
	h.journal = h.maker.newTable()
	h.journal.schema, h.journal.name = "h1", "journal"
	h.journal.bound, h.journal.limit = true, 300
	h.journal.columns = []column{
		{name: "what", kind: kind{"VARCHAR(20)", text, asciiWord}, nullable: true},
		{name: "v", kind: kind{"INT", integer, smallKey}, nullable: true},
	}
	if s.exec(h.journal.create()) {
		h.tables = append(h.tables, h.journal)
	}
}

// Run runs the history. It returns an error only if the history could not go
// on; what the server says to a statement is in Entries.
func (h *History) Run(ctx context.Context, db *sql.DB) (err error) {
	if h.dir, err = os.MkdirTemp("", "history"); err != nil {
		return fmt.Errorf("history: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(h.dir)) }()
	if err := os.Chmod(h.dir, 0o755); err != nil { // the server reads there
		return fmt.Errorf("history: %w", err)
	}
	for n := range h.o.Sessions {
		s, err := h.newSession(ctx, db, n+1)
		if err != nil {
			return fmt.Errorf("history: %w", err)
		}
		h.sessions = append(h.sessions, s)
	}
	h.prepareLog(h.sessions[0])
	for range h.o.Steps {
		pick(h.random, h.sessions).step()
		if h.err != nil {
			return fmt.Errorf("history: %w", h.err)
		}
	}
	return h.finish()
}

// prepareLog sets how the log is written, where only the whole server can.
func (h *History) prepareLog(s *session) {
	if h.on[Metadata] && h.chance(40) {
		s.exec("SET GLOBAL binlog_row_metadata = 'FULL'")
	}
	if h.on[Compression] && h.chance(50) && h.o.Flavor == server.MariaDB {
		s.exec("SET GLOBAL log_bin_compress_min_len = 10, GLOBAL log_bin_compress = ON")
	}
}

func (h *History) finish() error {
	for _, s := range h.sessions {
		s.finish()
	}
	h.sessions[0].exec("FLUSH BINARY LOGS")
	var errs []error
	for _, s := range h.sessions {
		errs = append(errs, s.close())
	}
	return errors.Join(append(errs, h.err)...)
}

// newSession pins a connection. The sessions' first settings allow values such
// as zero dates; waiting for a lock would be a bug of the generator's.
func (h *History) newSession(ctx context.Context, db *sql.DB, id int) (*session, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	s := &session{History: h, ctx: ctx, id: id, conn: conn, format: "ROW", image: "FULL", claims: map[int]bool{}}
	s.exec("SET SESSION sql_mode = '', lock_wait_timeout = 3, innodb_lock_wait_timeout = 1")
	s.exec("SET NAMES utf8mb4")
	s.exec("SET SESSION binlog_format = 'ROW'")
	if id > 0 { // without a default database, DATABASE() is not repeatable: mysqlbinlog cannot say so
		s.exec("USE " + pick(h.random, h.maker.schemas))
	}
	if s.err != nil {
		return nil, s.err
	}
	return s, nil
}

// refused says whether an error is the server's answer to a statement, and
// not the end of the connection.
func refused(err error) bool {
	var answer *mysql.MySQLError
	return errors.As(err, &answer)
}

// free are the tables that no other session's transaction has claimed.
func (h *History) free(s *session) (tables []*table) {
	for _, t := range h.tables {
		if h.mine(s, t) {
			tables = append(tables, t)
		}
	}
	return tables
}

func (h *History) mine(s *session, t *table) bool {
	for _, other := range h.sessions {
		if other != s && other.claims[t.family] {
			return false
		}
	}
	return true
}

// marry makes one family of two tables' families.
func (h *History) marry(a, b *table) {
	old := a.family
	for _, t := range h.tables {
		if t.family == old {
			t.family = b.family
		}
	}
}

func (h *History) remove(t *table) {
	for i, other := range h.tables {
		if other == t {
			h.tables = append(h.tables[:i], h.tables[i+1:]...)
			return
		}
	}
}

// newName returns a name that was not used before.
func (h *History) newName(prefix string) string {
	h.names++
	return fmt.Sprintf("%s%d", prefix, h.names)
}

// object remembers views, triggers and the like by sort.
func (h *History) object(sort, name string) { h.objects[sort] = append(h.objects[sort], name) }

// takeObject forgets and returns a random one, or "".
func (h *History) takeObject(sort string) string {
	list := h.objects[sort]
	if len(list) == 0 {
		return ""
	}
	i := h.IntN(len(list))
	name := list[i]
	h.objects[sort] = append(list[:i:i], list[i+1:]...)
	return name
}

// join is for column lists.
func join[T any](list []T, sep string, text func(T) string) string {
	parts := make([]string, len(list))
	for i, element := range list {
		parts[i] = text(element)
	}
	return strings.Join(parts, sep)
}
