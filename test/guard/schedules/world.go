package schedules

import (
	"crypto/ed25519"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/guard/interlock"
)

// uuid is the server_uuid under which everything is written: which source has
// written it does not matter here.
const uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562"

// machine is what a machine is in truth.
type machine struct {
	id      string
	key     ed25519.PrivateKey
	up      bool // its server runs
	gone    bool // a command of the guard has taken it down
	dead    bool // it has lost power, and its guard with it
	busy    bool // its guard's mutex is taken
	stuck   bool // its replication does not run
	have    int  // transactions 1 to have
	running int  // commands that run
	boot    int
	skew    time.Duration // of its clock
}

// world is a set in truth, and what has happened to it.
type world struct {
	mu       sync.Mutex
	rnd      *rand.Rand // used under mu
	machines [size]machine
	source   int
	history  []Event
}

func newWorld(seed uint64) *world {
	w := &world{rnd: rand.New(rand.NewPCG(seed, 1))}
	for i := range w.machines {
		w.machines[i] = machine{
			id: strings.Repeat(fmt.Sprintf("%x", 10+i), 32), up: true, have: 10, boot: 1,
			key: ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune('A'+i)), ed25519.SeedSize))),
		}
		if w.rnd.IntN(10) == 0 { // now and then a clock is more wrong than it may be
			w.machines[i].skew = 20 * time.Second
		} else {
			w.machines[i].skew = time.Duration(w.rnd.IntN(400)-200) * time.Millisecond
		}
	}
	w.note(Event{Kind: Promote, Machine: 0})
	return w
}

// note is called under mu.
func (w *world) note(e Event) {
	e.At = time.Now()
	w.history = append(w.history, e)
}

// random is rnd.IntN for goroutines.
func (w *world) random(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rnd.IntN(n)
}

func (w *world) chance(percent int) bool { return w.random(100) < percent }

// now is the time by a machine's clock.
func (w *world) now(i int) time.Time { return time.Now().Add(w.machines[i].skew) }

func name(i int) string { return fmt.Sprintf("server-%d", i) }

// state is what a machine's guard sees of its server, at this moment.
func (w *world) state(i int) interlock.State {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := &w.machines[i]
	s := interlock.State{Role: interlock.Down, Server: name(i), Lag: -1, GTIDs: set(m.have)}
	if !m.up {
		return s
	}
	if i == w.source {
		s.Role = interlock.Source
		for j := range w.machines {
			if j != i && w.machines[j].up && !w.machines[j].stuck {
				s.Replicas = append(s.Replicas, name(j))
			}
		}
		return s
	}
	s.Role, s.Source, s.ReadOnly, s.Threads, s.Lag = interlock.Replica, name(w.source), true, true, 0
	if m.stuck || !w.machines[w.source].up { // package mysqld takes it for one that may be the last
		s.Role, s.Threads, s.Lag = interlock.Other, false, -1
	}
	return s
}

func set(n int) gtid.Set {
	if n == 0 {
		s, _ := gtid.ParseSet(gtid.MySQL, "")
		return s
	}
	s, err := gtid.ParseSet(gtid.MySQL, fmt.Sprintf("%s:1-%d", uuid, n))
	if err != nil {
		panic(err)
	}
	return s
}

// write is traffic: the source writes, and who replicates follows.
func (w *world) write() {
	w.mu.Lock()
	defer w.mu.Unlock()
	src := &w.machines[w.source]
	if !src.up {
		return
	}
	src.have++
	for i := range w.machines {
		if m := &w.machines[i]; m.up && !m.stuck {
			m.have = src.have
		}
	}
}

// mishap is what happens without anybody's guard: a server dies or comes back,
// replication stops or goes on, somebody fails over. Failing over asks the
// guard of the machine that is to be the source whether it is busy.
func (w *world) mishap() {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := w.rnd.IntN(size)
	m := &w.machines[i]
	switch w.rnd.IntN(4) {
	case 0:
		if m.up && !m.busy {
			m.up = false
			w.note(Event{Kind: Crash, Machine: i})
		} else if !m.up && !m.gone && !m.dead {
			m.up = true
			w.note(Event{Kind: Recover, Machine: i})
		}
	case 1:
		if i != w.source && m.up {
			m.stuck = !m.stuck
		}
	default:
		ready := m.up && !m.busy && !m.stuck && i != w.source && m.have >= w.machines[w.source].have
		if ready {
			w.source = i
			w.note(Event{Kind: Promote, Machine: i})
		}
	}
}

// blackout is the end of a machine, server and guard: nothing of it is heard
// any more.
func (w *world) blackout() {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := w.rnd.IntN(size)
	if m := &w.machines[i]; !m.busy && m.running == 0 && !m.gone {
		m.up, m.dead = false, true
		w.note(Event{Kind: Crash, Machine: i})
	}
}

func (w *world) isDead(i int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.machines[i].dead
}

// heal lets everything be well that no command has taken down, so that a
// schedule does not spend its time in a broken set.
func (w *world) heal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.machines {
		m := &w.machines[i]
		if m.stuck = false; !m.up && !m.gone && !m.dead {
			m.up = true
			w.note(Event{Kind: Recover, Machine: i})
		}
	}
}

// take is a guard's mutex.
func (w *world) take(i int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.machines[i].busy || w.machines[i].dead || w.machines[i].running > 0 { // an earlier agent's command
		return false
	}
	w.machines[i].busy = true
	return true
}

func (w *world) release(i int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.machines[i].busy = false
}

// begin is a command that does what was allowed.
func (w *world) begin(i int, token int64, nonce string, destroys bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	m, most := &w.machines[i], 0
	for j := range w.machines {
		if j != i {
			most = max(most, w.machines[j].have)
		}
	}
	w.note(Event{Kind: Begin, Machine: i, Token: token, Nonce: nonce, Destroys: destroys, Unique: max(0, m.have-most)})
	m.up, m.gone = false, true
	m.running++
	if destroys {
		m.have = 0
	}
}

// end is the end of the command.
func (w *world) end(i int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.machines[i].running--
}

func (w *world) idle(i int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.machines[i].busy && w.machines[i].running == 0
}

// rebuild makes a machine a healthy replica again.
func (w *world) rebuild(i int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := &w.machines[i]
	if !m.gone || m.running > 0 || !w.machines[w.source].up || m.busy {
		return
	}
	m.up, m.gone, m.stuck, m.have = true, false, false, w.machines[w.source].have
	w.note(Event{Kind: Up, Machine: i})
}

// runs reports whether a machine's server runs.
func (w *world) runs(i int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.machines[i].up
}
