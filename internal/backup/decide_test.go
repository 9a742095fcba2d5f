package backup

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/repository"
)

// TestBucket: in no span of time more passes than rate allows, plus a second's
// worth and one write; and not much less if the writer is always ready.
func TestBucket(t *testing.T) {
	r := random(t)
	for range 100 {
		b := bucket{rate: 1 + r.Int64N(1<<30)}
		start := time.Unix(1e9, 0)
		now, sum := start, int64(0)
		for range 1000 {
			n := r.IntN(int(b.rate/100) + 2)
			sum += int64(n)
			now = now.Add(b.take(now, n))
			allowed := now.Sub(start).Seconds()*float64(b.rate) + float64(b.rate) + 1
			if float64(sum) > allowed+1 {
				t.Fatalf("rate %d: %d bytes after %v", b.rate, sum, now.Sub(start))
			}
			if float64(sum) < allowed-float64(b.rate)-2 && now.After(start) {
				t.Fatalf("rate %d: only %d bytes after %v", b.rate, sum, now.Sub(start))
			}
		}
	}
	if d := (&bucket{}).take(time.Now(), 1<<40); d != 0 {
		t.Errorf("no limit waits %v", d)
	}
}

func chainOf(n int) []Manifest {
	var all []Manifest
	for i := range n {
		m := Manifest{ID: fmt.Sprintf("20261125T22150%dZ-0a1b2c", i), Kind: Full, Driver: "d", Server: "mariadb-7", ServerVersion: "11.8.9-MariaDB", ToLSN: uint64(100 * (i + 1))}
		if i > 0 {
			m.Kind, m.Parent, m.FromLSN = Incremental, all[i-1].ID, all[i-1].ToLSN
		}
		all = append(all, m)
	}
	return all
}

func TestChain(t *testing.T) {
	all := chainOf(4)
	for i := range all {
		if got, err := Chain(all, all[i].ID); err != nil || !reflect.DeepEqual(got, all[:i+1]) {
			t.Errorf("%d: %v, %v", i, got, err)
		}
	}
	for what, breaks := range map[string]func([]Manifest) []Manifest{
		"one is missing":      func(a []Manifest) []Manifest { return slices.Delete(a, 1, 2) },
		"no full one":         func(a []Manifest) []Manifest { return a[1:] },
		"another server":      func(a []Manifest) []Manifest { a[2].Server = "mariadb-8"; return a },
		"another driver":      func(a []Manifest) []Manifest { a[2].Driver = "e"; return a },
		"a hole":              func(a []Manifest) []Manifest { a[2].FromLSN++; return a },
		"an overlap":          func(a []Manifest) []Manifest { a[2].FromLSN--; return a },
		"a circle":            func(a []Manifest) []Manifest { a[0].Kind, a[0].Parent = Incremental, a[3].ID; return a },
		"increment, no start": func(a []Manifest) []Manifest { a[0].Kind = Incremental; return a },
	} {
		broken := breaks(chainOf(4))
		if got, err := Chain(broken, all[3].ID); err == nil {
			t.Errorf("%s: %v", what, got)
		}
	}
	if err := CheckChain(nil); err == nil {
		t.Error("no backup is a chain")
	}
}

// TestParents: an increment goes on from the last backup that fits, in all
// repositories, and never from another server, driver or series.
func TestParents(t *testing.T) {
	b := begin(1, 1)
	for _, c := range []struct {
		what   string
		change func(all []Manifest)
		option string // Parent
		want   int    // index of the parent; -1: none
	}{
		{"last", func([]Manifest) {}, "", 3},
		{"named", func([]Manifest) {}, chainOf(4)[1].ID, 1},
		{"named, not there", func([]Manifest) {}, "20200101T000000Z-000000", -1},
		{"last of another server", func(a []Manifest) { a[3].Server = "mariadb-8" }, "", 2},
		{"last by another driver", func(a []Manifest) { a[3].Driver = Dump }, "", 2},
		{"last of another series", func(a []Manifest) { a[3].ServerVersion = "11.4.3-MariaDB" }, "", 2},
		{"last of another release", func(a []Manifest) { a[3].ServerVersion = "11.8.2-MariaDB" }, "", 3},
		{"last without LSN", func(a []Manifest) { a[3].ToLSN = 0 }, "", 2},
		{"full one broken", func(a []Manifest) { a[0].Kind = Incremental }, "", -1},
		{"hole", func(a []Manifest) { a[2].FromLSN = 1 }, "", 1},
	} {
		all := chainOf(4)
		for i := range all {
			all[i].Driver = MariaDBBackup
		}
		c.change(all)
		b.Parent = c.option
		got, why := b.parents(all)
		switch {
		case c.want < 0 && len(got) > 0, c.want >= 0 && (len(got) == 0 || got[len(got)-1].ID != all[c.want].ID):
			t.Errorf("%s: %v; %v", c.what, got, why)
		}
	}
	one := chainOf(4)
	if got := common(one, one[:2]); len(got) != 2 || len(common(one, nil)) != 0 {
		t.Errorf("%v", got)
	}
}

func TestChoose(t *testing.T) {
	maria, mysql, old := dbconn.Server{Flavor: gtid.MariaDB}, dbconn.Server{Flavor: gtid.MySQL, Major: 9, Minor: 7}, dbconn.Server{Flavor: gtid.MySQL, Major: 5, Minor: 7}
	for _, c := range []struct {
		name   string
		server dbconn.Server
		want   string
	}{{"", maria, MariaDBBackup}, {"", mysql, Clone}, {"", old, Dump}, {Dump, maria, Dump}, {MariaDBBackup, mysql, MariaDBBackup}} {
		if d, err := choose(Drivers(), c.name, c.server); err != nil || d.Name() != c.want {
			t.Errorf("%q: %v %v, want %s", c.name, d, err, c.want)
		}
	}
	if _, err := choose(Drivers(), "tar", maria); fault.ClassOf(err) != fault.Usage {
		t.Errorf("%v", err)
	}
}

func TestValidate(t *testing.T) {
	good := func() Options { return Options{Repositories: []*repository.Repository{nil}, Set: "shop"} }
	if o := good(); o.Validate() != nil {
		t.Error(o.Validate())
	}
	for what, change := range map[string]func(*Options){
		"no repository":      func(o *Options) { o.Repositories = nil },
		"no set":             func(o *Options) { o.Set = "" },
		"set leads away":     func(o *Options) { o.Set = "../x" },
		"set of two":         func(o *Options) { o.Set = "a/b" },
		"large parts":        func(o *Options) { o.PartBytes = repository.MaxPlain + 1 },
		"full with parent":   func(o *Options) { o.Parent = "20261125T221500Z-0a1b2c" },
		"parent is no id":    func(o *Options) { o.Incremental, o.Parent = true, "last" },
		"throttle below 0":   func(o *Options) { o.Source.Throttle = -1 },
		"workers below 0":    func(o *Options) { o.Workers = -1 },
		"patience below 0":   func(o *Options) { o.Patience = -1 },
		"held below 0":       func(o *Options) { o.Held = -1 },
		"part bytes below 0": func(o *Options) { o.PartBytes = -1 },
	} {
		o := good()
		change(&o)
		if err := o.Validate(); fault.ClassOf(err) != fault.Usage {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestMayPass: what waiting can mend is waited for.
func TestMayPass(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{fault.Errorf(fault.Storage, "put: input/output error"), true},
		{fault.Errorf(fault.Storage, "put: %w", fs.ErrPermission), false},
		{fault.Errorf(fault.NoSpace, "put: no space"), false},
		{fault.Errorf(fault.VerifyFailed, "damaged"), false},
		{errors.New("other"), false},
		{fault.Errorf(fault.Storage, "put: %w", status(503)), true},
		{fault.Errorf(fault.Storage, "put: %w", status(429)), true},
		{fault.Errorf(fault.Storage, "put: %w", status(0)), true},
		{fault.Errorf(fault.Storage, "put: %w", status(403)), false},
		{fault.Errorf(fault.Storage, "put: %w", status(301)), false},
		{fault.Errorf(fault.Storage, "put: %w", status(501)), false},
	} {
		if got := mayPass(c.err); got != c.want {
			t.Errorf("%v: %v", c.err, got)
		}
	}
}

type status int

func (s status) Error() string       { return fmt.Sprintf("HTTP %d", int(s)) }
func (s status) HTTPStatusCode() int { return int(s) }

// TestParseInfo: the files of mariadb-backup 10.11 and 11.8.
func TestParseInfo(t *testing.T) {
	lsn := map[string]string{"backup_type": "full-backuped", "from_lsn": "0", "to_lsn": "44878", "last_lsn": "149771"}
	for text, want := range map[string]Taken{
		"":                                       {ToLSN: 44878},
		"filename 'bin.000001', position '1353'": {File: "bin.000001", Offset: 1353, ToLSN: 44878},
		"filename 'bin.000001', position '1353', GTID of the last change ''":                     {File: "bin.000001", Offset: 1353, ToLSN: 44878},
		"filename 'bin.000001', position '1353', GTID of the last change '0-7-6'":                {File: "bin.000001", Offset: 1353, GTIDs: "0-7-6", ToLSN: 44878},
		"filename 'a b.000001', position '4294967296', GTID of the last change '0-7-6,10-8-900'": {File: "a b.000001", Offset: 4294967296, GTIDs: "0-7-6,10-8-900", ToLSN: 44878},
	} {
		if got, err := parseInfo(lsn, map[string]string{"binlog_pos": text}); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n%+v %v\nwant %+v", text, got, err, want)
		}
	}
	for _, c := range []struct{ lsn, info map[string]string }{
		{lsn, map[string]string{}},
		{lsn, map[string]string{"binlog_pos": "bin.000001:4"}},
		{lsn, map[string]string{"binlog_pos": "filename 'bin.000001', position '4', GTID of the last change 'x'"}},
		{map[string]string{}, map[string]string{"binlog_pos": ""}},
		{map[string]string{"from_lsn": "0", "to_lsn": "0"}, map[string]string{"binlog_pos": ""}},
	} {
		if got, err := parseInfo(c.lsn, c.info); err == nil {
			t.Errorf("%v: %+v", c, got)
		}
	}
}

const (
	mysqlHead = "-- MySQL dump 10.13  Distrib 9.7.4, for Linux (x86_64)\nSET @@SESSION.SQL_LOG_BIN= 0;\n\n--\n-- GTID state at the beginning of the backup \n--\n\n" +
		"SET @@GLOBAL.GTID_PURGED=/*!80000 '+'*/ '5775e5e9-e920-11f1-8b0c-02fc00000001:1-6,\n5775e5e9-e920-11f1-8b0c-02fc00000002:1-4:7';\n\n" +
		"-- CHANGE REPLICATION SOURCE TO SOURCE_LOG_FILE='bin.000001', SOURCE_LOG_POS=2786;\n"
	mariaHead = "-- MariaDB dump 10.19  Distrib 10.11.18-MariaDB\n-- CHANGE MASTER TO MASTER_USE_GTID=slave_pos;\n\n-- CHANGE MASTER TO MASTER_LOG_FILE='bin.000002', MASTER_LOG_POS=1353;\n"
	database  = "\n--\n-- Current Database: `d`\n--\n\nCREATE DATABASE `d`;\n"
	procedure = "CREATE PROCEDURE p()\nBEGIN\n-- SET GLOBAL gtid_slave_pos='9-9-9';\n-- CHANGE MASTER TO MASTER_LOG_FILE='no.000009', MASTER_LOG_POS=9;\n-- Dump completed\nEND\n"
	mariaTail = "-- Preferably use GTID to start replication from GTID position:\n\n-- SET GLOBAL gtid_slave_pos='0-7-6,1-7-3';\n/*!40103 SET TIME_ZONE=@OLD_TIME_ZONE */;\n"
	mark      = "\n-- Dump completed on 2026-11-25 22:23:37\n"
)

// TestDumpEnds: what the tools write, however the stream is cut.
func TestDumpEnds(t *testing.T) {
	r := random(t)
	rows := "INSERT INTO t VALUES (0x" + strings.Repeat("00ff", 100_000) + ");\n"
	for _, c := range []struct {
		what, text string
		flavor     gtid.Flavor
		logged     bool
		want       Taken
		bad        bool
	}{
		{"mysql", mysqlHead + database + procedure + rows + mark, gtid.MySQL, true, Taken{File: "bin.000001", Offset: 2786, GTIDs: "5775e5e9-e920-11f1-8b0c-02fc00000001:1-6,5775e5e9-e920-11f1-8b0c-02fc00000002:1-4:7"}, false},
		{"mysql, short", mysqlHead + database + mark, gtid.MySQL, true, Taken{File: "bin.000001", Offset: 2786, GTIDs: "5775e5e9-e920-11f1-8b0c-02fc00000001:1-6,5775e5e9-e920-11f1-8b0c-02fc00000002:1-4:7"}, false},
		{"mysql without gtids", strings.ReplaceAll(mysqlHead, "SET @@GLOBAL", "-- ") + database + mark, gtid.MySQL, true, Taken{File: "bin.000001", Offset: 2786}, false},
		{"mysql, gtids without log", mysqlHead + database + mark, gtid.MySQL, false, Taken{GTIDs: "5775e5e9-e920-11f1-8b0c-02fc00000001:1-6,5775e5e9-e920-11f1-8b0c-02fc00000002:1-4:7"}, false},
		{"mariadb", mariaHead + database + procedure + rows + mariaTail + mark, gtid.MariaDB, true, Taken{File: "bin.000002", Offset: 1353, GTIDs: "0-7-6,1-7-3"}, false},
		{"mariadb without log", database + rows + mark, gtid.MariaDB, false, Taken{}, false},
		{"no position", database + rows + mark, gtid.MariaDB, true, Taken{}, true},
		{"position in a procedure", database + procedure + rows + mark, gtid.MariaDB, true, Taken{}, true},
		{"no mark", mariaHead + database + rows + mariaTail, gtid.MariaDB, true, Taken{}, true},
		{"mark in a procedure", mariaHead + database + procedure, gtid.MariaDB, true, Taken{}, true},
		{"mark not last", mariaHead + database + mark + rows, gtid.MariaDB, true, Taken{}, true},
		{"no database", mariaHead + mark, gtid.MariaDB, true, Taken{}, true},
		{"nothing", "", gtid.MariaDB, true, Taken{}, true},
	} {
		var out bytes.Buffer
		d := dumpEnds{to: &out}
		for text := c.text; text != ""; {
			n := min(len(text), 1+r.IntN(100_000)>>r.IntN(17))
			if _, err := io.WriteString(&d, text[:n]); err != nil {
				t.Fatal(err)
			}
			text = text[n:]
		}
		got, err := d.taken(c.flavor, c.logged)
		if (err != nil) != c.bad || !c.bad && !reflect.DeepEqual(got, c.want) || out.String() != c.text {
			t.Errorf("%s: %+v %v, want %+v", c.what, got, err, c.want)
		}
	}
}

func TestMissingGrants(t *testing.T) {
	wanted := []string{"RELOAD", "PROCESS", "BINLOG MONITOR"}
	for line, want := range map[string]string{
		"GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION":      "",
		"GRANT RELOAD, PROCESS, BINLOG MONITOR ON *.* TO `b`@`localhost`":          "",
		"GRANT USAGE ON *.* TO `b`@`localhost`":                                    "RELOAD PROCESS BINLOG MONITOR",
		"GRANT ALL PRIVILEGES ON `d`.* TO `b`@`localhost`":                         "RELOAD PROCESS BINLOG MONITOR",
		"GRANT SELECT (RELOAD, PROCESS, BINLOG MONITOR) ON `d`.`t` TO `b`@`%`":     "RELOAD PROCESS BINLOG MONITOR",
		"GRANT RELOAD ON *.* TO `b`@`localhost` IDENTIFIED BY PASSWORD '*PROCESS'": "PROCESS BINLOG MONITOR",
	} {
		if got := strings.Join(missingGrants([]string{line}, wanted), " "); got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}

func TestVersions(t *testing.T) {
	for text, want := range map[string][3]int{
		"mysqldump  Ver 9.7.4-2 for Linux on x86_64 ((Debian))":                                            {9, 7, 4},
		"mysqldump  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)":                         {8, 0, 36},
		"mysqldump  Ver 10.13 Distrib 5.7.44, for Linux (x86_64)":                                          {5, 7, 44},
		"mariadb-dump  Ver 10.19 Distrib 10.11.18-MariaDB, for debian-linux-gnu (x86_64)":                  {10, 11, 18},
		"mariadb-dump from 11.8.9-MariaDB, client 10.20 for debian-linux-gnu (x86_64)":                     {11, 8, 9},
		"mariadb-backup based on MariaDB server 10.11.18-MariaDB debian-linux-gnu (x86_64)":                {10, 11, 18},
		cleanVersion("", "/opt/10.5.1/bin/mariadb-backup based on MariaDB server 11.8.9-MariaDB (x86_64)"): {11, 8, 9},
		"no version": {},
	} {
		if got := parseVersion(text); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
	if old := (tool{version: "Ver 8.0.25"}); old.atLeast(8, 0, 26) || !old.atLeast(8, 0, 25) || old.atLeast(9) || !old.atLeast(5, 7) {
		t.Error("versions are compared wrongly")
	}
}

func TestOptionFile(t *testing.T) {
	cfg, err := dbconn.Config(`u"s\e#r:p' "a\s#s@tcp([::1]:3307)/`)
	if err != nil {
		t.Fatal(err)
	}
	text, err := defaults(cfg, gtid.MariaDB)
	want := "[client]\nuser=\"u\\\"s\\\\e#r\"\npassword=\"p' \\\"a\\\\s#s\"\nprotocol=tcp\nhost=\"::1\"\nport=3307\nskip-ssl\n"
	if text != want || err != nil {
		t.Errorf("%s %v, want %s", text, err, want)
	}
	for _, flavor := range []gtid.Flavor{gtid.MySQL, gtid.MariaDB} {
		for _, setting := range []string{"", "false", "true", "skip-verify", "preferred"} {
			if lines, err := tlsOptions(setting, flavor); err != nil || len(lines) == 0 {
				t.Errorf("tls=%s: %v %v", setting, lines, err)
			}
		}
		if _, err := tlsOptions("custom", flavor); fault.ClassOf(err) != fault.Usage {
			t.Errorf("%v", err)
		}
	}
}

func TestTail(t *testing.T) {
	var w tail
	for i := range 20_000 {
		fmt.Fprintf(&w, "line %d\n", i)
	}
	fmt.Fprint(&w, "\n \n")
	if w.last() != "line 19999" || len(w.b) > 2*tailBytes || len(w.b) < tailBytes || !strings.HasSuffix(w.quote(), "\tline 19998\n\tline 19999") {
		t.Errorf("%q, %d bytes", w.last(), len(w.b))
	}
}

func FuzzManifest(f *testing.F) {
	m := Manifest{SchemaVersion: 1, ID: "20261125T221500Z-0a1b2c", Set: "set", Kind: Full, Driver: "d", Flavor: "mariadb", Server: "mariadb-7", PlainBytes: 5, StoredBytes: 9,
		Parts: []Part{{"000001-00112233445566778899aabbccddeeff", 5, 9}}}
	text, err := json.Marshal(m)
	if err != nil {
		f.Fatal(err)
	}
	object := folder("set", m.ID) + "manifest-00112233445566778899aabbccddeeff"
	if got, err := parseManifest(object, text); err != nil || got.checkParts() != nil || got.PartObject(1) != "set/backups/20261125T221500Z-0a1b2c/000001-00112233445566778899aabbccddeeff" {
		f.Fatal(got, err)
	}
	latest := m
	latest.SchemaVersion, latest.Until = 2, &Until{File: "bin.000002", Offset: 4, ByPosition: true}
	if text, err := json.Marshal(latest); err != nil {
		f.Fatal(err)
	} else if got, err := parseManifest(object, text); err != nil || *got.Until != *latest.Until {
		f.Fatal(got, err)
	} else {
		f.Add(text)
	}
	if _, err := parseManifest(object, []byte(`{"schema_version":3}`)); !errors.Is(err, errNewer) {
		f.Error(err)
	}
	for _, change := range []string{`"schema_version":2`, `"until":{"gtids":"x"}`, `"until":{"offset":4}`, `"schema_version":0`, `"id":"x"`, `"kind":"half"`, `"kind":"incremental"`, `"plain_bytes":6`, `"set":"other"`, `"offset":4`, `"more":1`, `"driver":""`} {
		key, _, _ := strings.Cut(change, ":")
		var other map[string]json.RawMessage
		_ = json.Unmarshal(text, &other)
		other[strings.Trim(key, `"`)] = json.RawMessage(change[len(key)+1:])
		broken, _ := json.Marshal(other)
		if got, err := parseManifest(object, broken); err == nil && got.checkParts() == nil {
			f.Errorf("%s is taken", change)
		}
		f.Add(broken)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := parseManifest(object, text)
		if err == nil && got.checkParts() == nil && (got.ID != m.ID || got.Set != "set") {
			t.Errorf("%+v", got)
		}
	})
}
