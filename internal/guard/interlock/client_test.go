package interlock

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/lifeboat-db/lifeboat/internal/guard/fact"
	"github.com/lifeboat-db/lifeboat/internal/guard/gate"
	"github.com/lifeboat-db/lifeboat/internal/guard/interlock/etcdtest"
	"github.com/lifeboat-db/lifeboat/internal/guard/operation"
	"github.com/lifeboat-db/lifeboat/internal/guard/policy"
)

// world is a set in a real etcd: machines a (source), b and c.
type world struct {
	t         testing.TB
	endpoints []string
	prefix    string
	dir       string
	m         map[string]*Client
}

var members = []string{idA, idB, idC}

func newWorld(t testing.TB, change func(*Options), endpoints ...string) *world {
	t.Helper()
	w := &world{t: t, endpoints: endpoints, prefix: "/" + strings.ReplaceAll(t.Name(), "/", "-"), dir: t.TempDir(), m: map[string]*Client{}}
	for _, id := range members {
		w.m[id] = w.open(id, "boot-"+id, change)
	}
	w.putManifest(1)
	w.publish()
	return w
}

func (w *world) open(id, boot string, change func(*Options)) *Client {
	w.t.Helper()
	o := Options{Endpoints: w.endpoints, Prefix: w.prefix, Set: "s", Machine: id, BootID: boot, Keys: people,
		Key: key(byte(slices.Index(members, id))), StateFile: filepath.Join(w.dir, id)}
	if change != nil {
		change(&o)
	}
	c, err := Open(o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	return c
}

func (w *world) putManifest(epoch int64) {
	w.t.Helper()
	if err := w.m[idA].PutManifest(w.t.Context(), sealedManifest(w.t, "s", epoch)); err != nil {
		w.t.Fatal(err)
	}
}

func sealedManifest(t testing.TB, set string, epoch int64) []byte {
	t.Helper()
	m := manifest()
	m.Set, m.Epoch = set, epoch
	text, err := Seal(ManifestNamespace, m, key(10))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (w *world) publish(ids ...string) {
	w.t.Helper()
	if len(ids) == 0 {
		ids = members
	}
	for _, id := range ids {
		if err := w.m[id].Publish(w.t.Context(), health(w.t, id).State, time.Now()); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) state(id string, change func(*State)) {
	w.t.Helper()
	s := health(w.t, id).State
	change(&s)
	if err := w.m[id].Publish(w.t.Context(), s, time.Now()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) want(nonce string) Want {
	return Want{Operation: operation.Reinstall, Requester: "carol", Nonce: nonce, Expiry: time.Now().Add(time.Minute), Local: local(w.t)}
}

func local(t testing.TB) State { return State{Role: Down, GTIDs: gtids(t, uuid+":1-9")} }

func (w *world) acquire(id string) *Grant {
	w.t.Helper()
	g, err := w.m[id].Acquire(w.t.Context(), w.want(""))
	if err != nil {
		w.t.Fatal(err)
	}
	return g
}

func (w *world) raw() *clientv3.Client { return w.m[idA].etcd }

func (w *world) put(key, value string) {
	w.t.Helper()
	if _, err := w.raw().Put(w.t.Context(), w.m[idA].key(key), value); err != nil {
		w.t.Fatal(err)
	}
}

func wants(t testing.TB, err error, code Code) {
	t.Helper()
	var r *Refused
	if !errors.As(err, &r) || !slices.Contains(codes(r.Reasons), code) {
		t.Errorf("%v, want %s", err, code)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestWay goes the whole way: intent, commit, confirm, finish, healthy again.
func TestWay(t *testing.T) {
	server := etcdtest.Start(t)
	w := newWorld(t, nil, server.Endpoint)
	ctx := t.Context()
	g := w.acquire(idC)
	_, err := w.m[idB].Acquire(ctx, w.want(""))
	wants(t, err, Disrupted)
	_, err = w.m[idC].Acquire(ctx, w.want(""))
	wants(t, err, Disrupted)
	wants(t, g.Confirm(ctx), Lost)
	w.publish() // refreshed records are no reason
	must(t, g.Commit(ctx, local(t)))
	if kv := w.disruption(); kv.Lease != 0 || kv.CreateRevision != g.Token() {
		t.Errorf("lease %x, created %d, token %d", kv.Lease, kv.CreateRevision, g.Token())
	}
	if _, err := w.raw().Revoke(ctx, g.intent); err != nil {
		t.Fatal(err)
	}
	must(t, g.Confirm(ctx))
	if m, err := loadMemory(w.m[idC].o.StateFile); err != nil || m.Token != g.Token() {
		t.Errorf("%+v %v", m, err)
	}
	w.publish()
	wants(t, w.m[idC].ClearIfHealthy(ctx), NotCleared) // it may run
	must(t, w.m[idB].Settle(ctx, yes, "x"))            // not its own
	must(t, w.m[idC].Settle(ctx, no, "x"))             // something runs
	if d := w.record(); d.Phase != Committed {
		t.Errorf("%+v", d)
	}
	must(t, g.Finish(ctx, "exit status 0"))
	wants(t, w.m[idC].ClearIfHealthy(ctx), NotCleared) // nothing published since
	w.state(idC, func(s *State) { s.Role = Down })
	wants(t, w.m[idC].ClearIfHealthy(ctx), SurvivorUnhealthy)
	w.publish()
	must(t, w.m[idC].ClearIfHealthy(ctx))
	if w.disruption() != nil {
		t.Error("it is still there")
	}
	must(t, w.m[idC].ClearIfHealthy(ctx))
	if next := w.acquire(idB); next.Token() <= g.Token() {
		t.Errorf("tokens %d, %d", g.Token(), next.Token())
	}
}

func (w *world) disruption() *kv {
	w.t.Helper()
	resp, err := w.raw().Get(w.t.Context(), w.m[idA].key("disruption"))
	if err != nil {
		w.t.Fatal(err)
	}
	if len(resp.Kvs) == 0 {
		return nil
	}
	return &kv{resp.Kvs[0].Lease, resp.Kvs[0].CreateRevision}
}

func yes() bool { return true }
func no() bool  { return false }

// record returns the disruption record.
func (w *world) record() Disruption {
	w.t.Helper()
	v, _, err := w.m[idA].Look(w.t.Context())
	if err != nil || v.Disruption == nil {
		w.t.Fatal(v, err)
	}
	return *v.Disruption
}

// TestChangesMeanwhile: what was decided upon must be so still when it is
// written down.
func TestChangesMeanwhile(t *testing.T) {
	server := etcdtest.Start(t)
	w := newWorld(t, nil, server.Endpoint)
	changing := false
	w.m[idC] = w.open(idC, "boot-"+idC, func(o *Options) {
		o.Now = func() time.Time {
			if changing { // asked for between reading and writing
				w.publish(idB)
			}
			return time.Now()
		}
	})
	g := w.acquire(idC)
	changing = true
	if err := g.Commit(t.Context(), local(t)); !errors.Is(err, ErrBusy) {
		t.Errorf("committed on records that have changed: %v", err)
	}
	if d := w.record(); d.Phase != Intent {
		t.Errorf("%+v", d)
	}
	changing = false
	must(t, g.Commit(t.Context(), local(t)))
	must(t, g.Release(t.Context()))
	changing = true
	if g, err := w.m[idC].Acquire(t.Context(), w.want("")); g != nil || !errors.Is(err, ErrBusy) {
		t.Errorf("announced on records that have changed: %v", err)
	}
}

// TestTwoPublish: of two manifests at a time one counts, and only one is told so.
func TestTwoPublish(t *testing.T) {
	server := etcdtest.Start(t)
	w := newWorld(t, nil, server.Endpoint)
	for epoch := int64(2); epoch < 30; epoch++ {
		done := make(chan error)
		for _, id := range []string{idA, idB} {
			go func() { done <- w.m[id].PutManifest(t.Context(), sealedManifest(t, "s", epoch)) }()
		}
		if one, two := <-done, <-done; (one == nil) == (two == nil) {
			t.Fatalf("epoch %d: %v, %v", epoch, one, two)
		}
	}
}

// TestAnotherEtcd: an etcd of another identity is not believed, however far its
// revision is.
func TestAnotherEtcd(t *testing.T) {
	server := etcdtest.Start(t)
	w := newWorld(t, nil, server.Endpoint)
	w.m[idC].memory.Cluster = "0000000000000001"
	_, err := w.m[idC].Acquire(t.Context(), w.want(""))
	wants(t, err, Frozen)
	w.putManifest(2)
	w.publish(idA, idB)
	if g, err := w.m[idC].Acquire(t.Context(), w.want("")); err != nil {
		t.Errorf("people have said that they know of it: %v %v", g, err)
	}
}

// TestNextCommand: a machine that is down by its set's leave may do more, and
// its set counts it as one all the time.
func TestNextCommand(t *testing.T) {
	server := etcdtest.Start(t)
	w := newWorld(t, nil, server.Endpoint)
	ctx := t.Context()
	first := w.acquire(idC)
	must(t, first.Commit(ctx, local(t)))
	must(t, first.Confirm(ctx))
	must(t, first.Finish(ctx, "exit status 0"))
	stopped := w.record()
	w.state(idC, func(s *State) { s.Role = Down })

	second := w.acquire(idC)
	if second.Token() <= first.Token() {
		t.Errorf("tokens %d, %d", first.Token(), second.Token())
	}
	if kv := w.disruption(); kv.Lease != 0 {
		t.Error("the machine is down, and its record expires")
	}
	wants(t, first.Finish(ctx, "late"), Lost)
	_, err := w.m[idB].Acquire(ctx, w.want(""))
	wants(t, err, Disrupted)
	_, err = w.m[idC].Acquire(ctx, w.want(""))
	wants(t, err, Disrupted)
	must(t, second.Release(ctx))
	if again := w.record(); again.ID != stopped.ID || again.Phase != Done || again.Outcome != stopped.Outcome {
		t.Errorf("%+v, was %+v", again, stopped)
	}

	third := w.acquire(idC)
	must(t, third.Commit(ctx, local(t)))
	must(t, third.Confirm(ctx))
	must(t, third.Finish(ctx, "exit status 1"))
	w.publish()
	must(t, w.m[idB].ClearIfHealthy(ctx))
}

// TestSettle: what an agent that was killed has left is ended by the next one,
// and not as long as something may run.
func TestSettle(t *testing.T) {
	server := etcdtest.Start(t)
	w := newWorld(t, nil, server.Endpoint)
	ctx := t.Context()
	g := w.acquire(idC)
	must(t, w.m[idC].Settle(ctx, yes, "x"))
	if d := w.record(); d.Phase != Intent {
		t.Errorf("an intent ends by its lease: %+v", d)
	}
	must(t, g.Commit(ctx, local(t)))
	must(t, w.m[idC].Settle(ctx, no, "x"))
	if d := w.record(); d.Phase != Committed {
		t.Errorf("%+v", d)
	}
	// The record changes between the reading and the answer.
	must(t, w.m[idC].Settle(ctx, func() bool { w.publish(); return true }, "nobody knows"))
	if d := w.record(); d.Phase != Done || d.Outcome != "nobody knows" || d.Ended.IsZero() {
		t.Errorf("%+v", d)
	}
	must(t, w.m[idC].Settle(ctx, func() bool { t.Error("asked for a record that has ended"); return true }, "x"))
	next := w.acquire(idC)
	asked := 0
	must(t, w.m[idC].Settle(ctx, func() bool {
		if asked++; asked == 1 { // the next command is committed meanwhile
			must(t, next.Commit(ctx, local(t)))
			return true
		}
		return false
	}, "x"))
	if d := w.record(); d.Phase != Committed || asked != 2 {
		t.Errorf("%+v, asked %d times", d, asked)
	}
}

type kv struct{ Lease, CreateRevision int64 }

// TestContract: all else, each in a set of its own within one etcd.
func TestContract(t *testing.T) {
	server := etcdtest.Start(t)
	run := func(name string, change func(*Options), f func(t *testing.T, w *world)) {
		t.Run(name, func(t *testing.T) { f(t, newWorld(t, change, server.Endpoint)) })
	}
	run("source", nil, func(t *testing.T, w *world) {
		_, err := w.m[idA].Acquire(t.Context(), w.want(""))
		wants(t, err, IsSource)
		wants(t, w.m[idA].Inquire(t.Context(), w.want("")), IsSource)
		must(t, w.m[idB].Inquire(t.Context(), w.want("")))
	})
	run("changed before commit", nil, func(t *testing.T, w *world) {
		g := w.acquire(idC)
		w.state(idB, func(s *State) { s.Threads = false })
		wants(t, g.Commit(t.Context(), local(t)), SurvivorUnhealthy)
		w.publish()
		wants(t, g.Commit(t.Context(), State{Role: Source}), IsSource)
		must(t, g.Commit(t.Context(), local(t)))
	})
	run("changed while decided", nil, func(t *testing.T, w *world) {
		// What was read is compared in the transaction itself.
		for _, change := range []func(){
			func() { w.state(idB, func(s *State) { s.Threads = false }) },
			func() { w.putManifest(2) },
			func() { w.put("disruption", "{}") },
		} {
			s, err := w.m[idC].read(t.Context())
			must(t, err)
			change()
			if g, err := w.m[idC].announce(t.Context(), s, Disruption{Version: 1, ID: "x"}, w.want("")); g != nil || err != nil {
				t.Errorf("%v %v", g, err)
			}
		}
		_, err := w.m[idC].Acquire(t.Context(), w.want(""))
		wants(t, err, Disrupted) // "{}" cannot be read, and counts
	})
	run("commit while changed", nil, func(t *testing.T, w *world) {
		g := w.acquire(idC)
		s, err := g.ours(t.Context())
		must(t, err)
		w.publish(idB)
		resp, err := w.m[idC].txn(t.Context(), s.same(w.m[idC]))
		must(t, err)
		if resp.Succeeded {
			t.Error("a changed record is not noticed")
		}
	})
	run("commit races with refreshes", nil, func(t *testing.T, w *world) {
		g := w.acquire(idC)
		ctx, stop := context.WithCancel(t.Context())
		var wait sync.WaitGroup
		for _, id := range []string{idA, idB} {
			wait.Go(func() {
				for ctx.Err() == nil {
					_ = w.m[id].Publish(ctx, health(t, id).State, time.Now())
				}
			})
		}
		for range 20 {
			err := g.Commit(t.Context(), local(t))
			if err == nil && w.disruption().Lease != 0 {
				t.Error("committed, and expires")
			}
			if err == nil {
				break
			}
			if !errors.Is(err, ErrBusy) {
				t.Error(err)
			}
		}
		stop()
		wait.Wait()
	})
	run("intent expires", func(o *Options) { o.IntentTTL = time.Second }, func(t *testing.T, w *world) {
		g := w.acquire(idC)
		time.Sleep(2500 * time.Millisecond)
		if w.disruption() == nil {
			t.Fatal("a living agent's intent has expired")
		}
		g.stop() // the agent dies
		for end := time.Now().Add(10 * time.Second); w.disruption() != nil; time.Sleep(100 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("a dead agent's intent stays")
			}
		}
		wants(t, g.Commit(t.Context(), local(t)), Lost)
		other := w.acquire(idB)
		wants(t, g.Commit(t.Context(), local(t)), Lost)
		must(t, g.Release(t.Context()))
		must(t, other.Commit(t.Context(), local(t)))
		must(t, other.Confirm(t.Context()))
	})
	run("release", nil, func(t *testing.T, w *world) {
		g := w.acquire(idC)
		must(t, g.Release(t.Context()))
		g = w.acquire(idC)
		must(t, g.Commit(t.Context(), local(t)))
		must(t, g.Release(t.Context()))
		if w.disruption() != nil {
			t.Error("it is still there")
		}
		wants(t, g.Confirm(t.Context()), Lost)
	})
	run("cleared under a grant", nil, func(t *testing.T, w *world) {
		g := w.acquire(idC)
		must(t, g.Commit(t.Context(), local(t)))
		w.put("disruption", `{"version":1}`)
		wants(t, g.Confirm(t.Context()), Lost)
	})
	run("fenced", nil, func(t *testing.T, w *world) {
		c := w.m[idC]
		g := w.acquire(idC)
		must(t, g.Commit(t.Context(), local(t)))
		c.memory.Token = g.Token() + 1
		wants(t, g.Confirm(t.Context()), Fenced)
		c.memory.Token = 0
		file := c.o.StateFile
		c.o.StateFile = filepath.Join(w.dir, "absent", "file")
		if g.Confirm(t.Context()) == nil {
			t.Error("the token is not on disk")
		}
		c.o.StateFile = file
		must(t, g.Confirm(t.Context()))
	})
	run("nonce", nil, func(t *testing.T, w *world) {
		nonce, expiry := "n-"+t.Name(), time.Now().Add(time.Minute)
		g, err := w.m[idC].Acquire(t.Context(), w.want(nonce))
		must(t, err)
		must(t, g.Release(t.Context()))
		_, err = w.m[idC].Acquire(t.Context(), w.want(nonce))
		wants(t, err, NonceSpent)
		_, err = w.m[idB].Acquire(t.Context(), w.want(nonce))
		wants(t, err, NonceSpent)
		wants(t, w.m[idA].SpendNonce(t.Context(), nonce, expiry), NonceSpent)
		must(t, w.m[idA].SpendNonce(t.Context(), nonce+"2", expiry))
		wants(t, w.m[idB].SpendNonce(t.Context(), nonce+"2", expiry), NonceSpent)
	})
	run("pace", func(o *Options) { o.PaceSlots, o.PaceInterval = 2, 2*time.Second }, func(t *testing.T, w *world) {
		for range 2 {
			must(t, w.acquire(idC).Release(t.Context()))
		}
		if _, err := w.m[idC].Acquire(t.Context(), w.want("")); !errors.Is(err, ErrBusy) {
			t.Errorf("%v, want busy", err)
		}
		for end := time.Now().Add(10 * time.Second); w.m[idC].Inquire(t.Context(), w.want("")) != nil; time.Sleep(100 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("the slots stay taken")
			}
		}
	})
	run("dead guard", func(o *Options) { o.HealthTTL = time.Second }, func(t *testing.T, w *world) {
		time.Sleep(600 * time.Millisecond)
		for range 8 {
			w.publish(idA, idC)
			time.Sleep(500 * time.Millisecond)
		}
		_, err := w.m[idC].Acquire(t.Context(), w.want(""))
		wants(t, err, SurvivorMissing)
		w.publish(idB) // a new lease
		w.publish(idA)
		w.acquire(idC)
	})
	run("manifest", nil, func(t *testing.T, w *world) {
		c := w.m[idB]
		wants(t, c.PutManifest(t.Context(), sealedManifest(t, "s", 1)), WrongEpoch)
		wants(t, c.PutManifest(t.Context(), sealedManifest(t, "x", 9)), OtherSet)
		must(t, c.PutManifest(t.Context(), sealedManifest(t, "s", 2)))
		_, err := w.m[idC].Acquire(t.Context(), w.want(""))
		wants(t, err, WrongEpoch) // the records are of epoch 1
		w.publish()
		w.acquire(idC)
		// Set back by hand: the key holds an older one that was once valid.
		w.put("manifest", string(sealedManifest(t, "s", 1)))
		_, err = w.m[idB].Acquire(t.Context(), w.want(""))
		wants(t, err, WrongEpoch)
		w.put("manifest", "{}")
		_, err = w.m[idB].Acquire(t.Context(), w.want(""))
		wants(t, err, NoManifest)
		wants(t, w.m[idB].Publish(t.Context(), State{}, time.Now()), NoManifest)
	})
	run("forged record", nil, func(t *testing.T, w *world) {
		w.state(idB, func(s *State) { s.Threads = false })
		h := health(t, idB)
		h.Epoch, h.Made = 1, time.Now().UTC()
		text, err := h.Encode(key(0))
		must(t, err)
		w.put("health/"+idB, string(text))
		_, err = w.m[idC].Acquire(t.Context(), w.want(""))
		wants(t, err, SurvivorRecord)
	})
	run("clearance", nil, func(t *testing.T, w *world) {
		g := w.acquire(idC)
		must(t, g.Commit(t.Context(), local(t)))
		_, seen, err := w.m[idA].Look(t.Context())
		must(t, err)
		sealed := func(token int64, by ...byte) []byte {
			var keys []ed25519.PrivateKey
			for _, n := range by {
				keys = append(keys, key(n))
			}
			text, err := Seal(ClearNamespace, Clearance{Version: 1, Set: "s", Epoch: 1, Machine: idC, Token: token,
				Expires: time.Now().Add(time.Minute).UTC(), Reason: "gone"}, keys...)
			must(t, err)
			return text
		}
		wants(t, w.m[idA].Clear(t.Context(), sealed(seen, 11)), NotCleared)
		wants(t, w.m[idA].Clear(t.Context(), sealed(seen, 11, 15)), NotCleared)
		wants(t, w.m[idA].Clear(t.Context(), sealed(g.Token(), 11, 12)), NotCleared) // it has changed since
		must(t, w.m[idA].Clear(t.Context(), sealed(seen, 11, 12)))
		wants(t, w.m[idA].Clear(t.Context(), sealed(seen, 11, 12)), NotCleared)
	})
	run("reboot", nil, func(t *testing.T, w *world) {
		g := w.acquire(idC)
		must(t, g.Commit(t.Context(), local(t)))
		w.m[idC] = w.open(idC, "next boot", nil)
		w.publish()
		must(t, w.m[idB].ClearIfHealthy(t.Context()))
	})
	run("gate", nil, func(t *testing.T, w *world) {
		var unread error
		set := Set{Client: w.m[idC], Local: func(context.Context, operation.Operation, []fact.Fact) (State, error) { return local(t), unread }}
		g, denied := set.Acquire(t.Context(), gate.Want{Operation: operation.Wipe})
		if g == nil || denied != nil {
			t.Fatal(denied)
		}
		if denied := append(g.Commit(t.Context()), g.Confirm(t.Context())...); denied != nil {
			t.Fatal(denied)
		}
		again, denied := set.Acquire(t.Context(), gate.Want{Operation: operation.Wipe})
		if again != nil || len(denied) != 1 || denied[0].Code != "interlock:disruption" || denied[0].Class != policy.Set || denied[0].Waivable {
			t.Errorf("%v %+v", again, denied)
		}
		unread = errors.New("unreadable")
		if denied := g.Commit(t.Context()); len(denied) == 0 {
			t.Error("nothing is known of the machine, and it goes")
		}
		must(t, g.Release(t.Context()))
		if denied := set.Inquire(t.Context(), gate.Want{Operation: operation.Wipe}); len(denied) != 1 || denied[0].Code != "interlock:unknown-data" {
			t.Errorf("%+v", denied)
		}
		if again, denied := set.Acquire(t.Context(), gate.Want{Operation: operation.Wipe}); again != nil || len(denied) != 1 {
			t.Errorf("%v %+v", again, denied)
		}
	})
}

// TestDenials: whatever goes wrong denies.
func TestDenials(t *testing.T) {
	for err, code := range map[error]string{
		unavailable(errors.New("x")): policy.InterlockUnavailable, fmt.Errorf("%w", ErrBusy): policy.InterlockBusy,
		errors.New("x"): "interlock:error", &Refused{}: "interlock:error",
	} {
		d := Denials(err)
		if len(d) != 1 || d[0].Code != code || d[0].Waivable != (code == policy.InterlockUnavailable) {
			t.Errorf("%v: %+v", err, d)
		}
	}
}

// TestGone: etcd that is not there is said so, in time.
func TestGone(t *testing.T) {
	w := &world{t: t, endpoints: []string{"http://127.0.0.1:1"}, dir: t.TempDir()}
	c := w.open(idC, "boot", func(o *Options) { o.Timeout = 500 * time.Millisecond })
	begin := time.Now()
	if _, err := c.Acquire(t.Context(), w.want("")); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
	if err := c.Publish(t.Context(), State{}, time.Now()); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("took %s", took)
	}
}

// TestOtherCluster: an etcd that was exchanged, or set back, freezes until the
// manifest has a higher epoch.
func TestOtherCluster(t *testing.T) {
	one, two := etcdtest.Start(t), etcdtest.Start(t)
	w := newWorld(t, nil, one.Endpoint)
	g := w.acquire(idC)
	must(t, g.Commit(t.Context(), local(t)))
	must(t, g.Confirm(t.Context()))
	w.endpoints = []string{two.Endpoint}
	for _, id := range members {
		w.m[id] = w.open(id, "boot-"+id, nil)
	}
	if _, err := w.raw().Put(t.Context(), w.m[idA].key("manifest"), string(sealedManifest(t, "s", 1))); err != nil {
		t.Fatal(err)
	}
	_, err := w.m[idC].Acquire(t.Context(), w.want(""))
	wants(t, err, Frozen)
	wants(t, w.m[idC].Publish(t.Context(), State{}, time.Now()), Frozen)
	w.putManifest(2)
	w.publish()
	w.acquire(idC)
	if m, err := loadMemory(w.m[idC].o.StateFile); err != nil || m.Epoch != 2 || m.Token != 0 {
		t.Errorf("%+v %v", m, err)
	}
	// Set back: a revision that is lower than a token.
	w.m[idB].memory.Token = 1 << 40
	_, err = w.m[idB].Acquire(t.Context(), w.want(""))
	wants(t, err, Frozen)
}

// TestSetBack: etcd is restored from a copy without the disruption of another
// member. That is noticed by guards that were started anew meanwhile, and is not
// forgotten when the revision has grown past what they had seen.
func TestSetBack(t *testing.T) {
	etcd := etcdtest.Start(t)
	w := newWorld(t, nil, etcd.Endpoint)
	copied := filepath.Join(t.TempDir(), "copy")
	swap := func(from, to string) {
		t.Helper()
		etcd.Kill()
		if out, err := exec.CommandContext(t.Context(), "sh", "-c", `rm -rf "$2" && cp -a "$1" "$2"`, "sh", from, to).CombinedOutput(); err != nil {
			t.Fatal(err, string(out))
		}
		etcd.Run(t)
	}
	swap(etcd.Dir(), copied)
	must(t, w.acquire(idB).Commit(t.Context(), local(t)))
	w.publish(idA, idC)
	w.m[idC] = w.open(idC, "boot-"+idC, nil) // its agent is started anew
	swap(copied, etcd.Dir())
	_, err := w.m[idC].Acquire(t.Context(), w.want(""))
	wants(t, err, Frozen)
	for range 50 {
		etcd.Put(t, "/other", "x")
	}
	for range 2 {
		_, err = w.m[idC].Acquire(t.Context(), w.want(""))
		wants(t, err, Frozen)
		w.m[idC] = w.open(idC, "boot-"+idC, nil)
	}
	w.m[idA] = w.open(idA, "boot-"+idA, nil)
	w.putManifest(2)
	w.publish()
	w.acquire(idC)
}

func TestMemoryDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "memory")
	for _, text := range []string{"", "{}", `{"cluster":"x"}`, `{"cluster":"x","epoch":1,"token":-`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if m, err := loadMemory(path); err == nil {
			t.Errorf("%q is read as %+v", text, m)
		}
	}
}
