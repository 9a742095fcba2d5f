package config

import (
	"slices"
	"strings"
)

// prefix is what variables of ours begin with.
const prefix = "LIFEBOAT_"

// configVariable names the file.
const configVariable = prefix + "CONFIG"

// others are variables of ours that are no keys: of tests, benchmarks and
// scripts, and the mark that the guard puts on what it runs. All that begin
// with LIFEBOAT_TEST_ are some, too.
var others = []string{
	"CONFIG", "CACHE", "MYSQLD", "CPUPROFILE", "BIN", "BENCH_DIST", "SEED", "CASE", "FEATURES", "STEPS", "HISTORIES",
	"TRANSACTIONS", "STORMS", "KILLS", "SERVER_KILLS", "ETCD", "VERSITYGW", "CHROMIUM", "SHOTS", "DEBIAN_MIRROR", "GUARD_RUN",
}

// environ takes the variables. One that begins like ours and is no key is
// misspelt, and would have changed nothing.
func (l *loader) environ(environ []string) {
	known := map[string]key{}
	var names []string
	for _, k := range keys(numbered) {
		if !k.fileOnly() {
			known[k.variable()] = k
			names = append(names, k.variable())
		}
	}
	for _, line := range slices.Sorted(slices.Values(environ)) {
		name, text, _ := strings.Cut(line, "=")
		rest, ours := strings.CutPrefix(name, prefix)
		if !ours || slices.Contains(others, rest) || strings.HasPrefix(rest, "TEST_") {
			continue
		}
		from := Origin{Kind: FromEnv, Name: name}
		if k, ok := known[name]; ok {
			l.set(k, text, from)
		} else {
			l.wrong(from, "", "no such variable; the nearest is "+nearest(name, names))
		}
	}
}

func lookup(environ []string, name string) string {
	for _, line := range environ {
		if text, ok := strings.CutPrefix(line, name+"="); ok {
			return text
		}
	}
	return ""
}
