package config

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/go-sql-driver/mysql"
)

// maxSegment is what an object of a repository holds whatever it is: 48 MiB
// (package archive).
const maxSegment = 48 << 20

var (
	setName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	name    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
)

// validate looks at the values, whatever they are from.
func (l *loader) validate() {
	l.want(l.Version == Version, "version", fmt.Sprintf("%d, which this lifeboat reads", Version))
	l.want(l.Set == "" || setName.MatchString(l.Set), "set", "1 to 63 of a-z, 0-9 and -, the first no dash")
	for i := range l.Servers {
		l.server(i)
	}
	for i := range l.Repositories {
		l.repository(i)
	}
	l.archive()
	l.backup()
	l.restore()
}

// want tells that a value is not what is wanted, unless it is.
func (l *loader) want(ok bool, path, what string) {
	if ok {
		return
	}
	is := "it is missing"
	if text := l.text(path); text != "" {
		is = "it is " + quote(path, text)
	}
	l.wrong(l.near(path), path, is+": want "+what)
}

// near is the origin of a key, or that of the member of a list in which it is
// missing.
func (l *loader) near(path string) Origin {
	member, _, _ := strings.Cut(path, ".")
	if o, ok := l.origins[path]; ok || l.origins[member] == (Origin{}) {
		return o
	}
	return l.origins[member]
}

// text is that of a key's value.
func (l *loader) text(path string) string {
	all := keysIn(&l.Config)
	return textOf(all[slices.IndexFunc(all, func(k key) bool { return k.path == path })].in(&l.Config))
}

func (l *loader) server(i int) {
	s, at := l.Servers[i], fmt.Sprintf("servers[%d].", i)
	l.want(name.MatchString(s.Name), at+"name", "1 to 63 letters, digits and ._-")
	same := slices.IndexFunc(l.Servers, func(o Server) bool { return o.Name == s.Name })
	l.want(same == i, at+"name", fmt.Sprintf("a name of its own: servers[%d] has it", same))
	l.path(at+"defaults_file", s.DefaultsFile)
	l.dsn(at, s)
}

func (l *loader) dsn(at string, s Server) {
	if s.DSN == "" {
		l.want(s.DefaultsFile != "", at+"dsn", "USER@unix(SOCKET)/ or USER@tcp(HOST:PORT)/, or a defaults_file that says it")
		return
	}
	cfg, err := mysql.ParseDSN(s.DSN)
	if err != nil { // which may quote a part of it
		l.want(false, at+"dsn", "USER@unix(SOCKET)/ or USER@tcp(HOST:PORT)/")
		return
	}
	l.want(cfg.User != "" || s.DefaultsFile != "", at+"dsn", "the name of an account in it, or a defaults_file")
	from := l.Origin(at + "dsn")
	switch {
	case cfg.Passwd == "":
	case from.Kind != FromFile:
		l.want(false, at+"dsn", "no password in it, which others can see there: write it into a defaults_file")
	case !l.private:
		l.want(false, at+"dsn", "no password in it, or a file that only its owner can read: write it into a defaults_file, or chmod 600 "+l.File)
	}
}

func (l *loader) repository(i int) {
	r, at := l.Repositories[i], fmt.Sprintf("repositories[%d].", i)
	l.want(name.MatchString(r.Name), at+"name", "1 to 63 letters, digits and ._-")
	same := slices.IndexFunc(l.Repositories, func(o Repository) bool { return o.Name == r.Name })
	l.want(same == i, at+"name", fmt.Sprintf("a name of its own: repositories[%d] has it", same))
	l.want(isPlace(r.URL), at+"url", "s3://BUCKET/PREFIX, file:///PATH or /PATH, without keys in it")
	l.s3(at, r)
	for n, text := range r.Recipients {
		l.member(isRecipient(text), at+"recipients", n, text, "the public key of an age identity: age1…")
	}
	for n, path := range r.Identities {
		l.member(filepath.IsAbs(path), at+"identities", n, path, "the absolute path of a file")
	}
}

// member is want for one text of a list.
func (l *loader) member(ok bool, path string, n int, text, what string) {
	if !ok {
		l.wrong(l.Origin(path), fmt.Sprintf("%s[%d]", path, n), "it is "+quote(path, text)+": want "+what)
	}
}

func (l *loader) s3(at string, r Repository) {
	l.path(at+"access_key_file", r.AccessKeyFile)
	l.path(at+"secret_key_file", r.SecretKeyFile)
	l.path(at+"ca_file", r.CAFile)
	l.want((r.AccessKeyFile == "") == (r.SecretKeyFile == ""), at+"secret_key_file", "both access_key_file and secret_key_file, or none of them")
	u, err := url.Parse(r.Endpoint)
	l.want(r.Endpoint == "" || err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil && u.RawQuery == "",
		at+"endpoint", "http://HOST or https://HOST, without keys in it")
}

func isPlace(text string) bool {
	if filepath.IsAbs(text) {
		return true
	}
	u, err := url.Parse(text)
	if err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return false
	}
	return u.Scheme == "s3" && u.Host != "" || u.Scheme == "file" && u.Host == "" && filepath.IsAbs(u.Path)
}

func isRecipient(text string) bool {
	list, err := age.ParseRecipients(strings.NewReader(text))
	return err == nil && len(list) == 1
}

func (l *loader) archive() {
	a := l.Archive
	l.between("archive.flush", a.Flush, 10*time.Millisecond, time.Hour)
	l.sizes("archive.segment", a.Segment, 4<<10, maxSegment)
	l.want(a.Metrics == "" || isAddress(a.Metrics), "archive.metrics", "HOST:PORT, such as 127.0.0.1:9104, or nothing")
	l.between("archive.max_wait", a.MaxWait, 100*time.Millisecond, time.Hour)
	l.want(a.Purge == PurgeServer || a.Purge == PurgeHold, "archive.purge", PurgeServer+" or "+PurgeHold)
	l.between("archive.keep", a.Keep, 0, years)
}

func isAddress(text string) bool {
	_, port, err := net.SplitHostPort(text)
	if err != nil {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

func (l *loader) backup() {
	b := l.Backup
	l.want(slices.Contains([]string{"auto", "mariadb-backup", "clone", "dump"}, b.Driver), "backup.driver", "auto, mariadb-backup, clone or dump")
	l.count("backup.workers", b.Workers)
	l.between("backup.held", b.Held, time.Second, 24*time.Hour)
	l.sizes("backup.part", b.Part, 64<<10, maxSegment)
}

func (l *loader) restore() {
	l.count("restore.workers", l.Restore.Workers)
	l.sizes("restore.memory", l.Restore.Memory, 16<<20, 1<<50)
	l.want(l.Expire.KeepFull >= 1, "expire.keep_full", "1 or more")
	l.between("expire.keep_for", l.Expire.KeepFor, 0, years)
	l.between("drill.objective", l.Drill.Objective, time.Millisecond, years)
	l.scratch("drill.scratch", l.Drill.Scratch)
	l.scratch("drill.report", l.Drill.Report)
}

const years = 100 * 365 * 24 * time.Hour

func (l *loader) between(path string, d, least, most time.Duration) {
	l.want(d >= least && d <= most, path, fmt.Sprintf("%s to %s", durationText(least), durationText(most)))
}

func (l *loader) sizes(path string, s, least, most Size) {
	l.want(s >= least && s <= most, path, fmt.Sprintf("%s to %s", least, most))
}

func (l *loader) count(path string, n int) {
	l.want(n >= 1 && n <= 256, path, "1 to 256")
}

// path demands an absolute path: a service's current directory is nobody's.
func (l *loader) path(path, value string) {
	l.want(value == "" || filepath.IsAbs(value), path, "the absolute path of a file")
}

func (l *loader) scratch(path, value string) {
	l.want(filepath.IsAbs(value), path, "the absolute path of a directory")
}
