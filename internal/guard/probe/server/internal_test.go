package server

import (
	"os"
	"strings"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/guard/fact"
	"github.com/lifeboat-db/lifeboat/internal/guard/mysqld"
)

func TestSameProcess(t *testing.T) {
	pid := os.Getpid()
	for _, s := range []suspect{
		{pid: pid, seen: 0},
		{pid: pid, seen: startTime(pid) + 1},
		{pid: 1 << 30, seen: 0}, // gone before it was seen, and still gone
	} {
		s.subject = "x"
		f := Probe{}.askOne(t.Context(), nil, s).Fact
		if f.Verdict != fact.Unknown || !strings.Contains(f.Summary, "replaced") {
			t.Error(f)
		}
	}
	if startTime(pid) == 0 || parent(pid) != os.Getppid() || startTime(1<<30) != 0 {
		t.Error("stat")
	}
}

func TestNoRole(t *testing.T) {
	if f := toFact(mysqld.State{}, "/s"); f.Verdict != fact.Unknown || f.Kind != fact.ServerUnproven {
		t.Error(f)
	}
}

func TestParseStat(t *testing.T) {
	text := "7 (a) b (c)) S 3 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 9"
	if parseStat(text, 4) != 3 || parseStat(text, 22) != 4242 || parseStat(text, 60) != 0 || parseStat("", 4) != 0 || parseStat(text, 0) != 0 {
		t.Errorf("%d %d", parseStat(text, 4), parseStat(text, 22))
	}
}

const table = `Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01    31 /run/my sqld/s
0000000000000000: 00000003 00000000 00000000 0001 03    32 /run/connected
0000000000000000: 00000002 00000000 00010000 0001 01    33 @abstract
0000000000000000: 00000002 00000000 00010000 0001 01    34 /run/other
0000000000000000: 00000003 00000000 00000000 0001 03    35
`

func TestParseUnix(t *testing.T) {
	paths, err := parseUnix(strings.NewReader(table), map[uint64]bool{31: true, 32: true, 33: true, 35: true})
	if err != nil || len(paths) != 1 || paths[0] != "/run/my sqld/s" {
		t.Errorf("%q %v", paths, err)
	}
	if _, err := parseUnix(strings.NewReader("x\n0: 1 2 zz 4 5 6 /p\n"), nil); err == nil {
		t.Error("flags that are no number")
	}
	if _, err := parseUnix(strings.NewReader("x\n0: 1 2 0 4 5 zz /p\n"), nil); err == nil {
		t.Error("inode that is no number")
	}
}

func TestParseDefaults(t *testing.T) {
	l, err := parseDefaults(strings.NewReader("user=x\n[client]\n#c\n;c\n!include x\nuser='a#b'\npassword = p#q\nport=3\n[mysql]\nsocket=/no\n"))
	if err != nil || l.User != "a#b" || l.Password != "p" || l.Socket != "" {
		t.Errorf("%+v %v", l, err)
	}
	if _, err := parseDefaults(strings.NewReader("[client]\npassword=a\\b\n")); err == nil {
		t.Error("a backslash was understood")
	}
}

func FuzzParseUnix(f *testing.F) {
	f.Add(table)
	f.Fuzz(func(t *testing.T, text string) {
		paths, err := parseUnix(strings.NewReader(text), map[uint64]bool{31: true})
		for _, path := range paths {
			if err == nil && (path == "" || path[0] == '@' || !strings.Contains(text, path)) {
				t.Errorf("%q", path)
			}
		}
	})
}

func FuzzParseStat(f *testing.F) {
	f.Add("7 (a) S 3 1", 4)
	f.Fuzz(func(_ *testing.T, text string, number int) { parseStat(text, number%100) })
}

func FuzzParseDefaults(f *testing.F) {
	f.Add("[client]\nuser=x\n")
	f.Fuzz(func(t *testing.T, text string) {
		if l, err := parseDefaults(strings.NewReader(text)); err == nil && l != (Login{}) && !strings.Contains(text, "client") {
			t.Errorf("%+v without a section", l)
		}
	})
}
