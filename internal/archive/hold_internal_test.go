package archive

import (
	"strings"
	"testing"
	"time"
)

// What may go from the front of a server's log.
func TestPurgeable(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	const keep = time.Hour
	old, edge, young, never := now.Add(-2*keep), now.Add(-keep), now.Add(-keep+1), time.Time{}
	files := func(whole ...[]time.Time) (list []heldFile) {
		for i, w := range whole {
			list = append(list, heldFile{Name: "bin.00000" + string(rune('1'+i)), whole: w})
		}
		return list
	}
	both := func(a, b time.Time) []time.Time { return []time.Time{a, b} }
	for _, c := range []struct {
		name   string
		files  []heldFile
		needed []string
		want   int
		why    string
	}{
		{"no files", nil, nil, 0, "writes it"},
		{"the only file is being written", files(both(old, old)), nil, 0, "writes it"},
		{"all that is archived and old, but the last", files(both(old, old), both(old, old), both(old, old)), nil, 2, "writes it"},
		{"kept for exactly as long as it must", files(both(edge, old), both(never, never)), nil, 1, "writes it"},
		{"one repository has it a moment too short", files(both(old, young), both(never, never)), nil, 0, "stays until 1970-01-12T13:46:40Z"},
		{"one repository does not have it", files(both(old, never), both(old, old), both(never, never)), nil, 0, "not whole in every repository"},
		{"no hole: what is behind one that stays, stays", files(both(old, old), both(never, old), both(old, old), both(never, never)), nil, 1, "not whole"},
		{"no repository", files(nil, nil), nil, 0, "not whole"},
		{"a replica needs the second", files(both(old, old), both(old, old), both(old, old)), []string{"bin.000002"}, 1, "replica"},
		{"of two replicas the one that is behind", files(both(old, old), both(old, old), both(old, old)), []string{"bin.000003", "bin.000001"}, 0, "replica"},
		{"a replica that has everything", files(both(old, old), both(old, old)), []string{"bin.000002"}, 1, "writes it"},
		{"a replica needs what is not there", files(both(old, old), both(old, old)), []string{"bin.000009"}, 0, "which is not there"},
		{"a clock that was ahead keeps it longer", files(both(now.Add(keep), old), both(never, never)), nil, 0, "stays until"},
	} {
		n, why := purgeable(c.files, c.needed, keep, now)
		if n != c.want || !strings.Contains(why, c.why) {
			t.Errorf("%s: %d, %s; want %d, %s", c.name, n, why, c.want, c.why)
		}
	}
}

// By what a server removes its log itself, and when that is wrong.
func TestExpiry(t *testing.T) {
	for _, c := range []struct {
		name         string
		variables    string // NAME=VALUE …
		server, hold string // a part of the warning; empty: there is none
	}{
		{"MySQL's default", "binlog_expire_logs_seconds=2592000 binlog_expire_logs_auto_purge=ON", "", "720 h"},
		{"MySQL, switched off", "binlog_expire_logs_seconds=60 binlog_expire_logs_auto_purge=OFF", "", ""},
		{"MySQL, no seconds", "binlog_expire_logs_seconds=0 binlog_expire_logs_auto_purge=ON", "", ""},
		{"MySQL 8.0.28 has no switch", "binlog_expire_logs_seconds=3600 expire_logs_days=0", "1 h", "1 h"},
		{"MySQL 8.0, days", "binlog_expire_logs_seconds=0 expire_logs_days=3", "", "72 h"},
		{"MariaDB's default", "binlog_expire_logs_seconds=0 expire_logs_days=0.000000", "", ""},
		{"MariaDB, a part of a day", "binlog_expire_logs_seconds=10800 expire_logs_days=0.125000", "3 h", "3 h"},
		{"MariaDB, by size", "binlog_expire_logs_seconds=0 expire_logs_days=0 max_binlog_total_size=1048576", "1.0 MiB", "1.0 MiB"},
		{"Percona Server, by size", "binlog_expire_logs_seconds=0 binlog_space_limit=1048576", "1.0 MiB", "1.0 MiB"},
		{"a day is long enough", "binlog_expire_logs_seconds=86400", "", "archived or not"},
	} {
		variables := map[string]string{}
		for v := range strings.FieldsSeq(c.variables) {
			name, value, _ := strings.Cut(v, "=")
			variables[name] = value
		}
		e, err := parseExpiry(variables)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		for hold, want := range map[bool]string{false: c.server, true: c.hold} {
			if got := e.warning(hold); (got == "") != (want == "") || !strings.Contains(got, want) {
				t.Errorf("%s: hold %v: %q, want %q", c.name, hold, got, want)
			}
		}
	}
	if _, err := parseExpiry(map[string]string{"expire_logs_days": "many"}); err == nil {
		t.Error("what is no number is taken for one")
	}
}

// What a replica needs of a source; what it does not say holds everything.
func TestNeeded(t *testing.T) {
	for _, c := range []struct {
		name     string
		channels []channel
		want     string // files; empty: none
		fails    bool
	}{
		{"it is no replica", nil, "", false},
		{"of another server", []channel{{source: "b", host: "h", file: "bin.000001"}}, "", false},
		{"of this one", []channel{{source: "a", host: "h", file: "bin.000001"}}, "bin.000001", false},
		{"by two channels", []channel{{source: "a", host: "h", file: "bin.000002"}, {source: "b", host: "h"}, {source: "a", host: "h", file: "bin.000001"}}, "bin.000002 bin.000001", false},
		{"never connected", []channel{{host: "h"}}, "", true},
		{"from nowhere", []channel{{source: "a", host: "h"}}, "", true},
		{"reset, with nothing left of it", []channel{{}}, "", false},
	} {
		files, err := neededOf(c.channels, "a")
		if got := strings.Join(files, " "); got != c.want || (err != nil) != c.fails {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
}
