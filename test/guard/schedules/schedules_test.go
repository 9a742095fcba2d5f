package schedules

import (
	"context"
	"crypto/ed25519"
	"errors"
	"flag"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/lifeboat-db/lifeboat/internal/guard/interlock"
	"github.com/lifeboat-db/lifeboat/internal/guard/interlock/etcdtest"
	"github.com/lifeboat-db/lifeboat/internal/guard/operation"
	"github.com/lifeboat-db/lifeboat/internal/guard/seal"
)

var (
	firstSeed = flag.Uint64("seed", 0, "seed of the first schedule; 0: by the time")
	howMany   = flag.Int("schedules", ordinary, "how many schedules to run")
	atOnce    = flag.Int("at-once", 20, "how many of them at a time")
	length    = flag.Duration("length", 9*time.Second, "how long each of them takes")
)

// tally counts what the schedules have come to.
type tally struct {
	mu    sync.Mutex
	count map[string]int
}

func (c *tally) add(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count[what]++
}

// must are the things that a few schedules have to come to, or they show
// nothing; rare ones take hundreds.
var must = []string{
	"begun: stop-server", "cleared", "settled", "agent killed after acquire", "agent killed after begin",
	"refused: disruption", "refused: is-source", "refused: survivor-unhealthy",
}

var rare = []string{
	"begun: reinstall", "begun: reboot", "begun: wipe", "agent killed after commit", "agent killed after confirm", "machine died", "refused: unique-data", "refused: survivor-stale", "refused: nonce",
	"etcd does not answer", "refused: survivor-missing", "etcd server killed", "etcd server cut off", "etcd server paused",
}

// TestSchedules: never two of a set down by their guards, never the source,
// nothing lost, whatever happens at the same time.
func TestSchedules(t *testing.T) {
	r := etcdtest.StartTrio(t)
	seed := *firstSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seeds %d to %d (-seed, -schedules)", seed, seed+uint64(*howMany)-1)
	c := &tally{count: map[string]int{}}
	ctx, stop := context.WithCancel(t.Context())
	var chaos sync.WaitGroup
	chaos.Go(func() { disturb(ctx, t, r, c) })
	slots := make(chan struct{}, *atOnce)
	var all sync.WaitGroup
	for i := range *howMany {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			one := seed + uint64(i)
			w := run(t, one, r.Endpoints(), c, guarded)
			if wrong := Check(w.history); len(wrong) > 0 {
				t.Errorf("seed %d:\n%s\nhistory:\n%s", one, strings.Join(wrong, "\n"), text(w.history))
			}
		})
	}
	all.Wait()
	stop()
	chaos.Wait()
	for _, what := range slices.Sorted(maps.Keys(c.count)) {
		t.Logf("%7d  %s", c.count[what], what)
	}
	if *howMany >= 500 {
		must = append(must, rare...)
	}
	if *howMany < 30 {
		return
	}
	for _, what := range must {
		if c.count[what] == 0 {
			t.Errorf("no schedule has come to %q", what)
		}
	}
}

// TestWithoutInterlock: commands that ask nobody are found by the checker, so
// the schedules are such that an interlock is needed.
func TestWithoutInterlock(t *testing.T) {
	server := etcdtest.Start(t)
	c := &tally{count: map[string]int{}}
	found := map[string]int{}
	missing := func(kind string) bool { return found[kind] == 0 }
	// Some kinds take a while on a busy machine: more schedules, then.
	for batch := uint64(0); batch < 12 && slices.ContainsFunc(violations, missing); batch++ {
		unguardedBatch(t, server.Endpoint, c, 14*batch, found)
	}
	for _, kind := range violations {
		if missing(kind) {
			t.Errorf("no history of machines without an interlock has the violation %q", kind)
		}
	}
	t.Logf("violations: %v", found)
}

// unguardedBatch counts the violations in 14 histories.
func unguardedBatch(t *testing.T, endpoint string, c *tally, seed uint64, found map[string]int) {
	t.Helper()
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range uint64(14) {
		all.Go(func() {
			w := run(t, seed+i+1, []string{endpoint}, c, unguarded)
			mu.Lock()
			defer mu.Unlock()
			for _, wrong := range Check(w.history) {
				for _, kind := range violations {
					if strings.Contains(wrong, kind) {
						found[kind]++
					}
				}
			}
		})
	}
	all.Wait()
}

// violations are what an interlock is there for.
var violations = []string{"down by the guard", "is broken", "it is the source", "are lost"}

func text(history []Event) string {
	var b strings.Builder
	for i, e := range history {
		fmt.Fprintf(&b, "%3d %s %+v\n", i, e.At.Format("05.000"), e)
	}
	return b.String()
}

// disturb kills, cuts off and pauses servers of etcd, mostly one at a time.
func disturb(ctx context.Context, t *testing.T, r *etcdtest.Trio, c *tally) {
	w := newWorld(uint64(time.Now().UnixNano()))
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Duration(500+w.random(2500)) * time.Millisecond):
		}
		i := w.random(3)
		two := w.chance(20)
		ways := []struct {
			name       string
			away, back func(i int)
		}{
			{"killed", func(i int) { r.Servers[i].Kill() }, func(i int) { r.Servers[i].Run(t) }},
			{"cut off", func(i int) { r.Cut(t, i) }, func(i int) { r.Heal(t, i) }},
			{"paused", func(i int) { r.Servers[i].Pause() }, func(i int) { r.Servers[i].Resume() }},
		}
		way := ways[w.random(len(ways))]
		c.add("etcd server " + way.name)
		way.away(i)
		if two {
			c.add("etcd without a majority")
			way.away((i + 1) % 3)
		}
		time.Sleep(time.Duration(200+w.random(1500)) * time.Millisecond)
		way.back(i)
		if two {
			way.back((i + 1) % 3)
		}
	}
}

// guarded and unguarded say whether commands ask the set.
const (
	guarded   = true
	unguarded = false
)

// player is a schedule on its way.
type player struct {
	*world
	t       *testing.T
	c       *tally
	options [size]interlock.Options
	asks    bool

	mu       sync.Mutex
	clients  [size]*interlock.Client
	commands sync.WaitGroup // that have outlived their agents
	used     []string       // nonces
}

func run(t *testing.T, seed uint64, endpoints []string, c *tally, asks bool) *world {
	p := &player{world: newWorld(seed), t: t, c: c, asks: asks}
	people := ed25519.NewKeyFromSeed([]byte(strings.Repeat("p", ed25519.SeedSize)))
	dir := t.TempDir()
	m := interlock.Manifest{Version: 1, Set: "s", Epoch: 1}
	for i := range p.machines {
		x := &p.machines[i]
		m.Members = append(m.Members, interlock.Member{Machine: x.id, Name: name(i), Key: line(t, x.key)})
		p.options[i] = interlock.Options{
			Endpoints: endpoints, Prefix: fmt.Sprintf("/schedule-%d-%v", seed, asks), Set: "s", Machine: x.id, Key: x.key,
			Keys: []seal.Key{key(t, people)}, StateFile: filepath.Join(dir, fmt.Sprint(i)), Timeout: time.Second,
			HealthTTL: 2 * time.Second, IntentTTL: time.Second, PaceSlots: 1000, PaceInterval: time.Minute,
			Limits: interlock.Limits{MaxLag: 10 * time.Second, MaxAge: 1500 * time.Millisecond}, Now: func() time.Time { return p.now(i) },
		}
		p.open(i)
	}
	defer p.close()
	text, err := interlock.Seal(interlock.ManifestNamespace, m, people)
	if err != nil {
		t.Error(err)
		return p.world
	}
	for range 50 { // etcd may be away
		if err = p.client(0).PutManifest(t.Context(), text); err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	ctx, stop := context.WithTimeout(t.Context(), *length)
	defer stop()
	var all sync.WaitGroup
	for i := range p.machines {
		all.Go(func() { p.attend(ctx, i) })
	}
	for range 3 {
		all.Go(func() { p.request(ctx) })
	}
	all.Go(func() { p.live(ctx) })
	all.Wait()
	p.commands.Wait()
	return p.world
}

func line(t *testing.T, k ed25519.PrivateKey) string {
	public, err := ssh.NewPublicKey(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public)))
}

func key(t *testing.T, k ed25519.PrivateKey) seal.Key {
	public, err := seal.ParseKey(line(t, k))
	if err != nil {
		t.Fatal(err)
	}
	return seal.Key{Name: "people", Roles: []string{interlock.ManifestRole}, PublicKey: public}
}

// open starts a machine's agent, again after it was killed.
func (p *player) open(i int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.options[i]
	p.world.mu.Lock()
	o.BootID = fmt.Sprint(p.machines[i].boot)
	p.world.mu.Unlock()
	client, err := interlock.Open(o)
	if err != nil {
		p.t.Error(err)
		return
	}
	p.clients[i] = client
}

func (p *player) client(i int) *interlock.Client {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.clients[i]
}

func (p *player) close() {
	for i := range p.clients {
		_ = p.client(i).Close()
	}
}

// killed is an agent's end in the middle of everything: nothing is given back,
// no lease is prolonged. Another one is started at once.
func (p *player) killed(i int, after string) {
	p.c.add("agent killed after " + after)
	_ = p.client(i).Close()
	p.open(i)
}

// attend is an agent's part in its set: publish, settle, clear.
func (p *player) attend(ctx context.Context, i int) {
	for ctx.Err() == nil {
		if p.isDead(i) {
			p.c.add("machine died")
			return
		}
		client := p.client(i)
		observed := p.now(i)
		state := p.state(i)
		if p.chance(10) { // an agent that was held up publishes what was so a while ago
			time.Sleep(time.Duration(p.random(500)) * time.Millisecond)
		}
		err := client.Publish(ctx, state, observed)
		if err == nil {
			before, _, _ := client.Look(ctx)
			if client.Settle(ctx, func() bool { return p.idle(i) }, "not known") == nil && before.Disruption != nil &&
				before.Disruption.Machine == p.machines[i].id && before.Disruption.Phase != interlock.Done {
				if after, _, err := client.Look(ctx); err == nil && after.Disruption != nil && after.Disruption.ID == before.Disruption.ID && after.Disruption.Phase == interlock.Done {
					p.c.add("settled")
				}
			}
			if before.Disruption != nil && client.ClearIfHealthy(ctx) == nil {
				p.c.add("cleared")
			}
		}
		p.rebuild(i)
		pause(ctx, 200*time.Millisecond)
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// live is what happens beside.
func (p *player) live(ctx context.Context) {
	dies := -1
	if p.chance(33) { // a machine of every third set dies for good
		dies = 40 + p.random(30) // after 2 to 4 s
	}
	for n := 0; ctx.Err() == nil; n++ {
		p.write()
		if n == dies {
			p.blackout()
		}
		if p.chance(8) {
			p.mishap()
		}
		if n%100 == 99 { // every 6 s: a server that died is missed for longer than records are believed
			p.heal()
		}
		pause(ctx, 60*time.Millisecond)
	}
}

// request is somebody who wants machines to go.
func (p *player) request(ctx context.Context) {
	for ctx.Err() == nil {
		pause(ctx, time.Duration(p.random(200))*time.Millisecond)
		i := p.random(size)
		if !p.take(i) {
			p.c.add("busy: the machine's mutex")
			continue
		}
		p.attempt(ctx, i)
		p.release(i)
	}
}

// attempt is one command on its way through the gate of a machine.
func (p *player) attempt(ctx context.Context, i int) {
	op := operation.StopServer
	if !p.runs(i) {
		op = []operation.Operation{operation.Reboot, operation.Reinstall, operation.Wipe}[p.random(3)]
	}
	nonce := p.nonce()
	if !p.asks {
		p.act(ctx, i, op, time.Now().UnixNano(), nonce)
		return
	}
	client := p.client(i)
	g, err := client.Acquire(ctx, interlock.Want{Operation: op, Requester: "somebody", Nonce: nonce, Expiry: p.now(i).Add(time.Minute), Local: p.state(i)})
	if err != nil {
		p.refused(err)
		return
	}
	p.slow()
	if p.chance(8) {
		p.killed(i, "acquire")
		return
	}
	if err = g.Commit(ctx, p.state(i)); err == nil {
		p.slow()
		if p.chance(8) {
			p.killed(i, "commit")
			return
		}
		err = g.Confirm(ctx)
	}
	if err == nil && p.chance(8) {
		p.killed(i, "confirm")
		return
	}
	if err != nil {
		p.refused(err)
		if err := g.Release(context.WithoutCancel(ctx)); err != nil {
			p.c.add("not given back")
		}
		return
	}
	if p.chance(15) { // the command outlives its agent
		p.begin(i, g.Token(), nonce, op.Destroys())
		p.c.add("begun: " + string(op))
		p.killed(i, "begin")
		p.commands.Go(func() {
			pause(ctx, time.Duration(200+p.random(800))*time.Millisecond)
			p.end(i)
		})
		return
	}
	p.act(ctx, i, op, g.Token(), nonce)
	if err := g.Finish(context.WithoutCancel(ctx), "exit status 0"); err != nil {
		p.c.add("end not recorded")
	}
}

// slow holds an attempt up between two steps, now and then for longer than an
// intent lives.
func (p *player) slow() {
	if p.chance(5) {
		time.Sleep(time.Duration(p.random(1500)) * time.Millisecond)
	}
}

// act runs the command for a while.
func (p *player) act(ctx context.Context, i int, op operation.Operation, token int64, nonce string) {
	p.begin(i, token, nonce, op.Destroys())
	p.c.add("begun: " + string(op))
	pause(ctx, time.Duration(p.random(300))*time.Millisecond)
	p.end(i)
}

// nonce is a request's, now and then one that was used before.
func (p *player) nonce() string {
	old := p.chance(30)
	n := p.random(1 << 30)
	p.mu.Lock()
	defer p.mu.Unlock()
	if old && len(p.used) > 0 && p.asks {
		return p.used[n%len(p.used)]
	}
	p.used = append(p.used, fmt.Sprintf("%032x", len(p.used)+1))
	return p.used[len(p.used)-1]
}

func (p *player) refused(err error) {
	var refused *interlock.Refused
	switch {
	case errors.As(err, &refused):
		for _, r := range refused.Reasons {
			p.c.add("refused: " + string(r.Code))
		}
	case errors.Is(err, interlock.ErrBusy):
		p.c.add("busy: the set")
	case errors.Is(err, interlock.ErrUnavailable):
		p.c.add("etcd does not answer")
	default:
		p.c.add("error: " + err.Error())
	}
}
