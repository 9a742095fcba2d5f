package faults_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/test/faults/rig"
)

// command is the command that is run again and again.
func command(w *rig.World, dsn string, more ...string) []string {
	args := append([]string{"replay", "--target", dsn, "--from", w.Start(), "--memory", "16MiB"}, more...)
	return append(args, w.Logs...)
}

// most is how often a command is run again before the test gives up.
const most = 10

// finish runs the command until it exits with 0.
func finish(t *testing.T, args []string) {
	t.Helper()
	for range most {
		r := rig.Run(t, lifeboat, args...)
		if r.Code == 0 {
			return
		}
		if r.Code == 7 { // the server has yet to see that the last one is dead
			time.Sleep(200 * time.Millisecond)
		} else if r.Code != 3 {
			t.Errorf("want exit code 0, or 3 to be run again: %v", r)
		} else {
			t.Logf("run again: %v", strings.TrimSpace(r.Stderr))
		}
	}
	t.Fatalf("no exit code 0 in %d runs", most)
}

// same checks that the target is where the source ended.
func same(t *testing.T, w *rig.World, target *server.Instance, what string) {
	t.Helper()
	if diff := w.Diff(t, target); diff != "" {
		t.Errorf("%s: the end states differ\n%s", what, diff)
	}
}

// undisturbed replays once and returns how long it took; the basis of the
// moments to kill at, and of every comparison.
func undisturbed(t *testing.T, w *rig.World) time.Duration {
	t.Helper()
	if took[w] != 0 {
		return took[w]
	}
	target := w.Target(t, t.TempDir())
	r := rig.Run(t, lifeboat, command(w, target.DSN(""), "--json")...)
	if r.Code != 0 {
		t.Fatalf("undisturbed: %v", r)
	}
	t.Logf("undisturbed: %.2f s %s", r.Seconds, excerpt(r.Stdout))
	same(t, w, target, "undisturbed")
	if t.Failed() {
		t.FailNow()
	}
	took[w] = time.Duration(r.Seconds * float64(time.Second))
	return took[w]
}

// took is how long undisturbed runs took.
var took = map[*rig.World]time.Duration{}

func excerpt(json string) string {
	_, rest, _ := strings.Cut(json, `"workers"`)
	rest, _, _ = strings.Cut(rest, `"seconds"`)
	return rest
}

// moment is a time uniformly between the beginning and the end of a run.
func moment(r *rand.Rand, whole time.Duration) time.Duration {
	return time.Duration(r.Int64N(int64(whole)))
}

func describe(moments []string) string {
	return fmt.Sprintf("killed at %s", strings.Join(moments, ", "))
}

// kill -9 of lifeboat at random times.
func TestKilled(t *testing.T) {
	each(t, func(t *testing.T, d server.Distribution) {
		r := random(t)
		w := busy(t, d)
		whole := undisturbed(t, w)
		for left := number("LIFEBOAT_KILLS", kills); left > 0; {
			target := w.Target(t, t.TempDir())
			args := command(w, target.DSN(""))
			var moments []string
			for n := 3 + r.IntN(3); n > 0 && left > 0; n, left = n-1, left-1 {
				p := rig.Launch(t, lifeboat, args...)
				at := moment(r, whole)
				time.Sleep(at)
				p.Kill()
				res := p.Wait(t)
				moments = append(moments, at.Round(time.Millisecond).String())
				if res.Code > 0 {
					t.Fatalf("%s: %v", describe(moments), res)
				}
				if res.Code == 0 {
					n = 0 // done before it was killed
				}
			}
			finish(t, args)
			same(t, w, target, describe(moments))
			t.Log(describe(moments))
			if err := target.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// The target server ends at random times, by kill -9 or in good order: lifeboat
// says so with exit code 3, and goes on when the server is there again.
func TestServerKilled(t *testing.T) {
	one(t, 0, func(t *testing.T, d server.Distribution) {
		r := random(t)
		w := busy(t, d)
		whole := undisturbed(t, w)
		for left := number("LIFEBOAT_SERVER_KILLS", serverKills); left > 0; {
			target := w.Target(t, t.TempDir())
			args := command(w, target.DSN(""))
			var moments []string
			for n := 1 + r.IntN(3); n > 0 && left > 0; n, left = n-1, left-1 {
				p := rig.Launch(t, lifeboat, args...)
				at := moment(r, whole)
				time.Sleep(at)
				stop, how := target.Kill, ""
				if r.IntN(3) == 0 {
					stop, how = func() error { return target.Shutdown(t.Context()) }, " in good order"
				}
				if err := stop(); err != nil {
					t.Fatal(err)
				}
				res := p.Wait(t)
				moments = append(moments, at.Round(time.Millisecond).String()+how)
				early := res.Code == 1 && strings.Contains(res.Stderr, "connect to the target") // as if it had never been there
				if res.Code != 3 && res.Code != 0 && !early {
					t.Errorf("server %s: want exit code 3: %v", describe(moments), res)
				}
				if err := target.Restart(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			finish(t, args)
			same(t, w, target, "server "+describe(moments))
			t.Log("server " + describe(moments))
			if err := target.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// connecting is how many statements there are at least until it is connected.
const connecting = 12

// The connection is cut at random statements: exit code 3, then on.
func TestConnectionCut(t *testing.T) {
	one(t, 1, func(t *testing.T, d server.Distribution) {
		r := random(t)
		w := busy(t, d)
		target := w.Target(t, t.TempDir())
		proxy := rig.NewProxy(t, target.Socket())
		args := command(w, proxy.DSN())
		var moments []string
		// Each of those with which it connects, and random ones.
		for n := range connecting + number("LIFEBOAT_KILLS", kills) {
			at, action := 1+n, rig.CutBefore
			if n >= connecting {
				at = 1 + r.IntN(1000)
			}
			if r.IntN(2) == 0 {
				action = rig.CutAfter
			}
			var seen int
			var last string
			proxy.Hook(func(statement []byte) rig.Action {
				if seen++; seen == at {
					last = shorten(statement)
					return action
				}
				return rig.Pass
			})
			res := rig.Run(t, lifeboat, args...)
			proxy.Hook(nil) // waits for the hook to end
			moments = append(moments, fmt.Sprintf("statement %d (%s)", at, last))
			if want := map[bool]int{true: 3, false: 0}[last != ""]; res.Code != want {
				t.Errorf("cut at %s: want exit code %d: %v", moments[len(moments)-1], want, res)
			}
			checkMessage(t, res)
		}
		finish(t, args)
		same(t, w, target, "cut at "+strings.Join(moments, ", "))
		t.Log(moments)
	})
}

func shorten(statement []byte) string { return fmt.Sprintf("%.60s", statement) }

// checkMessage: a failure is one line on the standard error.
func checkMessage(t *testing.T, r rig.Result) {
	t.Helper()
	if text := strings.TrimSuffix(r.Stderr, "\n"); r.Code != 0 && (text == "" || strings.Contains(text, "\n")) {
		t.Errorf("want one line on stderr: %v", r)
	}
}
