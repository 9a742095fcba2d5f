package interlock

import (
	"errors"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/gtid"
)

func TestCovers(t *testing.T) {
	const u, v = "3e11fa47-71ca-11e1-9e33-c80aa9429562:", "4e11fa47-71ca-11e1-9e33-c80aa9429562:"
	for _, c := range []struct {
		survivor, target string
		want             error
	}{
		{u + "1-9", u + "1-5", nil},
		{u + "1-5", u + "1-5", nil},
		{u + "1-5", u + "1-6", ErrUnique},
		{u + "1-9", u + "1-5," + v + "1", ErrUnique},
		{u + "1-3:5-9", u + "4", ErrUnique},
		{"0-1-9", "0-2-8", nil},
		{"0-1-9", "0-1-9", nil},
		{"0-1-9", "0-1-10", ErrUnique},
		{"0-1-9", "0-1-9,1-1-1", ErrUnique},
		{"0-1-9", "0-2-9", ErrUnknown},
		{"0-1-9", u + "1", ErrUnknown},
		{u + "1", "0-1-9", ErrUnknown},
		{u + "1", "", ErrUnknown},
		{"", u + "1", ErrUnknown},
		{"", "", ErrUnknown},
	} {
		survivor, err1 := gtid.Parse(c.survivor)
		target, err2 := gtid.Parse(c.target)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		if err := Covers(survivor, target); !errors.Is(err, c.want) {
			t.Errorf("Covers(%q, %q) = %v, want %v", c.survivor, c.target, err, c.want)
		}
	}
}

// TestCoversState: in MariaDB's positions a server's own transaction hides
// behind a higher number of another one.
func TestCoversState(t *testing.T) {
	for name, c := range map[string]struct {
		survivor, survivorStreams, target, targetStreams string
		want                                             error
	}{
		"all is there":             {"0-1-9", "0-1-9", "0-1-8", "0-1-8", nil},
		"after a fail-over":        {"0-2-9", "0-1-5,0-2-9", "0-1-5", "0-1-5", nil},
		"an own transaction":       {"0-1-9", "0-1-9", "0-2-8", "0-1-7,0-2-8", ErrUnique},
		"two of them, one is seen": {"0-1-9", "0-1-9,0-2-7", "0-2-8", "0-1-6,0-2-8", ErrUnique},
		"in another domain":        {"0-1-9,1-1-4", "0-1-9,1-1-4", "0-1-8,1-2-3", "0-1-8,1-2-3", ErrUnique},
		"positions do not cover":   {"0-1-9", "0-1-10", "0-1-10", "0-1-10", ErrUnique},
		"survivor's are unread":    {"0-1-9", "", "0-1-8", "0-1-8", ErrUnique},
		"target's are unread":      {"0-1-9", "0-1-9", "0-1-8", "", ErrUnknown},
		"survivor's are damaged":   {"0-1-9", "x", "0-1-8", "0-1-8", ErrUnknown},
		"target's are damaged":     {"0-1-9", "0-1-9", "0-1-8", "x", ErrUnknown},
		"MySQL needs none":         {"3e11fa47-71ca-11e1-9e33-c80aa9429562:1-9", "", "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5", "", nil},
	} {
		survivor, err1 := gtid.Parse(c.survivor)
		target, err2 := gtid.Parse(c.target)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		err := CoversState(State{GTIDs: survivor, BinlogState: c.survivorStreams}, State{GTIDs: target, BinlogState: c.targetStreams})
		if !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	ids := []gtid.ID{{Flavor: gtid.MariaDB, Domain: 0, Server: 2, Seq: 8}, {Flavor: gtid.MariaDB, Domain: 0, Server: 1, Seq: 7}}
	if got := BinlogState(ids); got != "0-1-7,0-2-8" {
		t.Error(got)
	}
}
