package badinput_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/test/faults/rig"
)

// The exit codes, as documented.
const (
	failed    = 1
	usage     = 2
	gap       = 5
	busy      = 7
	storage   = 8
	succeeded = 0
)

// badCase is one thing that is wrong.
type badCase struct {
	name  string
	codes []int  // any of these
	says  string // expression that the one line on stderr matches
	// args are what follows "replay"; without --target root's is added.
	args func(t *testing.T, b *bed) []string
	// wrong and right change the target before the case and back.
	wrong, right []string
	only         func(b *bed) bool
	wholeCommand bool // args are the whole command line
	// late: a statement is executed before there are rows to compare with the
	// target, so the error comes behind it. Nothing but the rows of the log can
	// tell that such a start is wrong: never silent, but not untouched.
	late bool
}

func code(list ...int) []int { return list }

func (c badCase) run(t *testing.T, b *bed) {
	if b.broken {
		b.renew()
	}
	servertest.Exec(t, b.db, c.wrong...)
	args := c.args(t, b)
	before := b.look(t)
	r := rig.Run(t, lifeboat, c.complete(b, args)...)
	c.check(t, r)
	if diff := changes(before, b.look(t)); len(diff) > 0 {
		if b.broken = true; c.late {
			return
		}
		slices.Sort(diff)
		t.Errorf("the target was changed:\n\t%s\n%v", strings.Join(diff, "\n\t"), r)
		return
	}
	servertest.Exec(t, b.db, c.right...)
}

func (c badCase) complete(b *bed, args []string) []string {
	if c.wholeCommand {
		return args
	}
	if slices.Contains(args, "--target") {
		return append([]string{"replay"}, args...)
	}
	return append([]string{"replay", "--target", b.dsn("root")}, args...)
}

func (c badCase) check(t *testing.T, r rig.Result) {
	t.Helper()
	if !slices.Contains(c.codes, r.Code) {
		t.Errorf("exit code %d, want %d: %v", r.Code, c.codes, r)
		return
	}
	if r.Code == 0 {
		if !regexp.MustCompile(c.says).MatchString(r.Stdout) {
			t.Errorf("stdout does not say %q: %v", c.says, r)
		}
		return
	}
	line, ended := strings.CutSuffix(r.Stderr, "\n")
	switch {
	case !ended || line == "" || strings.Contains(line, "\n"):
		t.Errorf("want exactly one line on stderr: %v", r)
	case !strings.HasPrefix(line, "lifeboat: "):
		t.Errorf("the line does not begin with the program's name: %v", r)
	case !regexp.MustCompile("(?i)" + c.says).MatchString(line):
		t.Errorf("stderr does not say %q: %v", c.says, r)
	case r.Code != usage && !strings.Contains(line, "; "):
		t.Errorf("stderr does not say what to do next: %v", r)
	}
}

// from is the ordinary command with other files.
func from(b *bed, files ...string) []string { return append([]string{"--from", b.Start()}, files...) }

// replaced is the ordinary command with one file replaced; an empty path
// leaves it out.
func replaced(b *bed, n int, path string, more ...string) []string {
	files := slices.Clone(b.Logs)
	if files[n] = path; path == "" {
		files = slices.Delete(files, n, n+1)
	}
	return append(append([]string{"--from", b.Start()}, more...), files...)
}

// with is the ordinary command with flags; a later --from wins.
func with(b *bed, flags ...string) []string {
	return append(append([]string{"--from", b.Start()}, flags...), b.Logs...)
}

func flags(list ...string) func(*testing.T, *bed) []string {
	return func(_ *testing.T, b *bed) []string { return with(b, list...) }
}

func mysql(b *bed) bool   { return b.Flavor == server.MySQL }
func mariadb(b *bed) bool { return b.Flavor == server.MariaDB }
func knows(b *bed) bool   { return b.gtid }
func plain(b *bed) bool   { return !b.gtid }

// event gives the offset of an event of a log file, counted among those of a
// kind; n < 0 counts from the end.
func event(t *testing.T, path string, n int, is func(byte) bool) (at int, f *logFile) {
	t.Helper()
	f = readLog(t, path)
	_, offsets := f.bytes()
	var found []int
	for i, ev := range f.events {
		if is(ev[typeAt]) {
			found = append(found, offsets[i])
		}
	}
	if n < 0 {
		n += len(found)
	}
	return found[n], f
}

func is(typ byte) func(byte) bool { return func(other byte) bool { return other == typ } }

func position(path string, at int) string { return filepath.Base(path) + ":" + strconv.Itoa(at) }

// flipped is a log file of the bed with a bit flipped in an event.
func flipped(n, which, at int, is func(byte) bool) func(*testing.T, *bed) []string {
	return func(t *testing.T, b *bed) []string {
		start, _ := event(t, b.Logs[n], which, is)
		return replaced(b, n, variant(t, b.Logs[n], flip(start+at)))
	}
}

// unchecked is a log without checksums, as the second file.
func unchecked(change func(data []byte, offsets []int)) func(*testing.T, *bed) []string {
	return func(t *testing.T, b *bed) []string {
		f := readLog(t, b.Logs[1])
		f.checksum = false
		data, offsets := f.bytes()
		change(data, offsets)
		return replaced(b, 1, place(t, filepath.Base(b.Logs[1]), data))
	}
}

// inserted is the second file with an event more, behind the first commit.
func inserted(typ byte, flags uint16, body []byte, more ...string) func(*testing.T, *bed) []string {
	return func(t *testing.T, b *bed) []string {
		return replaced(b, 1, rebuilt(t, b.Logs[1], func(f *logFile) {
			f.insert(f.index(0, is(typeXID)), typ, flags, body)
		}), more...)
	}
}

var fileCases = []badCase{
	{name: "text file", codes: code(failed), says: `notes.txt.*not a binary log`, args: func(t *testing.T, b *bed) []string {
		return from(b, append(slices.Clone(b.Logs), place(t, "notes.txt", []byte("the log is in the other directory\n")))...)
	}},
	{name: "empty file", codes: code(failed), says: `empty`, args: func(t *testing.T, b *bed) []string {
		return replaced(b, 2, place(t, filepath.Base(b.Logs[2]), nil))
	}},
	{name: "only the magic number", codes: code(failed, gap), says: `ends inside an event`, args: func(t *testing.T, b *bed) []string {
		return replaced(b, 2, place(t, filepath.Base(b.Logs[2]), []byte{0xfe, 'b', 'i', 'n'}))
	}},
	{name: "directory", codes: code(usage, failed, storage), says: `not a regular file`, args: func(_ *testing.T, b *bed) []string {
		return from(b, filepath.Dir(b.Logs[0]))
	}},
	{name: "index file", codes: code(failed), says: `index`, args: func(t *testing.T, b *bed) []string {
		return from(b, append(slices.Clone(b.Logs), place(t, "bin.index", []byte(strings.Join(b.Logs, "\n"))))...)
	}},
	{name: "missing file", codes: code(storage), says: `no such file`, args: func(_ *testing.T, b *bed) []string {
		return replaced(b, 2, filepath.Join(scratch, "bin.000099"))
	}},
	{name: "encrypted by MySQL", codes: code(failed), says: `encrypted`, args: func(t *testing.T, b *bed) []string {
		return replaced(b, 1, variant(t, b.Logs[1], func(d []byte) []byte { d[0] = 0xfd; return d }))
	}},
	{name: "encrypted by MariaDB", codes: code(failed), says: `encrypted`, only: mariadb, args: func(t *testing.T, b *bed) []string {
		path := rebuilt(t, b.Logs[1], func(f *logFile) {
			f.insert(0, 164, 0, append([]byte{1, 1, 0, 0, 0}, make([]byte, 12)...))
		})
		return replaced(b, 1, variant(t, path, func(d []byte) []byte {
			at := 4
			for range 2 { // the format and the event itself are in clear text
				at += int(binary.LittleEndian.Uint32(d[at+sizeAt:]))
			}
			for ; at < len(d); at++ {
				d[at] ^= 0x5a
			}
			return d
		}))
	}},
	{name: "relay log", codes: code(failed), says: `relay log`, args: func(t *testing.T, b *bed) []string {
		return replaced(b, 1, rebuilt(t, b.Logs[1], func(f *logFile) { f.events[0][flagsAt] |= flagRelay }))
	}},
	{name: "relay log with the source's header", codes: code(failed), says: `relay log`, args: func(t *testing.T, b *bed) []string {
		return replaced(b, 1, rebuilt(t, b.Logs[1], func(f *logFile) { f.events = slices.Insert(f.events, 1, slices.Clone(f.events[0])) }))
	}},
	{name: "log of the other vendor", codes: code(failed), says: `MySQL|MariaDB`, args: func(t *testing.T, b *bed) []string {
		w := otherVendor(t, b)
		return append([]string{"--from", w.Start()}, w.Logs...)
	}},
	{name: "logs of two vendors", codes: code(failed), says: `wrote`, args: func(t *testing.T, b *bed) []string {
		return from(b, append(slices.Clone(b.Logs), otherVendor(t, b).Logs...)...)
	}},

	{name: "bit flipped in the format description", codes: code(failed), says: `:4: checksum`, args: flipped(1, 0, 70, is(typeFormat))},
	{name: "bit flipped in an event header", codes: code(failed), says: `checksum`, args: flipped(1, 0, 1, isRows)},
	{name: "bit flipped in a size", codes: code(failed, gap), says: `bin\.\d+:\d+: `, args: flipped(1, 0, sizeAt, isRows)},
	{name: "bit flipped in rows", codes: code(failed), says: `checksum`, args: flipped(1, 1, headerSize+12, isRows)},
	{name: "bit flipped in the last rows", codes: code(failed), says: `checksum`, args: flipped(4, -1, headerSize+12, isRows)},
	{name: "bit flipped in the last event", codes: code(failed), says: `checksum`, args: func(t *testing.T, b *bed) []string {
		return replaced(b, 4, variant(t, b.Logs[4], func(d []byte) []byte { return flip(len(d) - 2)(d) }))
	}},
	{name: "bit flipped before the start", codes: code(failed, succeeded), says: `checksum|left`, args: func(t *testing.T, b *bed) []string {
		return append(replaced(b, 0, variant(t, b.Logs[0], flip(4+headerSize+60))), "--plan")
	}},
	{name: "no checksums: wrong size", codes: code(failed, gap), says: `bin\.\d+:\d+: `, args: unchecked(func(d []byte, at []int) { d[at[5]+sizeAt] ^= 1 })},
	{name: "no checksums: size zero", codes: code(failed), says: `corrupt event: event size 0`, args: unchecked(func(d []byte, at []int) {
		binary.LittleEndian.PutUint32(d[at[5]+sizeAt:], 0)
	})},
	{name: "no checksums: wrong next position", codes: code(failed), says: `says that the next event`, args: unchecked(func(d []byte, at []int) { d[at[5]+nextAt] ^= 1 })},
	{name: "no checksums: wrong type", codes: code(failed), says: `unknown event type 222`, args: unchecked(func(d []byte, at []int) { d[at[5]+typeAt] = 222 })},

	{name: "truncated middle file", codes: code(gap), says: `ends inside`, args: func(t *testing.T, b *bed) []string {
		at, _ := event(t, b.Logs[1], 1, isRows)
		return replaced(b, 1, variant(t, b.Logs[1], func(d []byte) []byte { return d[:at+7] }))
	}},
	{name: "middle file truncated between events of a transaction", codes: code(gap), says: `ends inside`, args: func(t *testing.T, b *bed) []string {
		at, _ := event(t, b.Logs[1], 1, isRows)
		return replaced(b, 1, variant(t, b.Logs[1], func(d []byte) []byte { return d[:at] }))
	}},
	{name: "middle file truncated between transactions", codes: code(gap), says: `bin\.\d+`, args: func(t *testing.T, b *bed) []string {
		return replaced(b, 1, rebuilt(t, b.Logs[1], func(f *logFile) { f.events = f.events[:f.index(0, is(typeXID))+1] }))
	}},
	{name: "last file truncated between transactions", codes: code(gap, succeeded), says: `left out|cut off|bin\.000006.*ends`, args: func(t *testing.T, b *bed) []string {
		return replaced(b, 4, rebuilt(t, b.Logs[4], func(f *logFile) { f.events = f.events[:f.index(0, is(typeXID))+1] }), "--plan")
	}},
	{name: "last file still being written", codes: code(succeeded), says: `transactions`, args: func(t *testing.T, b *bed) []string {
		return replaced(b, 4, rebuilt(t, b.Logs[4], func(f *logFile) {
			f.events = f.events[:f.lastIndex(is(typeXID))+1]
			f.events[0][flagsAt] |= flagInUse
		}), "--plan")
	}},
	{name: "middle file ends in a crash, but its follower does not begin with a start", codes: code(gap), says: `bin\.\d+`, args: func(t *testing.T, b *bed) []string {
		return replaced(b, 1, rebuilt(t, b.Logs[1], func(f *logFile) {
			f.events = f.events[:f.index(0, is(typeXID))+1]
			f.events[0][flagsAt] |= flagInUse
		}))
	}},
	{name: "missing first file", codes: code(gap), says: `no such file among those given`, args: func(_ *testing.T, b *bed) []string { return replaced(b, 0, "") }},
	{name: "missing middle file", codes: code(gap), says: `gap`, args: func(_ *testing.T, b *bed) []string { return replaced(b, 1, "") }},
	{name: "missing file behind a shutdown", codes: code(gap), says: `gap`, args: func(_ *testing.T, b *bed) []string { return replaced(b, 3, "") }},
	{name: "the same file twice", codes: code(gap, usage), says: `two files|twice`, args: func(_ *testing.T, b *bed) []string {
		return from(b, append(slices.Clone(b.Logs), b.Logs[2])...)
	}},
	{name: "the same file under two names", codes: code(gap, usage), says: `bin\.\d+`, args: func(t *testing.T, b *bed) []string {
		data, err := os.ReadFile(b.Logs[4])
		must(t, err)
		return from(b, append(slices.Clone(b.Logs), place(t, "bin.000007", data))...)
	}},

	{name: "unknown event", codes: code(failed), says: `unknown event type 99.*until`, args: inserted(99, 0, []byte("what")), only: mariadb},
	{name: "unknown event of the vendor", codes: code(failed), says: `unknown event type 99.*until`, args: inserted(99, 0, []byte("what")), only: mysql},
	{name: "unknown event, ignorable", codes: code(succeeded), says: `transactions`, args: inserted(99, flagIgnorable, []byte("what"), "--plan")},
	{name: "incident", codes: code(failed), says: `INCIDENT`, args: inserted(26, 0, []byte{1, 0, 4, 'l', 'o', 's', 't'})},
}

func otherVendor(t *testing.T, b *bed) *recorded {
	t.Helper()
	for _, k := range beds(t) {
		if k.Flavor != b.Flavor {
			return world(t, k)
		}
	}
	t.Fatal("only one vendor's servers are installed")
	return nil
}

var startCases = []badCase{
	{name: "start too early", codes: code(gap), says: `early`, only: knows, args: func(_ *testing.T, b *bed) []string {
		return append([]string{"--from", b.marks["early"], b.Setup}, b.Logs...)
	}},
	{name: "start too early, no GTIDs", codes: code(gap), says: `does not hold the rows.*start does not fit`, only: plain, args: func(_ *testing.T, b *bed) []string {
		return append([]string{"--from", b.marks["early"], b.Setup}, b.Logs...)
	}},
	{name: "start too early, at a definition", codes: code(gap), says: `start`, args: func(_ *testing.T, b *bed) []string {
		return append([]string{"--from", filepath.Base(b.Setup) + ":4", b.Setup}, b.Logs...)
	}},
	{name: "start too early, at a statement", codes: code(gap), says: `start`, late: true, args: func(_ *testing.T, b *bed) []string {
		return append([]string{"--from", b.marks["early statement"], b.Setup}, b.Logs...)
	}},
	{name: "start too late", codes: code(gap), says: `late`, only: knows, args: func(_ *testing.T, b *bed) []string {
		return with(b, "--from", b.marks["late update"])
	}},
	{name: "start too late, an insert is missing", codes: code(gap), says: `start`, args: func(_ *testing.T, b *bed) []string {
		return with(b, "--from", b.marks["late insert"])
	}},
	{name: "start too late, an update is missing", codes: code(gap), says: `start`, only: plain, args: func(_ *testing.T, b *bed) []string {
		return with(b, "--from", b.marks["late update"])
	}},
	{name: "start inside a transaction", codes: code(gap), says: `inside the transaction`, args: func(t *testing.T, b *bed) []string {
		at, _ := event(t, b.Logs[0], -1, isRows)
		return with(b, "--from", position(b.Logs[0], at))
	}},
	{name: "start inside an event", codes: code(gap), says: `inside|not.*begin`, args: func(_ *testing.T, b *bed) []string {
		return with(b, "--from", fmt.Sprintf("%s:%d", b.First, b.Offset+3))
	}},
	{name: "start inside the first event", codes: code(gap), says: `first event`, args: func(_ *testing.T, b *bed) []string {
		return with(b, "--from", b.First+":17")
	}},
	{name: "start beyond the end", codes: code(gap), says: `only has|has only`, args: func(_ *testing.T, b *bed) []string {
		return with(b, "--from", b.First+":99999999")
	}},
	{name: "start in a file not given", codes: code(gap), says: `no such file among`, args: flags("--from", "bin.000077:4")},
	{name: "start after all", codes: code(gap), says: `start`, only: knows, args: func(_ *testing.T, b *bed) []string {
		return with(b, "--from", b.marks["end"])
	}},
	{name: "auto without anything to go by", codes: code(gap), says: `backup recorded`, only: plain, args: flags("--from", "auto")},
	{name: "GTID start before the log", codes: code(gap), says: `missing`, only: func(b *bed) bool { return b.gtid && mysql(b) }, args: flags("--from", "gtid:3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5")},
	{name: "GTID start of the other vendor", codes: code(gap, usage), says: `GTID|gtid`, args: func(_ *testing.T, b *bed) []string {
		if mysql(b) {
			return with(b, "--from", "gtid:0-1-5")
		}
		return with(b, "--from", "gtid:3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5")
	}},
}

var stopCases = []badCase{
	{name: "stop before the start", codes: code(gap), says: `before the start`, args: func(_ *testing.T, b *bed) []string { return with(b, "--until", b.First+":4") }},
	{name: "stop beyond the end", codes: code(gap), says: `beyond the end`, args: func(_ *testing.T, b *bed) []string {
		return with(b, "--until", filepath.Base(b.Logs[4])+":99999999")
	}},
	{name: "stop in a file not given", codes: code(gap), says: `no such file among`, args: flags("--until", "bin.000077:4")},
	{name: "stop inside a transaction", codes: code(gap), says: `inside the transaction.*take`, args: func(t *testing.T, b *bed) []string {
		at, _ := event(t, b.Logs[4], -1, isRows)
		return with(b, "--until", position(b.Logs[4], at))
	}},
	{name: "stop inside an event", codes: code(gap), says: `inside`, args: func(t *testing.T, b *bed) []string {
		at, _ := event(t, b.Logs[1], 1, isRows)
		return with(b, "--until", position(b.Logs[1], at+1))
	}},
	{name: "stop before the first transaction, as a time", codes: code(gap), says: `before the first`, args: flags("--until", "2014-01-10T17:29:59Z")},
	{name: "stop after the last transaction, as a time", codes: code(gap), says: `beyond the end of the log`, args: flags("--until", "2114-01-10T17:29:59Z")},
	{name: "stop at a GTID of somebody else", codes: code(gap), says: `none of these|not reached`, args: func(_ *testing.T, b *bed) []string {
		if mysql(b) {
			return with(b, "--until", "gtid:3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5")
		}
		return with(b, "--until", "gtid:7-9-12")
	}},
	{name: "stop at a GTID that is not there yet", codes: code(gap), says: `not reached|none of these`, only: knows, args: func(_ *testing.T, b *bed) []string {
		if mysql(b) {
			uuid, _, _ := strings.Cut(b.GTIDs, ":")
			return with(b, "--until", "gtid:"+uuid+":1-99999")
		}
		return with(b, "--until", "gtid:0-1-99999")
	}},
	{name: "stop as a time without zone", codes: code(usage), says: `zone`, args: flags("--until", "2014-01-10T17:29:59")},
	{name: "stop as nonsense", codes: code(usage), says: `--until`, args: flags("--until", "yesterday")},
	{name: "stop as a bad GTID", codes: code(usage), says: `--until`, args: flags("--until", "gtid:nonsense")},
}

var argumentCases = []badCase{
	{name: "unknown flag", codes: code(usage), says: `unknown flag`, args: flags("--faster")},
	{name: "unknown command", codes: code(usage), says: `unknown command`, wholeCommand: true, args: func(*testing.T, *bed) []string { return []string{"rescue"} }},
	{name: "no workers", codes: code(usage), says: `--workers`, args: flags("--workers", "0")},
	{name: "negative workers", codes: code(usage), says: `--workers`, args: flags("--workers", "-1")},
	{name: "too many workers", codes: code(usage), says: `--workers`, args: flags("--workers", "100000")},
	{name: "workers that are no number", codes: code(usage), says: `--workers`, args: flags("--workers", "many")},
	{name: "memory that is no size", codes: code(usage), says: `--memory`, args: flags("--memory", "x")},
	{name: "no memory", codes: code(usage), says: `--memory`, args: flags("--memory", "0")},
	{name: "too little memory", codes: code(usage), says: `--memory`, args: flags("--memory", "1M")},
	{name: "empty memory", codes: code(usage), says: `--memory`, args: flags("--memory", "")},
	{name: "unknown mode", codes: code(usage), says: `--mode`, args: flags("--mode", "fast")},
	{name: "start as nonsense", codes: code(usage), says: `--from`, args: flags("--from", "there")},
	{name: "start with a negative position", codes: code(usage), says: `--from`, args: flags("--from", "bin.000001:-4")},
	{name: "start as a bad GTID", codes: code(usage), says: `--from`, args: flags("--from", "gtid:nonsense")},
	{name: "no files", codes: code(usage), says: `no binary log files`, args: func(_ *testing.T, b *bed) []string { return from(b) }},
	{name: "no target", codes: code(usage), says: `--target`, wholeCommand: true, args: func(_ *testing.T, b *bed) []string { return append([]string{"replay"}, from(b, b.Logs...)...) }},
	{name: "malformed DSN", codes: code(usage), says: `target`, args: func(_ *testing.T, b *bed) []string { return with(b, "--target", "localhost:3306") }},
	{name: "no such option file", codes: code(storage), says: `--defaults-file`, args: flags("--defaults-file", "/nonexistent/my.cnf")},
	{name: "dead server", codes: code(failed, storage), says: `connect.*running`, args: func(_ *testing.T, b *bed) []string {
		return with(b, "--target", "root@unix("+b.target.Socket()+".gone)/")
	}},
	{name: "dead server, TCP", codes: code(failed, storage), says: `connect.*running`, args: flags("--target", "root@tcp(127.0.0.1:1)/")},
	{name: "wrong password", codes: code(storage), says: `account.*password`, args: func(_ *testing.T, b *bed) []string { return with(b, "--target", b.dsn("password:wrong")) }},
	{name: "no such account", codes: code(storage), says: `account`, args: func(_ *testing.T, b *bed) []string { return with(b, "--target", b.dsn("nobody")) }},
}

var targetCases = []badCase{
	{name: "table missing", codes: code(gap), says: `b\.t`, args: flags(),
		wrong: []string{"RENAME TABLE b.t TO b.gone"}, right: []string{"RENAME TABLE b.gone TO b.t"}},
	{name: "column missing", codes: code(gap), says: `b\.t.*columns`, args: flags(),
		wrong: []string{"CREATE TABLE b.gone LIKE b.t", "INSERT INTO b.gone SELECT * FROM b.t", "ALTER TABLE b.t DROP COLUMN v"},
		right: []string{"DROP TABLE b.t", "RENAME TABLE b.gone TO b.t"}},
	{name: "column more", codes: code(gap), says: `b\.u.*columns`, args: flags(),
		wrong: []string{"ALTER TABLE b.u ADD COLUMN more INT"}, right: []string{"ALTER TABLE b.u DROP COLUMN more"}},
	{name: "column of another type", codes: code(gap), says: `b\.t`, args: flags(),
		wrong: []string{"ALTER TABLE b.t MODIFY a VARCHAR(10)"}, right: []string{"ALTER TABLE b.t MODIFY a INT"}},
	{name: "columns in another order", codes: code(gap), says: `b\.t`, args: flags(),
		wrong: []string{"ALTER TABLE b.t MODIFY v VARCHAR(50) AFTER id"}, right: []string{"ALTER TABLE b.t MODIFY v VARCHAR(50) AFTER a"}},
	{name: "table emptied", codes: code(gap), says: `does not hold the rows`, args: flags(),
		wrong: []string{"CREATE TABLE b.gone LIKE b.t", "INSERT INTO b.gone SELECT * FROM b.t", "TRUNCATE b.t"},
		right: []string{"DROP TABLE b.t", "RENAME TABLE b.gone TO b.t"}},
	{name: "one row missing", codes: code(gap), says: `does not hold the rows`, args: flags(),
		wrong: []string{"DELETE FROM b.t WHERE id=2"}, right: []string{"INSERT INTO b.t VALUES (2, 2, 'start')"}},
	{name: "one row too many", codes: code(gap), says: `does not hold the rows`, args: flags(),
		wrong: []string{"INSERT INTO b.u VALUES (21, 2)"}, right: []string{"DELETE FROM b.u WHERE id=21"}},
	{name: "one row changed", codes: code(gap), says: `start|changed`, args: flags(),
		wrong: []string{"UPDATE b.t SET v='other' WHERE id=1"}, right: []string{"UPDATE b.t SET v='start' WHERE id=1"}},
	{name: "super_read_only", codes: code(failed), says: `super_read_only.*SET GLOBAL`, only: mysql, args: flags(),
		wrong: []string{"SET GLOBAL super_read_only = ON"}, right: []string{"SET GLOBAL super_read_only = OFF", "SET GLOBAL read_only = OFF"}},
	{name: "read_only", codes: code(failed, storage), says: `read.only`, args: func(_ *testing.T, b *bed) []string { return with(b, "--target", b.dsn("everything")) },
		wrong: []string{"SET GLOBAL read_only = ON"}, right: []string{"SET GLOBAL read_only = OFF"}},
	{name: "packet too small", codes: code(failed), says: `max_allowed_packet.*SET GLOBAL`, args: flags(),
		wrong: []string{"SET GLOBAL max_allowed_packet = 65536"}, right: []string{"SET GLOBAL max_allowed_packet = 16777216"}},
}
