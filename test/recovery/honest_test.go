package recovery

import (
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"hash/crc64"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/drill"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/restore"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/internal/txn"
)

// TestDrillIsHonest: a log from which an event or a transaction is missing, or in
// which a row is another one, with every checksum right, fails a drill; and so
// does a restored server on which a row is changed before or after it was read
// back. How far the log is made to fit, see forgeries.
func TestDrillIsHonest(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	honest := func(t *testing.T, d server.Distribution) {
		h := newHonest(t, d, rand.New(rand.NewPCG(seed, 1)))
		h.untouched("nothing")
		rounds := 1
		if long {
			rounds = 5
		}
		for range rounds {
			for _, f := range forgeries(d.Flavor) {
				if long || h.r.IntN(2) == 0 {
					h.forge(f)
				}
			}
			h.change("before it is read back", "replay the log", false)
			h.change("after it was read back", "replay the log", true)
		}
		h.untouched("all that was forged is gone")
	}
	if long {
		servertest.Each(t, honest)
		return
	}
	honest(t, servertest.Of(t, server.MariaDB))
}

// What is forged in one file of the log.
const (
	missingEvent       = "an event is missing"
	missingTransaction = "a transaction is missing"
	alteredRow         = "a row is altered"
)

// How far all else is made to fit.
const (
	inSegment   = "in a segment"                         // its header says what it said
	inFile      = "in a file"                            // one segment, whose header fits, and what closes the file
	withOffsets = "in a file, and all offsets are right" // of the events as well
)

type forgery struct{ what, where string }

// forgeries are those that can be found. Not found can be a row, or on MariaDB an
// event, if everything else is made to fit up to the file's end: the log itself
// says nothing of it.
func forgeries(flavor server.Flavor) []forgery {
	all := []forgery{
		{missingEvent, inSegment}, {missingTransaction, inSegment}, {alteredRow, inSegment},
		{missingEvent, inFile}, {missingTransaction, inFile}, {missingTransaction, withOffsets},
	}
	if flavor == server.MySQL {
		all = append(all, forgery{missingEvent, withOffsets})
	}
	return all
}

// honest is a server's backup and log in one repository, to be drilled.
type honest struct {
	*way
	r    *rand.Rand
	repo *repository.Repository
	dir  string // of the repository

	files []archive.File // that are closed, with some transactions, and all behind the backup
	o     drill.Options
}

func newHonest(t *testing.T, d server.Distribution, r *rand.Rand) *honest {
	t.Helper()
	args, driver := []string{"--log-bin=bin", "--server-id=7", "--binlog-format=ROW"}, backup.MariaDBBackup
	if d.Flavor == server.MySQL {
		args, driver = append(args, "--gtid-mode=ON", "--enforce-gtid-consistency=ON"), backup.Clone
	}
	w := &way{t: t, d: d, i: servertest.Start(t, d, args...), places: places(t)[:1]}
	stop := w.archive()
	w.prepare()
	// MariaDB cascades in t: such tables are not read back, but this one is.
	w.exec("CREATE TABLE d.plain (a INT PRIMARY KEY, c INT)")
	w.write(20, r)
	w.backup(driver)
	for n := range 4 {
		w.exec("FLUSH BINARY LOGS")
		w.write(12, r)
		for k := range 4 {
			w.exec(fmt.Sprintf("INSERT INTO d.plain VALUES (%d, 1), (%d, 2)", 10*n+k, 100+10*n+k))
		}
	}
	w.archived()
	stop()
	mysqld, err := d.Tool("mysqld")
	if err != nil {
		t.Fatal(err)
	}
	p := w.places[0]
	return &honest{way: w, r: r, repo: p.writer, dir: p.location.URL, o: drill.Options{
		Restore: restore.Options{Repository: p.writer, Set: "s", Mysqld: mysqld, Tools: d.Tools(), Memory: 256 << 20},
		Scratch: t.TempDir(), History: t.TempDir(),
	}}
}

func (h *honest) untouched(what string) {
	h.t.Helper()
	res, err := drill.Run(h.t.Context(), h.o)
	if err != nil || !res.Passed || len(res.Restore.Replay.Plan.Jumps) > 0 {
		h.t.Fatalf("%s: %+v %v", what, res, err)
	}
	h.files = slices.DeleteFunc(slices.Clone(res.Restore.Plan.Legs[0].Files[1:]), func(f archive.File) bool { return !f.Closed || f.Transactions < 3 })
}

func (h *honest) fails(what string, o drill.Options) {
	h.t.Helper()
	res, err := drill.Run(h.t.Context(), o)
	if class := fault.ClassOf(err); err == nil || res.Passed || class != fault.VerifyFailed && class != fault.Gap {
		h.t.Errorf("%s: passed %t, class %d: %v", what, res.Passed, fault.ClassOf(err), err)
		return
	}
	h.t.Logf("%s: %v", what, err)
}

// forge puts a forged file in the place of one of the log's, drills, and puts
// back what was there.
func (h *honest) forge(f forgery) {
	h.t.Helper()
	file := h.files[h.r.IntN(len(h.files))]
	from, err := archive.Fetch(h.t.Context(), h.repo, file, h.t.TempDir())
	if err != nil {
		h.t.Fatal(err)
	}
	data, err := os.ReadFile(from)
	if err != nil {
		h.t.Fatal(err)
	}
	log, err := binlog.NewFile(file.File, data)
	if err != nil {
		h.t.Fatal(err)
	}
	defer h.keep(path.Dir(file.Segments[0].Name))()
	c := choose(h.t, h.r, log, f.what)
	changed := c.apply(data)
	if f.where == withOffsets {
		shift(changed, int(c.start), int(c.end-c.start), log.Format.Checksum)
	}
	if f.where == inSegment {
		h.reseal(file, c, data)
	} else {
		h.resealFile(file, changed)
	}
	h.fails(fmt.Sprintf("%s %s (%s:%d to %d)", f.what, f.where, file.File, c.start, c.end), h.o)
}

// cut is what is changed: bytes that are left out, or one that is another.
type cut struct {
	start, end int64
	flip       int64 // offset of the byte; 0: start to end are left out
	checksum   bool
}

func (c cut) apply(data []byte) []byte {
	if c.flip == 0 {
		return slices.Concat(data[:c.start], data[c.end:])
	}
	data = slices.Clone(data)
	data[c.flip] ^= 1
	if c.checksum {
		sign(data[c.start:c.end])
	}
	return data
}

func sign(event []byte) {
	n := len(event) - 4
	binary.LittleEndian.PutUint32(event[n:], crc32.ChecksumIEEE(event[:n]))
}

// choose picks a transaction of two rows or more, and what is changed of it.
func choose(t *testing.T, r *rand.Rand, f *binlog.File, what string) cut {
	t.Helper()
	var cuts []cut
	for sc := txn.NewScanner(f, 0, &binlog.Inflater{Limit: 1 << 20}); ; {
		tx, ok, err := sc.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		if what == missingTransaction && tx.Start > f.First+1 && tx.Kind == txn.Rows {
			cuts = append(cuts, cut{start: tx.Start, end: tx.End})
		}
		for _, ev := range tx.Events {
			if ev.Type.Rows() == binlog.NotRows || ev.Inner || what == missingTransaction {
				continue
			}
			c := cut{start: ev.Offset, end: ev.End, checksum: f.Format.Checksum}
			if what == alteredRow {
				c.flip = ev.End - 1
				if c.checksum {
					c.flip = ev.End - 5
				}
			}
			cuts = append(cuts, c)
		}
	}
	if len(cuts) == 0 {
		t.Fatalf("%s: nothing can be changed", f.Name)
	}
	return cuts[r.IntN(len(cuts))]
}

// shift makes the offsets fit that events behind at say, n bytes fewer.
func shift(data []byte, at, n int, checksum bool) {
	for at < len(data) {
		size := int(binary.LittleEndian.Uint32(data[at+9:]))
		if next := binary.LittleEndian.Uint32(data[at+13:]); next != 0 {
			binary.LittleEndian.PutUint32(data[at+13:], next-uint32(n))
		}
		if checksum {
			sign(data[at : at+size])
		}
		at += size
	}
}

// reseal changes the segment that holds the first byte of c, under the header
// that it has.
func (h *honest) reseal(file archive.File, c cut, data []byte) {
	h.t.Helper()
	for _, s := range archive.Chain(file.Segments) {
		if c.start < s.Start || c.start >= s.End {
			continue
		}
		sum := h.summary(s.Name)
		h.remove(s.Name)
		part := cut{max(c.start, s.Start) - s.Start, min(c.end, s.End) - s.Start, 0, false}
		if c.flip > 0 {
			h.put(prefixOf(s.Name), "log-segment", sum, c.apply(data)[s.Start:s.End])
			return
		}
		left := part.apply(data[s.Start:s.End])
		sum.End -= part.end - part.start
		h.put(fmt.Sprintf("%s/%012d-%012d", path.Dir(s.Name), s.Start, sum.End), "log-segment", sum, left)
		return
	}
	h.t.Fatalf("no segment holds %d", c.start)
}

func prefixOf(name string) string { return name[:len(name)-33] }

// resealFile puts a whole file as one segment, and what closes it, as if it had
// always been so.
func (h *honest) resealFile(file archive.File, data []byte) {
	h.t.Helper()
	folder := path.Dir(file.Segments[0].Name)
	for _, name := range h.names(folder) {
		h.remove(name)
	}
	sum := file.Summary
	sum.Start, sum.End, sum.Boundary = 4, int64(len(data)), int64(len(data))
	sum.Prefix = fmt.Sprintf("%016x", crc64.Checksum(data[4:], crc64.MakeTable(crc64.ECMA)))
	h.put(fmt.Sprintf("%s/%012d-%012d", folder, 4, sum.End), "log-segment", sum, data[4:])
	h.put(folder+"/closed", "log-file", sum, nil)
}

func (h *honest) summary(name string) (s archive.Summary) {
	h.t.Helper()
	head, err := h.repo.Header(h.t.Context(), name)
	if err == nil {
		err = json.Unmarshal(head.Meta, &s)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

func (h *honest) put(prefix, kind string, meta any, data []byte) {
	h.t.Helper()
	if _, _, err := h.repo.Put(h.t.Context(), prefix, kind, meta, data); err != nil {
		h.t.Fatal(err)
	}
}

func (h *honest) remove(name string) {
	h.t.Helper()
	if err := h.repo.Delete(h.t.Context(), name); err != nil {
		h.t.Fatal(err)
	}
}

func (h *honest) names(folder string) (list []string) {
	h.t.Helper()
	for e, err := range h.repo.List(h.t.Context(), folder+"/") {
		if err != nil {
			h.t.Fatal(err)
		}
		list = append(list, e.Name)
	}
	return list
}

// keep returns what puts a folder of the repository back as it is now.
func (h *honest) keep(folder string) (back func()) {
	h.t.Helper()
	at, aside := filepath.Join(h.dir, folder), filepath.Join(h.t.TempDir(), "aside")
	if err := os.CopyFS(aside, os.DirFS(at)); err != nil {
		h.t.Fatal(err)
	}
	return func() {
		if err := os.RemoveAll(at); err != nil {
			h.t.Fatal(err)
		}
		if err := os.CopyFS(at, os.DirFS(aside)); err != nil {
			h.t.Fatal(err)
		}
	}
}

// change writes to the private server while a drill goes on: when a step has
// ended, or from its beginning on by a trigger that follows each chunk.
func (h *honest) change(what, step string, ended bool) {
	h.t.Helper()
	tmp, err := os.MkdirTemp("/tmp", "honest") // the server's socket is below it
	if err != nil {
		h.t.Fatal(err)
	}
	before, was := os.LookupEnv("TMPDIR")
	h.t.Setenv("TMPDIR", tmp)
	defer func() {
		_ = os.RemoveAll(tmp)
		if _ = os.Unsetenv("TMPDIR"); was {
			h.t.Setenv("TMPDIR", before)
		}
	}()
	o, done := h.o, false
	o.Restore.Step = func(s restore.Step) {
		if s.Name != step || ended != (s.Seconds > 0) || done {
			return
		}
		done = true
		db := h.private(tmp)
		defer db.Close()
		if ended {
			servertest.Exec(h.t, db, "UPDATE d.plain SET c = c + 1 ORDER BY a LIMIT 1")
			return
		}
		servertest.Exec(h.t, db, "CREATE DATABASE lifeboat", "CREATE TABLE lifeboat.chunk (win BIGINT NOT NULL, chunk INT UNSIGNED NOT NULL, PRIMARY KEY (win, chunk)) ENGINE=InnoDB",
			"CREATE TRIGGER lifeboat.evil AFTER INSERT ON lifeboat.chunk FOR EACH ROW UPDATE d.plain SET c = c + 1")
	}
	h.fails("a row is changed "+what, o)
	if !done {
		h.t.Errorf("%s: there was no step %q", what, step)
	}
}

// private connects to the private server of a drill.
func (h *honest) private(tmp string) *sql.DB {
	h.t.Helper()
	sockets, _ := filepath.Glob(filepath.Join(tmp, "lb*", "s"))
	journals, _ := filepath.Glob(filepath.Join(h.o.Scratch, "*", "data.restore", "journal.json"))
	if len(sockets) != 1 || len(journals) != 1 {
		h.t.Fatalf("%q %q", sockets, journals)
	}
	text, err := os.ReadFile(journals[0])
	if err != nil {
		h.t.Fatal(err)
	}
	var j restore.Journal
	if err := json.Unmarshal(text, &j); err != nil {
		h.t.Fatal(err)
	}
	db, err := sql.Open("mysql", "lifeboat_restore:"+j.Password+"@unix("+sockets[0]+")/")
	if err != nil {
		h.t.Fatal(err)
	}
	return db
}
