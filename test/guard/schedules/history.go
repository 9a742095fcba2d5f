// Package schedules lets three machines of a set and many who want to destroy
// them run against a real etcd of three servers, at random, and has a checker
// read the history afterwards.
package schedules

import (
	"fmt"
	"time"
)

// Kind is what has happened to a machine.
type Kind string

// The kinds of events.
const (
	Begin   Kind = "begin"   // a command that the guard has allowed begins: the machine is down
	Up      Kind = "up"      // the machine is there again, a healthy replica with all data
	Crash   Kind = "crash"   // its server died by itself
	Recover Kind = "recover" // and is back
	Promote Kind = "promote" // it is the source now
)

// Event is one thing that has happened, in the order of the one list that all
// of a set are written to under one lock.
type Event struct {
	At      time.Time
	Kind    Kind
	Machine int

	// Of a Begin.
	Token    int64
	Nonce    string
	Destroys bool
	Unique   int // transactions of the machine that neither of the others has
}

// Size of a set.
const size = 3

// grace is how old what the set has been told may be when a command begins: a
// health record of 1.5 s with clocks 0.4 s apart, half a second until it is
// published, and up to 1.5 s from commit to begin.
const grace = 4 * time.Second

// Check returns everything that must never happen and is in a history: a second
// machine of the set going down by the guard, the source going down, a machine
// going while another one was known to be broken, data lost, a request used
// twice, a token that does not rise.
func Check(history []Event) (wrong []string) {
	down, crashed := [size]bool{}, [size]time.Time{}
	source, token := 0, int64(0)
	nonces := map[string]bool{}
	for i, e := range history {
		complain := func(format string, args ...any) {
			wrong = append(wrong, fmt.Sprintf("event %d: %s of machine %d: ", i, e.Kind, e.Machine)+fmt.Sprintf(format, args...))
		}
		switch e.Kind {
		case Begin:
			for other := range size {
				if other == e.Machine {
					continue
				}
				if down[other] {
					complain("machine %d is down by the guard already", other)
				}
				if since := crashed[other]; !since.IsZero() && e.At.Sub(since) > grace {
					complain("machine %d is broken since %s", other, e.At.Sub(since))
				}
			}
			if e.Machine == source {
				complain("it is the source")
			}
			if e.Destroys && e.Unique > 0 {
				complain("%d transactions are lost", e.Unique)
			}
			if nonces[e.Nonce] {
				complain("request %s was used before", e.Nonce)
			}
			if e.Token <= token {
				complain("token %d after %d", e.Token, token)
			}
			nonces[e.Nonce], token, down[e.Machine] = true, e.Token, true
		case Up:
			down[e.Machine], crashed[e.Machine] = false, time.Time{}
		case Crash:
			crashed[e.Machine] = e.At
		case Recover:
			crashed[e.Machine] = time.Time{}
		case Promote:
			source = e.Machine
		}
	}
	return wrong
}
