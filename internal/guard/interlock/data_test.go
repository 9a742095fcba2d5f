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
