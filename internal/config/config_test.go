package config_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/lifeboat-db/lifeboat/internal/config"
	"github.com/lifeboat-db/lifeboat/internal/fault"
)

// write makes a configuration file that others may read.
func write(t *testing.T, text string) string {
	t.Helper()
	return writeMode(t, text, 0o644)
}

func writeMode(t *testing.T, text string, mode fs.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lifeboat.yaml")
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t *testing.T, s config.Sources) *config.Loaded {
	t.Helper()
	l, err := config.Load(s)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

const small = `version: 1
set: orders
servers:
  - name: db1
    dsn: lifeboat@unix(/run/s)/
  - dsn: lifeboat@tcp(10.0.0.2:3306)/
repositories:
  - url: /srv/backup
archive:
  flush: 2s
`

// A flag counts more than a variable, a variable more than the file, the file
// more than the default; and each value knows where it is from.
func TestPrecedence(t *testing.T) {
	path := write(t, small)
	s := config.Sources{Path: path}
	for _, c := range []struct {
		name, want, origin string
		add                func()
	}{
		{"default", "1m", "default", func() {}},
		{"file", "2m", path + ":11", func() {
			s.Path = write(t, small+"  max_wait: 2m\n")
			path = s.Path
		}},
		{"variable", "3m", "LIFEBOAT_ARCHIVE_MAX_WAIT", func() { s.Environ = []string{"LIFEBOAT_ARCHIVE_MAX_WAIT=3m"} }},
		{"flag", "4m", "--archive-max-wait", func() { s.Flags = map[string]string{"archive-max-wait": "4m"} }},
	} {
		c.add()
		if c.name == "file" {
			c.origin = path + ":11"
		}
		l := load(t, s)
		if got := value(t, l, "archive.max_wait"); got.Value != c.want || got.Origin.String() != c.origin {
			t.Errorf("%s: %s of %s, want %s of %s", c.name, got.Value, got.Origin, c.want, c.origin)
		}
	}
}

func value(t *testing.T, l *config.Loaded, key string) config.Value {
	t.Helper()
	for _, v := range l.Values() {
		if v.Key == key {
			return v
		}
	}
	t.Fatalf("no value of %s", key)
	return config.Value{}
}

// A flag or variable changes one key of one member of a list, and may add a
// member; what has no name gets one.
func TestMembersOfLists(t *testing.T) {
	l := load(t, config.Sources{Path: write(t, small),
		Environ: []string{"LIFEBOAT_SERVER2_DSN=other@tcp(10.0.0.3:3306)/", "LIFEBOAT_REPO1_PATH_STYLE=true"},
		Flags:   map[string]string{"server3-dsn": "third@unix(/s)/", "repo2-url": "s3://b/p"}})
	var got []string
	for _, s := range l.Servers {
		got = append(got, s.Name+" "+s.DSN)
	}
	for _, r := range l.Repositories {
		got = append(got, r.Name+" "+r.URL)
	}
	want := "db1 lifeboat@unix(/run/s)/, server2 other@tcp(10.0.0.3:3306)/, server3 third@unix(/s)/, repo1 /srv/backup, repo2 s3://b/p"
	if text := strings.Join(got, ", "); text != want || !l.Repositories[0].PathStyle {
		t.Errorf("it is %s,\nwant  %s", text, want)
	}
}

// The file is that of --config, of LIFEBOAT_CONFIG, or none; one that is asked
// for has to be there.
func TestWhichFile(t *testing.T) {
	first, second := write(t, "version: 1\nset: first\n"), write(t, "version: 1\nset: second\n")
	environ := []string{"LIFEBOAT_CONFIG=" + second, "LIFEBOAT_TEST_ANYTHING=x", "LIFEBOAT_CACHE=/c", "HOME=/root"}
	if l := load(t, config.Sources{Environ: environ}); l.Set != "second" || l.File != second {
		t.Errorf("LIFEBOAT_CONFIG: %s of %s", l.Set, l.File)
	}
	if l := load(t, config.Sources{Path: first, Environ: environ}); l.Set != "first" {
		t.Errorf("--config: %s", l.Set)
	}
	_, err := config.Load(config.Sources{Path: first + "x"})
	wantError(t, err, "--config", "no such file")
	_, err = config.Load(config.Sources{Environ: []string{"LIFEBOAT_CONFIG=" + first + "x"}})
	wantError(t, err, "LIFEBOAT_CONFIG", "no such file")
}

// wantError demands an error about usage with all these parts.
func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one with %q", parts)
		return
	}
	if fault.ClassOf(err) != fault.Usage {
		t.Errorf("class %d of %v", fault.ClassOf(err), err)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("it says %q,\nwant %q", err, part)
		}
	}
}

// Every error says file, line, key, and what is wanted.
func TestProblemsOfTheFile(t *testing.T) {
	for _, c := range []struct {
		text string
		want []string
	}{
		{"", []string{"version: it is missing"}},
		{"set: a\n", []string{":1: version: it is missing: write \"version: 1\""}},
		{"version: 2\n", []string{":1: version: it is \"2\": want 1"}},
		{"version: one\n", []string{":1: version: it is \"one\": want a whole number"}},
		{"version: 1\nsett: a\n", []string{":2: sett: no such key; the nearest is set"}},
		{"version: 1\nset: a\nset: b\n", []string{":3: set: it is there twice"}},
		{"version: 1\nset: Orders\n", []string{":2: set: it is \"Orders\": want 1 to 63 of a-z"}},
		{"version: 1\nset: [a]\n", []string{":2: set: it is a list: want a single value"}},
		{"version: 1\nset:\n", []string{":2: set: it is empty: want a single value"}},
		{"version: 1\nservers: a\n", []string{":2: servers: it is a single value: want a list"}},
		{"version: 1\nservers:\n  - a\n", []string{":3: servers[0]: it is a single value: want keys and values"}},
		{"version: 1\nservers:\n  - dsm: a\n", []string{":3: servers[0].dsm: no such key; the nearest is dsn"}},
		{"version: 1\nservers:\n  - name: a\n", []string{"servers[0].dsn: it is missing: want USER@unix"}},
		{"version: 1\nservers:\n  - {name: a, dsn: u@/}\n  - {name: a, dsn: u@/}\n", []string{":4: servers[1].name: it is \"a\": want a name of its own"}},
		{"version: 1\nservers:\n  - {dsn: /}\n", []string{":3: servers[0].dsn: ", "want the name of an account"}},
		{"version: 1\nservers:\n  - {dsn: u@/, defaults_file: my.cnf}\n", []string{":3: servers[0].defaults_file", "absolute path"}},
		{"version: 1\nrepositories:\n  - {name: a}\n", []string{"repositories[0].url: it is missing: want s3://"}},
		{"version: 1\nrepositories:\n  - {url: backup}\n", []string{":3: repositories[0].url: it is \"backup\": want s3://"}},
		{"version: 1\nrepositories:\n  - {url: \"s3://b\", endpoint: host}\n", []string{":3: repositories[0].endpoint: it is \"host\""}},
		{"version: 1\nrepositories:\n  - {url: /b, access_key_file: /k}\n", []string{"secret_key_file", "both"}},
		{"version: 1\nrepositories:\n  - {url: /b, recipients: age1x}\n", []string{":3: repositories[0].recipients: it is a single value: want a list"}},
		{"version: 1\nrepositories:\n  - {url: /b, recipients: [age1x]}\n", []string{":3: repositories[0].recipients[0]: it is \"age1x\": want the public key"}},
		{"version: 1\nrepositories:\n  - {url: /b, recipients: [{}]}\n", []string{":3: repositories[0].recipients[0]: it is keys and values: want a text"}},
		{"version: 1\narchive: {flush: 1}\n", []string{":2: archive.flush: it is \"1\": want a time such as"}},
		{"version: 1\narchive: {flush: 1ms}\n", []string{":2: archive.flush: it is \"1ms\": want 10ms to 1h"}},
		{"version: 1\narchive: {segment: 8XB}\n", []string{":2: archive.segment: it is \"8XB\": want a size such as"}},
		{"version: 1\narchive: {segment: 1GiB}\n", []string{":2: archive.segment: it is \"1GiB\": want 4KiB to 48MiB"}},
		{"version: 1\narchive: {metrics: 9104}\n", []string{":2: archive.metrics: it is \"9104\": want HOST:PORT"}},
		{"version: 1\narchive: {purge: never}\n", []string{":2: archive.purge: it is \"never\": want server or hold"}},
		{"version: 1\nbackup: {incremental: yes}\n", []string{":2: backup.incremental: it is \"yes\": want true or false"}},
		{"version: 1\nbackup: {driver: tar}\n", []string{":2: backup.driver"}},
		{"version: 1\nbackup: {held: 1ms}\n", []string{":2: backup.held: it is"}},
		{"version: 1\nbackup: {workers: 0}\n", []string{":2: backup.workers: it is \"0\": want 1 to 256"}},
		{"version: 1\ndrill: {scratch: tmp}\n", []string{":2: drill.scratch"}},
		{"version: 1\nexpire: {keep_full: 0}\n", []string{":2: expire.keep_full: it is \"0\": want 1 or more"}},
		{"version: 1\n---\nversion: 1\n", []string{"a second document"}},
		{"version: 1\nset: 'a\n", []string{"not YAML"}},
		{"- version\n", []string{":1: it is a list: want keys and values"}},
		{"version: 1\nsett: a\narchive: {flush: x}\n", []string{"2 problems:", ":2: sett", ":3: archive.flush"}},
	} {
		path := write(t, c.text)
		_, err := config.Load(config.Sources{Path: path})
		wantError(t, err, append(c.want, path)...)
	}
}

// Errors of flags and variables say which one it is.
func TestProblemsOfFlagsAndVariables(t *testing.T) {
	for _, c := range []struct {
		environ string
		flags   map[string]string
		want    []string
	}{
		{"LIFEBOAT_ARCHIVE_" + "FLUHS=1s", nil, []string{"LIFEBOAT_ARCHIVE_" + "FLUHS: no such variable; the nearest is LIFEBOAT_ARCHIVE_FLUSH"}},
		{"LIFEBOAT_" + "VERSION=1", nil, []string{"no such variable"}},
		{"LIFEBOAT_ARCHIVE_FLUSH=soon", nil, []string{"LIFEBOAT_ARCHIVE_FLUSH: archive.flush: it is \"soon\": want a time"}},
		{"LIFEBOAT_SERVER2_DSN=u@/", nil, []string{"servers[0].dsn"}},
		{"", map[string]string{"archive-segment": "1"}, []string{"--archive-segment: archive.segment: it is \"1\": want 4KiB to 48MiB"}},
		{"", map[string]string{"repo1-recipients": "a,b"}, []string{"--repo1-recipients: repositories[0].recipients[0]"}},
	} {
		_, err := config.Load(config.Sources{Path: write(t, "version: 1\n"), Flags: c.flags, Environ: []string{c.environ}})
		wantError(t, err, c.want...)
	}
}

// geheim is in no message, wherever somebody has written it.
const geheim = "hunter2SECRET"

// Passwords stand in files that only their owner can read, and are never shown.
func TestSecrets(t *testing.T) {
	dsn := "servers: [{dsn: 'u:" + geheim + "@unix(/s)/'}]\n"
	for name, s := range map[string]config.Sources{
		"variable":            {Environ: []string{"LIFEBOAT_SERVER1_DSN=u:" + geheim + "@unix(/s)/"}},
		"flag":                {Flags: map[string]string{"server1-dsn": "u:" + geheim + "@unix(/s)/"}},
		"file others read":    {Path: write(t, "version: 1\n"+dsn)},
		"file the group does": {Path: writeMode(t, "version: 1\n"+dsn, 0o640)},
		"DSN that is none":    {Path: write(t, "version: 1\nservers: [{dsn: 'u:"+geheim+"@unix(/s'}]\n")},
		"URL":                 {Path: write(t, "version: 1\nrepositories: [{url: 's3://key:"+geheim+"@b/'}]\n")},
		"URL's query":         {Path: write(t, "version: 1\nrepositories: [{url: 's3://b/?key="+geheim+"'}]\n")},
		"endpoint":            {Path: write(t, "version: 1\nrepositories: [{url: 's3://b', endpoint: 'https://k:"+geheim+"@h'}]\n")},
		"key for its file":    {Path: write(t, "version: 1\nrepositories: [{url: 's3://b', secret_key_file: "+geheim+"}]\n")},
		"identity":            {Path: write(t, "version: 1\nrepositories: [{url: /b, identities: [AGE-SECRET-KEY-"+geheim+"]}]\n")},
		"identity published":  {Path: write(t, "version: 1\nrepositories: [{url: /b, recipients: [AGE-SECRET-KEY-"+geheim+"]}]\n")},
		"a key of ours":       {Path: write(t, "version: 1\nservers: [{dsn: u@/, password: "+geheim+"}]\n")},
	} {
		_, err := config.Load(s)
		if err == nil || strings.Contains(err.Error(), geheim) || fault.ClassOf(err) != fault.Usage {
			t.Errorf("%s: %v", name, err)
		}
	}
	l := load(t, config.Sources{Path: writeMode(t, "version: 1\n"+dsn, 0o600)})
	if text := fmt.Sprint(l.Values()); strings.Contains(text, geheim) {
		t.Errorf("shown: %s", text)
	}
	if got, err := l.Servers[0].Source(); err != nil || !strings.Contains(got, geheim) {
		t.Errorf("the server is asked without its password: %v", err)
	}
}

func TestOptionFile(t *testing.T) {
	file := func(text string, mode fs.FileMode) string { return writeMode(t, text, mode) }
	client := "[client]\nuser = u\npassword = '" + geheim + "'\n"
	for name, c := range map[string]struct {
		server config.Server
		want   string
		class  fault.Class
	}{
		"all of it":       {config.Server{DefaultsFile: file(client+"socket=/s\n[mysqld]\nuser=x\n", 0o600)}, "u:" + geheim + "@unix(/s)/", 0},
		"host":            {config.Server{DefaultsFile: file(client+"host=h\n", 0o600)}, "u:" + geheim + "@tcp(h:3306)/", 0},
		"DSN wins":        {config.Server{DSN: "v@tcp(i:1)/", DefaultsFile: file(client+"host=h\n", 0o600)}, "v:" + geheim + "@tcp(i:1)/", 0},
		"none":            {config.Server{DSN: "v@tcp(i:1)/"}, "v@tcp(i:1)/", 0},
		"no password":     {config.Server{DSN: "@unix(/s)/", DefaultsFile: file("[client]\nuser=u\n", 0o644)}, "u@unix(/s)/", 0},
		"others read it":  {config.Server{DSN: "@unix(/s)/", DefaultsFile: file(client, 0o644)}, "", fault.Storage},
		"it is not there": {config.Server{DSN: "@unix(/s)/", DefaultsFile: "/nowhere.cnf"}, "", fault.Storage},
	} {
		got, err := c.server.Source()
		if got != c.want || err != nil && fault.ClassOf(err) != c.class || err == nil && c.class != 0 {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// Keys come from files that only their owner can read.
func TestKeyFiles(t *testing.T) {
	r := config.Repository{Name: "r", URL: "s3://b", AccessKeyFile: writeMode(t, "id\n", 0o600), SecretKeyFile: writeMode(t, geheim+"\n", 0o400)}
	l, err := r.Location()
	if err != nil || l.AccessKey != "id" || l.SecretKey != geheim {
		t.Errorf("%q %q %v", l.AccessKey, l.SecretKey, err)
	}
	identity := writeMode(t, "AGE-SECRET-KEY-1", 0o644)
	r.Identities = []string{identity}
	if l, err := r.Location(); err != nil || l.Identities != nil {
		t.Errorf("who only writes has identities %v, %v", l.Identities, err)
	}
	for name, r := range map[string]config.Repository{
		"others read it":     {SecretKeyFile: writeMode(t, geheim, 0o640)},
		"it is empty":        {SecretKeyFile: writeMode(t, "\n", 0o600)},
		"it is not there":    {SecretKeyFile: "/nowhere"},
		"others read an age": {Identities: []string{identity}},
	} {
		_, err := r.Readable()
		if fault.ClassOf(err) != fault.Storage || strings.Contains(err.Error(), geheim) {
			t.Errorf("%s: %v", name, err)
		}
	}
	t.Setenv("CREDENTIALS_DIRECTORY", filepath.Dir(r.SecretKeyFile))
	if err := os.Chmod(r.SecretKeyFile, 0o440); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Location(); err != nil {
		t.Errorf("a credential of systemd: %v", err)
	}
}

// The example is valid, has every key, and the defaults it shows are those.
func TestExample(t *testing.T) {
	load(t, config.Sources{Path: write(t, config.Example())})
	all := regexp.MustCompile(`(?m)^  # ([a-z_]+:)`).ReplaceAllString(config.Example(), "  $1")
	l := load(t, config.Sources{Path: write(t, all)})
	d := config.Default()
	d.Archive.Metrics = l.Archive.Metrics // there is none by default
	if l.Archive != d.Archive || l.Backup != d.Backup || l.Restore != d.Restore || l.Expire != d.Expire || l.Drill != d.Drill {
		t.Errorf("the example shows other defaults: %+v", l.Config)
	}
	for _, v := range l.Values() {
		word := v.Key[strings.LastIndexByte(v.Key, '.')+1:]
		if !strings.Contains(config.Example(), word+":") {
			t.Errorf("%s is not in it", v.Key)
		}
	}
}

// Flags have the names that the rule says, and --help those of the sections.
func TestFlags(t *testing.T) {
	set := pflag.NewFlagSet("", pflag.ContinueOnError)
	f := config.AddFlags(set, "archive", "servers")
	var shown, all []string
	set.VisitAll(func(flag *pflag.Flag) {
		all = append(all, flag.Name)
		if !flag.Hidden {
			shown = append(shown, flag.Name)
		}
	})
	want := "archive-flush archive-keep archive-max-wait archive-metrics archive-purge archive-segment config server1-defaults-file server1-dsn server1-name"
	if got := strings.Join(shown, " "); got != want {
		t.Errorf("shown: %s", got)
	}
	for _, name := range []string{"set", "server4-dsn", "repo4-ca-file", "repo1-path-style", "drill-report"} {
		if set.Lookup(name) == nil {
			t.Errorf("no --%s among %v", name, all)
		}
	}
	err := set.Parse([]string{"--archive-flush=3s", "--repo1-recipients=a", "--repo1-recipients", "b", "--repo1-path-style"})
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(f.Sources(nil).Flags); got != "map[archive-flush:3s repo1-path-style:true repo1-recipients:a,b]" {
		t.Errorf("given: %s", got)
	}
}

func TestNeed(t *testing.T) {
	l := load(t, config.Sources{Path: write(t, "version: 1\nset: a\n")})
	if err := l.Need("set"); err != nil {
		t.Error(err)
	}
	wantError(t, l.Need("set", "servers", "repositories"), "servers: it is missing", l.File, "--server1-", "LIFEBOAT_REPO1_")
}

func TestSizesAndTimes(t *testing.T) {
	for text, want := range map[string]string{"8388608": "8MiB", "8m": "8MiB", "8MiB": "8MiB", "1536K": "1536KiB", "40MB": "40MiB", "5000": "5000"} {
		l := load(t, config.Sources{Flags: map[string]string{"archive-segment": text}})
		if got := l.Archive.Segment.String(); got != want {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
	}
	for text, want := range map[string]string{"720h": "720h", "90m": "1h30m", "36h": "36h", "100m0s": "1h40m"} {
		l := load(t, config.Sources{Flags: map[string]string{"expire-keep-for": text}})
		if got := value(t, l, "expire.keep_for"); got.Value != want {
			t.Errorf("%s is %s, want %s", text, got.Value, want)
		}
	}
}

// Every variable that this project knows is a key or a known exception: nobody
// who has one set is told that it is misspelt.
func TestVariablesOfTheTree(t *testing.T) {
	found := map[string]string{}
	for _, dir := range []string{"bench", "cmd", "internal", "test", "scripts"} {
		err := filepath.WalkDir(filepath.Join("..", "..", dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			text, err := os.ReadFile(path)
			for _, name := range regexp.MustCompile(`LIFEBOAT_[A-Z0-9_]*[A-Z0-9]\b`).FindAllString(string(text), -1) {
				found[name] = path
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, path := range found {
		if name == "LIFEBOAT_CONFIG" {
			continue
		}
		if _, err := config.Load(config.Sources{Environ: []string{name + "=x"}}); err != nil && strings.Contains(err.Error(), "no such variable") {
			t.Errorf("%s of %s: %v; if it is right, add it to the others in env.go", name, path, err)
		}
	}
	if len(found) < 10 {
		t.Errorf("only %v were found", found)
	}
}

func TestProblemsAreAType(t *testing.T) {
	_, err := config.Load(config.Sources{Flags: map[string]string{"archive-flush": "x", "drill-objective": "-1s"}})
	var p config.Problems
	if !errors.As(err, &p) || len(p) != 1 || p[0].Key != "archive.flush" || p[0].Origin.Kind != config.FromFlag {
		t.Errorf("%#v", err)
	}
	if time.Duration(0) != config.Default().Archive.MaxWait-time.Minute {
		t.Error("the default is a minute")
	}
}
