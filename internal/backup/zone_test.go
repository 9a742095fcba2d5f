package backup

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// TestZone: of a server in any zone the same is read, and TZ names one that goes
// alike; a server that is started with it says so.
func TestZone(t *testing.T) {
	noon := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	read := func(d server.Distribution, tz string) Zone {
		t.Helper()
		i := servertest.StartWith(t, d, server.Options{Env: []string{"TZ=" + tz}})
		z, err := ReadZone(t.Context(), servertest.Open(t, i, ""), noon)
		if err != nil {
			t.Fatal(err)
		}
		return z
	}
	for _, d := range []server.Distribution{servertest.Of(t, server.MySQL), servertest.Of(t, server.MariaDB)} {
		for _, name := range []string{"UTC", "Europe/Berlin", "Asia/Kolkata", "America/St_Johns"} {
			loc, err := time.LoadLocation(name)
			if err != nil {
				t.Skip("this machine has no time zones: ", err)
			}
			z := read(d, name)
			if !z.is(loc) {
				t.Errorf("%s, %s: %v", d.Name, name, z)
			}
			tz := z.TZ()
			if again := read(d, tz); tz == "" || !z.Same(again) {
				t.Errorf("%s: %s became %q: %v", d.Name, name, tz, again)
			}
			t.Logf("%s: %s is %s, TZ=%s", d.Name, name, z, tz)
		}
	}
}

// TestZoneFound: zones that differ anywhere near are told apart, by what the machine has.
func TestZoneFound(t *testing.T) {
	at := time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)
	of := func(loc *time.Location) Zone {
		return Zone{Name: "X", At: at, Changes: changes(sampleTimes(at), func(at int64) int64 {
			_, o := time.Unix(at, 0).In(loc).Zone()
			return int64(o)
		})}
	}
	for seconds, want := range map[int]string{0: "<+0000>-0:00:00", 19800: "<+0530>-5:30:00", -12600: "<-0330>+3:30:00"} {
		if tz := of(time.FixedZone("", seconds)).TZ(); tz != want {
			t.Errorf("%d: %q, want %q", seconds, tz, want)
		}
	}
	names := []string{"Europe/Berlin", "America/New_York", "America/Havana", "Australia/Lord_Howe"}
	for _, a := range names {
		la, err := time.LoadLocation(a)
		if err != nil {
			t.Skip("this machine has no time zones: ", err)
		}
		for _, b := range names {
			lb, _ := time.LoadLocation(b)
			if of(la).is(lb) != (a == b) {
				t.Errorf("%s and %s", a, b)
			}
		}
		if tz := of(la).find(t.TempDir()); tz != "" {
			t.Errorf("%s was found where nothing is: %q", a, tz)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "damaged"), []byte("TZif"), 0o600); err != nil {
		t.Fatal(err)
	}
	la, _ := time.LoadLocation(names[0])
	if tz := of(la).find(dir); tz != "" {
		t.Errorf("found in a damaged file: %q", tz)
	}
}
