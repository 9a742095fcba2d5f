package gate

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/guard/fact"
	"github.com/lifeboat-db/lifeboat/internal/guard/probe"
)

// Looker runs the probes.
type Looker struct {
	// Stages run one after the other, the probes of a stage at the same time.
	// Each sees the facts of the stages before.
	Stages [][]probe.Probe
	// Timeout is how long one probe may take, whatever it waits for: a disk
	// that does not answer must not keep the guard from refusing.
	Timeout time.Duration
}

// Look asks every probe. A probe that ends in a panic, in no fact, or not in
// time is a fact itself: UNKNOWN.
func (l Looker) Look(ctx context.Context, q probe.Question) []fact.Fact {
	for _, stage := range l.Stages {
		found := make([][]fact.Fact, len(stage))
		var wait sync.WaitGroup
		for i, p := range stage {
			wait.Go(func() { found[i] = l.ask(ctx, p, q) })
		}
		wait.Wait()
		for _, facts := range found {
			q.Facts = append(q.Facts, facts...)
		}
	}
	return q.Facts
}

func (l Looker) ask(ctx context.Context, p probe.Probe, q probe.Question) []fact.Fact {
	ctx, cancel := context.WithTimeout(ctx, l.Timeout)
	defer cancel()
	started := time.Now()
	answer := make(chan []fact.Fact, 1) // one place: a late answer must not block
	go func() { answer <- lookSafely(ctx, p, q) }()
	var facts []fact.Fact
	select {
	case facts = <-answer:
	case <-ctx.Done():
		facts = []fact.Fact{failed(p, fmt.Sprintf("no answer within %s (%v): find out what it waits for, a disk or network filesystem perhaps", l.Timeout, ctx.Err()))}
	}
	if len(facts) == 0 { //check:gate-probe-without-facts
		facts = []fact.Fact{failed(p, "found nothing and did not say so")}
	}
	for i := range facts {
		if facts[i].Micros == 0 {
			facts[i].Micros = time.Since(started).Microseconds()
		}
	}
	return facts
}

func lookSafely(ctx context.Context, p probe.Probe, q probe.Question) (facts []fact.Fact) {
	defer func() {
		if r := recover(); r != nil {
			facts = append(facts, failed(p, fmt.Sprintf("stopped by a fault of its own: %v", r)))
		}
	}()
	return p.Look(ctx, q)
}

// failed is the fact that a probe has failed. Its kind is Visibility, which
// nothing tolerates and nobody can waive.
func failed(p probe.Probe, why string) fact.Fact {
	return fact.Fact{
		Probe: p.Name(), Kind: fact.Visibility, Verdict: fact.Unknown, Subject: p.Name(),
		Summary: "probe " + p.Name() + ": " + why,
	}
}
