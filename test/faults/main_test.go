package faults_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/test/faults/rig"
)

// lifeboat is the program, scratch a directory of this test process.
var (
	lifeboat string
	scratch  string
)

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	var err error
	if scratch, err = os.MkdirTemp("", "lifeboat-faults"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	if lifeboat, err = rig.Build(scratch); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

var seed = uint64(number("LIFEBOAT_SEED", rand.IntN(1_000_000)))

func number(variable string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(variable)); err == nil {
		return n
	}
	return otherwise
}

// random gives a test its own sequence of numbers.
func random(t *testing.T) *rand.Rand {
	t.Helper()
	t.Logf("LIFEBOAT_SEED=%d", seed)
	var name uint64
	for _, c := range t.Name() {
		name = name*31 + uint64(c)
	}
	return rand.New(rand.NewPCG(seed, name)) //nolint:gosec // a test's choices
}

// each runs a test on every distribution.
func each(t *testing.T, test func(t *testing.T, d server.Distribution)) { servertest.Each(t, test) }

// one runs a test on one distribution that the seed chooses, or on all in a
// long run.
func one(t *testing.T, salt uint64, test func(t *testing.T, d server.Distribution)) {
	t.Helper()
	if everywhere {
		each(t, test)
		return
	}
	all := servertest.All(t)
	d := all[(seed+salt)%uint64(len(all))]
	t.Run(d.Name, func(t *testing.T) { test(t, d) })
}

// busy returns the world of a distribution's busy source, recorded once.
func busy(t *testing.T, d server.Distribution) *rig.World {
	t.Helper()
	return remember(t, "busy-"+d.Name, func(dir string) *rig.World { return recordBusy(t, d, dir) })
}

var worlds = struct {
	sync.Mutex
	of map[string]*rig.World
}{of: map[string]*rig.World{}}

func remember(t *testing.T, name string, record func(dir string) *rig.World) *rig.World {
	t.Helper()
	worlds.Lock()
	defer worlds.Unlock()
	if w := worlds.of[name]; w != nil {
		return w
	}
	dir, err := os.MkdirTemp(scratch, name)
	if err != nil {
		t.Fatal(err)
	}
	worlds.of[name] = record(dir)
	return worlds.of[name]
}
