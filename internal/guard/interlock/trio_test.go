package interlock

import (
	"errors"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/guard/interlock/etcdtest"
)

// TestTrio: with one etcd server of three away all goes on, with two nothing
// does, whichever way they are away; and one that is alone says nothing old.
func TestTrio(t *testing.T) {
	r := etcdtest.StartTrio(t)
	w := newWorld(t, func(o *Options) { o.Timeout, o.PaceSlots = 2*time.Second, 1000 }, r.Endpoints()...)
	goes := func(what string) {
		t.Helper()
		var err error
		begin := time.Now()
		for range 40 { // a leader is elected
			var g *Grant
			w.publishTry()
			if g, err = w.m[idC].Acquire(t.Context(), w.want("")); err == nil {
				t.Logf("%s: goes after %s", what, time.Since(begin))
				must(t, g.Release(t.Context()))
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Fatalf("%s: %v", what, err)
	}
	refuses := func(what string) {
		t.Helper()
		g, err := w.m[idC].Acquire(t.Context(), w.want(""))
		if g != nil || !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: %v %v", what, g, err)
		}
		if err := w.m[idC].Inquire(t.Context(), w.want("")); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: inquired: %v", what, err)
		}
	}
	goes("all are there")
	for _, way := range []struct {
		name       string
		away, back func(i int)
	}{
		{"killed", func(i int) { r.Servers[i].Kill() }, func(i int) { r.Servers[i].Run(t) }},
		{"cut off", func(i int) { r.Cut(t, i) }, func(i int) { r.Heal(t, i) }},
		{"paused", func(i int) { r.Servers[i].Pause() }, func(i int) { r.Servers[i].Resume() }},
	} {
		for i := range 3 { // one of them is the leader
			if way.name == "paused" && i > 0 {
				break // it takes until the connection to it is given up
			}
			way.away(i)
			goes("one is " + way.name)
			way.back(i)
		}
		way.away(0)
		way.away(1)
		refuses("two are " + way.name)
		way.back(0)
		way.back(1)
		goes("all are back that were " + way.name)
	}
	// A grant outlives the loss of a server between its steps, and is refused
	// when the majority is gone.
	g := w.acquire(idC)
	r.Cut(t, 2)
	var err error
	for range 40 { // a record gets old while a leader is elected, which refuses, and rightly
		w.publishTry()
		if err = g.Commit(t.Context(), local(t)); err == nil {
			break
		}
		t.Log(err)
	}
	must(t, err)
	r.Cut(t, 1)
	if err := g.Confirm(t.Context()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("confirmed without a majority: %v", err)
	}
}

// publishTry publishes as far as etcd answers.
func (w *world) publishTry() {
	for _, id := range members {
		_ = w.m[id].Publish(w.t.Context(), health(w.t, id).State, time.Now())
	}
}
