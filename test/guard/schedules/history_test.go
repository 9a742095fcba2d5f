package schedules

import (
	"strings"
	"testing"
	"time"
)

// TestCheck: the checker finds each thing that must never happen, and nothing
// in a history in which all went well.
func TestCheck(t *testing.T) {
	start := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	at := func(seconds int, e Event) Event {
		e.At = start.Add(time.Duration(seconds) * time.Second)
		return e
	}
	well := []Event{
		at(0, Event{Kind: Promote, Machine: 0}),
		at(1, Event{Kind: Begin, Machine: 1, Token: 5, Nonce: "a"}),
		at(2, Event{Kind: Begin, Machine: 1, Token: 6, Nonce: "b", Destroys: true}),
		at(3, Event{Kind: Up, Machine: 1}),
		at(4, Event{Kind: Promote, Machine: 1}),
		at(5, Event{Kind: Begin, Machine: 0, Token: 9, Nonce: "c", Destroys: true}),
		at(6, Event{Kind: Up, Machine: 0}),
		at(7, Event{Kind: Crash, Machine: 2}),
		at(8, Event{Kind: Recover, Machine: 2}),
		at(30, Event{Kind: Begin, Machine: 2, Token: 10, Nonce: "d"}),
	}
	if wrong := Check(well); len(wrong) != 0 {
		t.Errorf("all is well: %v", wrong)
	}
	for name, c := range map[string]struct {
		more []Event
		want string
	}{
		"two down":      {[]Event{at(31, Event{Kind: Begin, Machine: 0, Token: 11, Nonce: "e"})}, "down by the guard"},
		"the source":    {[]Event{at(31, Event{Kind: Up, Machine: 2}), at(32, Event{Kind: Begin, Machine: 1, Token: 11, Nonce: "e"})}, "source"},
		"request twice": {[]Event{at(31, Event{Kind: Begin, Machine: 2, Token: 11, Nonce: "d"})}, "used before"},
		"token back":    {[]Event{at(31, Event{Kind: Begin, Machine: 2, Token: 10, Nonce: "e"})}, "token"},
		"data lost":     {[]Event{at(31, Event{Kind: Begin, Machine: 2, Token: 11, Nonce: "e", Destroys: true, Unique: 3})}, "lost"},
		"another broken": {[]Event{at(31, Event{Kind: Up, Machine: 2}), at(32, Event{Kind: Crash, Machine: 2}),
			at(40, Event{Kind: Begin, Machine: 0, Token: 11, Nonce: "e"})}, "broken"},
	} {
		wrong := Check(append(well[:len(well):len(well)], c.more...))
		if len(wrong) != 1 || !strings.Contains(wrong[0], c.want) {
			t.Errorf("%s: %v", name, wrong)
		}
	}
}
