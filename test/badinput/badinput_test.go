package badinput_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/test/faults/rig"
)

func TestBadInput(t *testing.T) {
	for _, k := range beds(t) {
		t.Run(k.name(), func(t *testing.T) {
			b := makeBed(t, k)
			for _, list := range [][]badCase{fileCases, startCases, stopCases, argumentCases, targetCases} {
				for _, c := range list {
					if c.only == nil || c.only(b) {
						t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) { c.run(t, b) })
					}
				}
			}
			for n, p := range b.privileges() {
				t.Run("lacks-"+strings.ReplaceAll(p, " ", "-"), func(t *testing.T) { lacks(t, b, n, p) })
			}
			t.Run("unreadable-file", func(t *testing.T) { unreadable(t, b) })
			t.Run("another-run", func(t *testing.T) { anotherRun(t, b) })
			t.Run("in-the-end", func(t *testing.T) { inTheEnd(t, b) })
		})
	}
}

// An account that lacks one of the privileges that the documentation demands
// is refused before anything is written, unless others make up for it, as
// SUPER does on MariaDB 10.11.
func lacks(t *testing.T, b *bed, n int, privilege string) {
	c := badCase{codes: code(storage), says: `privilege|account`}
	if strings.HasPrefix(privilege, "ALL") {
		c.codes = code(storage, gap) // what an account may not see is not there for it
	}
	if b.broken {
		b.renew()
	}
	before := b.look(t)
	r := rig.Run(t, lifeboat, c.complete(b, with(b, "--target", b.dsn(fmt.Sprintf("lack%d", n))))...)
	if r.Code == 0 {
		b.broken = true
		return
	}
	c.check(t, r)
	if diff := changes(before, b.look(t)); len(diff) > 0 {
		slices.Sort(diff)
		t.Errorf("the target was changed:\n\t%s\n%v", strings.Join(diff, "\n\t"), r)
		b.broken = true
	}
}

// A file that lifeboat may not read. Root may read everything, so it has to
// be somebody else.
func unreadable(t *testing.T, b *bed) {
	path := variant(t, b.Logs[2], func(d []byte) []byte { return d })
	must(t, os.Chmod(path, 0))
	c := badCase{codes: code(storage), says: `permission denied`}
	args := c.complete(b, replaced(b, 2, path))
	before := b.look(t)
	var r rig.Result
	if os.Geteuid() == 0 {
		const nobody = 65534
		r = rig.LaunchAs(t, nobody, readable(t, lifeboat), args...).Wait(t)
	} else {
		r = rig.Run(t, lifeboat, args...)
	}
	c.check(t, r)
	if diff := changes(before, b.look(t)); len(diff) > 0 {
		t.Errorf("the target was changed: %q", diff)
	}
}

// readable is a copy of the program that every user can run.
func readable(t *testing.T, program string) string {
	t.Helper()
	data, err := os.ReadFile(program)
	must(t, err)
	path := place(t, "lifeboat", data)
	must(t, os.Chmod(path, 0o755)) //nolint:gosec // it has to be run
	return path
}

// A second run while the first is at work, held in front of its first write.
func anotherRun(t *testing.T, b *bed) {
	if b.broken {
		b.renew()
	}
	proxy := rig.NewProxy(t, b.target.Socket())
	reached, release := make(chan bool), make(chan bool)
	held := false
	proxy.Hook(func(statement []byte) rig.Action {
		if !held && bytes.HasPrefix(statement, []byte("CREATE DATABASE")) {
			held = true
			close(reached)
			<-release
		}
		return rig.Pass
	})
	first := rig.Launch(t, lifeboat, append([]string{"replay", "--target", proxy.DSN()}, with(b)...)...)
	select {
	case <-reached:
	case <-time.After(time.Minute):
		close(release)
		t.Fatalf("the first run does not come to its first write: %v", first.Wait(t))
	}
	c := badCase{name: "another run", codes: code(busy), says: `another`, args: flags()}
	c.run(t, b)
	first.Kill()
	first.Wait(t)
	close(release)
	b.broken = true // the statement that was held is on its way
}

// After all this one target gets everything that works: Ctrl-C in mid-run,
// files in any order, a last file that is cut off, an account with no more
// privileges than the documentation demands.
func inTheEnd(t *testing.T, b *bed) {
	b.renew()
	proxy := rig.NewProxy(t, b.target.Socket())
	shuffled := []string{b.Logs[3], b.Logs[0], b.Logs[4], b.Logs[2], b.Logs[1]}
	command := func(dsn string, files []string) []string {
		return append([]string{"replay", "--target", dsn, "--from", b.Start()}, files...)
	}

	first := rig.Launch(t, lifeboat, command(proxy.DSN(), shuffled)...)
	commits := 0
	proxy.Hook(func(statement []byte) rig.Action {
		if bytes.HasPrefix(statement, []byte("COMMIT")) {
			if commits++; commits == 2 {
				first.Interrupt()
			}
		}
		return rig.Pass
	})
	r := first.Wait(t)
	badCase{codes: code(130), says: `interrupted.*again`}.check(t, r)

	at, _ := event(t, b.Logs[4], -1, is(typeXID))
	cut := slices.Clone(shuffled)
	cut[2] = variant(t, b.Logs[4], func(d []byte) []byte { return d[:at+5] })
	r = rig.Run(t, lifeboat, command(b.dsn("root"), cut)...)
	badCase{codes: code(0), says: `(?s)left out.*` + filepath.Base(b.Logs[4])}.check(t, r)

	r = rig.Run(t, lifeboat, command(b.dsn("everything"), shuffled)...)
	badCase{codes: code(0), says: `Replayed`}.check(t, r)
	if diff := dropAccounts(b.Diff(t, b.target)); diff != "" {
		t.Errorf("the end states differ\n%s", diff)
	}

	b.renew()
	r = rig.Run(t, lifeboat, command(b.dsn("everything"), shuffled)...)
	badCase{codes: code(0), says: `Replayed`}.check(t, r)
	if diff := dropAccounts(b.Diff(t, b.target)); diff != "" {
		t.Errorf("with the documented privileges: the end states differ\n%s", diff)
	}
}

// dropAccounts leaves out the accounts that the bed made on the target alone.
func dropAccounts(diff string) string {
	var rest []string
	for line := range strings.Lines(diff) {
		if !strings.HasPrefix(line, "account ") {
			rest = append(rest, line)
		}
	}
	return strings.Join(rest, "")
}
