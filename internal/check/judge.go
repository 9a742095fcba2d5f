package check

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/units"
)

// Names of what is checked, as Line.What has them.
const (
	whatConnect    = "connect"
	whatClock      = "clock"
	whatArchive    = "archive account"
	whatLog        = "binary log"
	whatReplay     = "replay"
	whatDurable    = "durability"
	whatExpiry     = "log expiry"
	whatBackup     = "backup"
	whatName       = "name"
	whatOpen       = "open"
	whatEncryption = "encryption"
	whatWrites     = "conditional writes"
	whatObjects    = "objects"
	whatSpace      = "space"
	whatArchived   = "archived"
)

// lines collects findings about one thing.
type lines struct {
	about string
	list  []Line
}

func (l *lines) ok(what, format string, args ...any) {
	l.list = append(l.list, Line{Level: OK, About: l.about, What: what, Why: fmt.Sprintf(format, args...)})
}

func (l *lines) warn(what, next, format string, args ...any) {
	l.list = append(l.list, Line{Level: Warn, About: l.about, What: what, Why: fmt.Sprintf(format, args...), Next: next})
}

func (l *lines) fail(class fault.Class, what, next, format string, args ...any) {
	l.list = append(l.list, Line{Level: Fail, About: l.about, What: what, Why: fmt.Sprintf(format, args...), Next: next, Class: class})
}

// failed is a failure of an error, which may have its own class and next step.
func (l *lines) failed(class fault.Class, what, next string, err error) {
	text := err.Error()
	if c := fault.ClassOf(err); c != fault.Failed {
		class = c
	}
	if e := (*fault.Error)(nil); errors.As(err, &e) && e.Hint != "" {
		text, next = strings.TrimSuffix(text, "; "+e.Hint), e.Hint
	}
	l.fail(class, what, next, "%s", text)
}

// judge says what a server's facts mean; members is how many the set has.
func (f *serverFacts) judge(members int) []Line {
	l := &lines{about: "server " + f.name}
	if f.err != nil {
		l.failed(fault.Storage, whatConnect, connectHint(f.err), f.err)
		return l.list
	}
	l.ok(whatConnect, "%s, %s", f.who, f.id)
	judgeVersion(l, f.who)
	judgeClock(l, f.clock, time.Millisecond, "the server's")
	f.judgeArchive(l)
	if f.backup {
		f.judgeBackup(l)
	}
	if f.variables["log_bin"] != "ON" {
		l.fail(fault.Failed, whatLog, "set log_bin, which takes a restart, or take the server out of the configuration", "it is off: nothing of this server can be archived")
		return l.list
	}
	judgeLog(l, f.variables, f.filters)
	f.judgeReplay(l, members)
	judgeDurability(l, f.variables)
	judgeExpiry(l, f.variables)
	return l.list
}

// connectHint is for errors without a next step of their own.
func connectHint(err error) string {
	if archive.Denied(err) {
		return "check user and password"
	}
	return "is the server running, and is its address right?"
}

// judgeVersion: what is older has never been tried.
func judgeVersion(l *lines, who dbconn.Server) {
	if who.Flavor == gtid.MySQL && !who.AtLeast(8, 0) || who.Flavor == gtid.MariaDB && !who.AtLeast(10, 5) {
		l.warn(whatConnect, "docs/compatibility.md says which versions were tried", "%s is older than any version that this was made for", who)
	}
}

// Bounds of what clocks may differ by. A restore compares when a backup was
// finished, by the host's clock, with when transactions were committed, by the
// server's, at a second; S3 servers refuse requests at 15 minutes.
const (
	clockWarn = 2 * time.Second
	clockFail = time.Minute
)

func judgeClock(l *lines, c clock, grain time.Duration, whose string) {
	ahead := c.ahead(grain)
	side := "ahead of"
	if ahead < 0 {
		side = "behind"
	}
	const next = "synchronise both clocks (NTP): restores to a time, leases and expiry compare them"
	switch by := ahead.Abs(); {
	case by >= clockFail:
		l.fail(fault.Failed, whatClock, next, "%s clock is %s %s this host's", whose, units.Duration(by), side)
	case by >= clockWarn:
		l.warn(whatClock, next, "%s clock is %s %s this host's", whose, units.Duration(by), side)
	default:
		l.ok(whatClock, "as this host's")
	}
}

const archiveHint = "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO it: docs/archive.md"

func (f *serverFacts) judgeArchive(l *lines) {
	switch {
	case f.asked != nil:
		l.failed(fault.Storage, whatArchive, archiveHint, f.asked)
	case f.received != nil:
		l.failed(fault.Storage, whatArchive, archiveHint, f.received)
	case !f.source.End.IsZero():
		l.ok(whatArchive, "its log was received, %s", f.source.End.File)
	}
}

func (f *serverFacts) judgeBackup(l *lines) {
	if f.notBacked != nil {
		l.failed(fault.Failed, whatBackup, "docs/recovery.md has what each driver needs", f.notBacked)
		return
	}
	l.ok(whatBackup, "the driver %s has what it needs", f.driver)
}

// judgeLog looks for what would not be in the log.
func judgeLog(l *lines, v map[string]string, filters string) {
	switch {
	case filters != "":
		l.fail(fault.Failed, whatLog, "remove the filter: what is not in the log is lost", "it has %s", filters)
	default:
		l.ok(whatLog, "all changes are in it")
	}
}

// judgeReplay looks for what would be replayed slowly, or not at all. Variables
// that a server does not have are empty.
func (f *serverFacts) judgeReplay(l *lines, members int) {
	before, v := len(l.list), f.variables
	if f.xa > 0 {
		l.fail(fault.Failed, whatReplay, "have its clients use no XA; docs/compatibility.md says how a recovery goes past one", "%d XA statements have run on it, and no restore goes past an XA transaction", f.xa)
	}
	if v["binlog_alter_two_phase"] == "ON" {
		l.fail(fault.Failed, whatReplay, "set binlog_alter_two_phase=OFF", "an ALTER TABLE that is logged in two phases cannot be replayed")
	}
	if got := v["binlog_format"]; got != "ROW" && got != "" {
		l.warn(whatReplay, "set binlog_format=ROW", "binlog_format is %s: statements are replayed one at a time, and some not at all", got)
	}
	if got := v["binlog_row_image"]; got != "FULL" && got != "" {
		l.warn(whatReplay, "set binlog_row_image=FULL", "binlog_row_image is %s: no net change, every change is replayed by itself", got)
	}
	if strings.Contains(v["binlog_row_value_options"], "PARTIAL_JSON") {
		l.warn(whatReplay, "set binlog_row_value_options=''", "JSON is logged in parts: tables with it are replayed without net change")
	}
	if v["binlog_checksum"] == "NONE" {
		l.warn(whatReplay, "set binlog_checksum=CRC32", "events have no checksums: damage in the log is not seen")
	}
	if mode := v["gtid_mode"]; f.who.Flavor == gtid.MySQL && mode != "ON" {
		l.warn(whatReplay, "set gtid_mode=ON", "gtid_mode is %s: only the log of the very server that was backed up leads on from a backup", mode)
	}
	if members > 1 && (v["log_replica_updates"] == "OFF" || v["log_slave_updates"] == "OFF") {
		l.warn(whatReplay, "set log_replica_updates=ON (MariaDB: log_slave_updates)", "while it is a replica its log does not have the source's changes: after a failover no log has all of them")
	}
	if len(l.list) == before {
		l.ok(whatReplay, "by net change")
	}
}

// judgeDurability: a server that loses what it has logged gives its numbers to
// other transactions.
func judgeDurability(l *lines, v map[string]string) {
	for _, name := range []string{"sync_binlog", "innodb_flush_log_at_trx_commit"} {
		if v[name] != "1" {
			l.warn(whatDurable, "set "+name+"=1, if the disks allow it", "%s is %s: when its machine dies, the server forgets transactions that are archived", name, v[name])
			return
		}
	}
	l.ok(whatDurable, "what was committed is on disk")
}

// leastExpiry is how long a server should keep its log: an archive that is down
// for longer leaves a gap.
const leastExpiry = 24 * time.Hour

func judgeExpiry(l *lines, v map[string]string) {
	kept, ok := expiry(v)
	switch size, _ := strconv.ParseInt(v["max_binlog_total_size"], 10, 64); {
	case size > 0:
		l.warn(whatExpiry, "set max_binlog_total_size=0", "logs go when they have %s together, archived or not", units.Bytes(size))
	case !ok:
		l.ok(whatExpiry, "logs stay")
	case kept < leastExpiry:
		l.warn(whatExpiry, "set binlog_expire_logs_seconds to a day at least", "logs stay for %s only: when the archive is down for longer, that is a gap", units.Duration(kept))
	default:
		l.ok(whatExpiry, "logs stay for %s", units.Duration(kept))
	}
}

// expiry is after which time logs go; ok is false if none does. MySQL 8.0 and
// MariaDB 10.6 have seconds, older ones days; MySQL may leave it all to people.
func expiry(v map[string]string) (after time.Duration, ok bool) {
	seconds, _ := strconv.ParseInt(v["binlog_expire_logs_seconds"], 10, 64)
	days, _ := strconv.ParseFloat(v["expire_logs_days"], 64)
	if seconds == 0 {
		seconds = int64(days * 86400)
	}
	if seconds == 0 || v["binlog_expire_logs_auto_purge"] == "OFF" {
		return 0, false
	}
	return time.Duration(seconds) * time.Second, true
}

// judgeNames looks for servers whose logs would be kept as one.
func judgeNames(all []serverFacts) []Line {
	l := &lines{}
	first := map[string]string{}
	for _, f := range all {
		if f.err != nil {
			continue
		}
		other, twice := first[f.id]
		if !twice {
			first[f.id] = f.name
			continue
		}
		l.about = "server " + f.name
		l.fail(fault.Failed, whatName, "give each MariaDB a server_id of its own (a copied MySQL loses its auto.cnf), or name the server once",
			"it is %s, as server %s is: their logs cannot be told apart", f.id, other)
	}
	return l.list
}

// judge says what a repository's facts mean.
func (f *placeFacts) judge() []Line {
	l := &lines{about: "repository " + f.name}
	if f.err != nil {
		l.failed(fault.Storage, whatOpen, "", f.err)
		return l.list
	}
	l.ok(whatOpen, "%s", f.place)
	f.judgeEncryption(l)
	if f.write != nil {
		l.failed(fault.Storage, whatWrites, "", f.write)
	} else {
		l.ok(whatWrites, "nothing is overwritten")
	}
	f.judgeObjects(l)
	if f.object == nil {
		judgeClock(l, clock{f.tried.Modified, f.tried.Before, f.tried.After}, time.Second, "the repository's")
	}
	judgeSpace(l, f.space)
	return l.list
}

func (f *placeFacts) judgeEncryption(l *lines) {
	switch {
	case len(f.marked) == 0:
		l.ok(whatEncryption, "none")
	case f.tried.Opened != nil:
		l.failed(fault.Storage, whatEncryption, "", f.tried.Opened)
	case len(f.configured) == 0:
		l.warn(whatEncryption, "write its recipients into the configuration", "it is encrypted for %s, and the configuration does not say for whom: whoever can write there could name himself", strings.Join(f.marked, ", "))
	case f.keys == 0 || f.object != nil:
		l.ok(whatEncryption, "for those that are configured; no private key was tried")
	default:
		l.ok(whatEncryption, "for those that are configured; the private key opens it")
	}
}

func (f *placeFacts) judgeObjects(l *lines) {
	switch {
	case f.object != nil:
		l.failed(fault.Storage, whatObjects, "", f.object)
	case f.tried.Kept != nil:
		l.ok(whatObjects, "put, listed, read; the account may not delete, so expire has to run with another one")
	default:
		l.ok(whatObjects, "put, listed, read, deleted")
	}
}

// leastSpace is that of a few objects.
const leastSpace = 256 << 20

func judgeSpace(l *lines, s space) {
	const next = "enlarge it, or let expire remove more"
	switch {
	case s.err != nil:
		l.failed(fault.Storage, whatSpace, "", s.err)
	case !s.known:
	case s.free < leastSpace:
		l.fail(fault.NoSpace, whatSpace, next, "%s are free", units.Bytes(s.free))
	case s.free < s.full:
		l.warn(whatSpace, next, "%s are free, the last full backup took %s", units.Bytes(s.free), units.Bytes(s.full))
	default:
		l.ok(whatSpace, "%s are free", units.Bytes(s.free))
	}
}

// judge says whether the archive works.
func (f *pairFacts) judge() Line {
	l := &lines{about: "server " + f.server + ", repository " + f.place}
	const run = "does lifeboat archive run? its log says what it waits for"
	switch st := f.standing; {
	case f.err != nil:
		l.failed(fault.Storage, whatArchived, "", f.err)
	case st.Alarm != "":
		l.fail(fault.Gap, whatArchived, "see that lifeboat archive runs, then take a full backup", "%s", st.Alarm)
	case st.Tip.IsZero():
		l.fail(fault.Gap, whatArchived, run, "nothing of its log is there; the server is at %s", f.end)
	case !f.has:
		l.fail(fault.Gap, whatArchived, run, "it has the log up to %s, the server was at %s %s ago and is %s ahead", st.Tip, f.end, units.Duration(f.waited), units.Bytes(st.Behind))
	case st.Gaps > 0:
		l.warn(whatArchived, "lifeboat archive status has them, lifeboat info says which backups lead on", "it has the log up to %s, with %d gaps in it", st.Tip, st.Gaps)
	default:
		l.ok(whatArchived, "up to %s", st.Tip)
	}
	return l.list[0]
}
