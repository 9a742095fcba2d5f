// Package server starts and stops private MySQL and MariaDB servers: real
// ones, for the demo, for drills and for tests.
//
// A [Distribution] is one installed server with its tools: what
// scripts/servers put into the cache, or what the user names in
// LIFEBOAT_MYSQLD. An [Instance] is one running server with a data directory,
// a Unix socket and a loopback port of its own. Nothing of the machine's own
// servers is read or touched: every instance runs with --no-defaults.
//
// What is not guaranteed: that an explicit or once chosen port is still free
// at the next [Instance.Restart], and that an instance outlives the process
// that started it: on Linux it is killed together with its starter, so that a
// crashed test leaves no server behind.
package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// Flavor is the family a server belongs to.
type Flavor string

// The flavors. Percona Server counts as MySQL.
const (
	MySQL   Flavor = "mysql"
	MariaDB Flavor = "mariadb"
)

// ErrNoServer says that no server is installed at all. Its text tells what to
// do, because a test that cannot run must fail in a way that helps.
var ErrNoServer = errors.New("no server is installed: run `make servers`, or set LIFEBOAT_MYSQLD=/path/to/mysqld")

// Distribution is one installed server and its tools.
type Distribution struct {
	Name    string // "mysql-9.7", "mariadb-10.11": flavor and series
	Flavor  Flavor
	Version string // "9.7.4": what mysqld --version says, without suffixes

	mysqld string // path of the server program, or of its wrapper
	cache  string // where templates of data directories are kept
}

// Find returns the servers that are installed in the cache, in order of their
// names, and after them those named in LIFEBOAT_MYSQLD: paths of mysqld or
// mariadbd, separated by commas or colons. A server named there that does not
// run is an error, and so is having none at all ([ErrNoServer]).
func Find(cache string) ([]Distribution, error) {
	cache, err := filepath.Abs(cache)
	if err != nil {
		return nil, fmt.Errorf("server: find: %w", err)
	}
	paths, err := installed(cache)
	if err != nil {
		return nil, fmt.Errorf("server: find: %w", err)
	}
	var found []Distribution
	for _, path := range append(paths, named(os.Getenv("LIFEBOAT_MYSQLD"))...) {
		d, err := describe(path)
		if err != nil {
			return nil, fmt.Errorf("server: find: %w", err)
		}
		d.cache = cache
		d.Name = unusedName(d, found)
		found = append(found, d)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("server: find in %s: %w", cache, ErrNoServer)
	}
	return found, nil
}

// At returns the server whose program (mysqld or mariadbd) is at a path.
// Templates of data directories are kept in cache.
func At(mysqld, cache string) (Distribution, error) {
	d, err := describe(mysqld)
	if err != nil {
		return Distribution{}, fmt.Errorf("server: %w", err)
	}
	d.cache = cache
	return d, nil
}

// installed lists the mysqld wrappers below the cache. The stamp file
// "installed" is written last: without it an installation was interrupted.
func installed(cache string) ([]string, error) {
	stamps, err := filepath.Glob(filepath.Join(cache, "servers", "[a-z]*", "installed"))
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, stamp := range stamps {
		path := filepath.Join(filepath.Dir(stamp), "bin", "mysqld")
		if _, err := os.Stat(path); err == nil { // sysbench has none
			paths = append(paths, path)
		}
	}
	return paths, nil
}

func named(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool {
		return r == ',' || r == os.PathListSeparator
	})
}

// unusedName tells two servers of one series apart by their full version, and
// two of one version by a number.
func unusedName(d Distribution, found []Distribution) string {
	used := map[string]bool{}
	for _, f := range found {
		used[f.Name] = true
	}
	full := string(d.Flavor) + "-" + d.Version
	switch {
	case !used[d.Name]:
		return d.Name
	case !used[full]:
		return full
	}
	for n := 2; ; n++ {
		if name := fmt.Sprintf("%s-%d", full, n); !used[name] {
			return name
		}
	}
}

var versionPattern = regexp.MustCompile(`\bVer ((\d+\.\d+)\.\d+)`)

// describe asks a server program what it is.
func describe(mysqld string) (Distribution, error) {
	mysqld, err := filepath.Abs(mysqld)
	if err != nil {
		return Distribution{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, mysqld, "--no-defaults", "--version").CombinedOutput()
	if err != nil {
		return Distribution{}, fmt.Errorf("%s --version: %w: %s", mysqld, err, strings.TrimSpace(string(out)))
	}
	m := versionPattern.FindStringSubmatch(string(out))
	if m == nil {
		return Distribution{}, fmt.Errorf("%s --version: no version in %q", mysqld, out)
	}
	d := Distribution{Flavor: MySQL, Version: m[1], mysqld: mysqld}
	if strings.Contains(string(out), "MariaDB") {
		d.Flavor = MariaDB
	}
	d.Name = string(d.Flavor) + "-" + m[2]
	return d, nil
}

// Tools are the paths of the programs that backups and restores run, by name;
// those that are not there are left out.
func (d Distribution) Tools() map[string]string {
	tools := map[string]string{}
	for _, name := range []string{"mariadb-backup", "mbstream", "mysqldump", "mysql"} {
		if path, err := d.Tool(name); err == nil {
			tools[name] = path
		}
	}
	return tools
}

// vendorNames are MariaDB's own names of the tools, which newer versions ship
// without the old ones.
var vendorNames = map[string]string{
	"mysql":       "mariadb",
	"mysqladmin":  "mariadb-admin",
	"mysqlbinlog": "mariadb-binlog",
	"mysqldump":   "mariadb-dump",
	"mysqlcheck":  "mariadb-check",
	"mariabackup": "mariadb-backup",
}

// Tool returns the path of one of the distribution's programs by its uniform
// name: mysqld, mysql, mysqladmin, mysqlbinlog, mysqldump, mariabackup,
// mbstream. It looks beside the server, then in the bin directory beside the
// server's directory, then in PATH.
func (d Distribution) Tool(name string) (string, error) {
	if name == "mysqld" {
		return d.mysqld, nil
	}
	names := []string{name}
	if other, ok := vendorNames[name]; ok && d.Flavor == MariaDB {
		names = []string{other, name}
	}
	dir := filepath.Dir(d.mysqld)
	for _, candidate := range names {
		for _, path := range []string{
			filepath.Join(dir, candidate),
			filepath.Join(filepath.Dir(dir), "bin", candidate),
		} {
			if found, err := exec.LookPath(path); err == nil {
				return found, nil
			}
		}
	}
	for _, candidate := range names {
		if found, err := exec.LookPath(candidate); err == nil {
			return found, nil
		}
	}
	return "", fmt.Errorf("server: %s: no %s beside %s nor in PATH", d.Name, name, d.mysqld)
}
