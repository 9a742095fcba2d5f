package replay_test

import (
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/replay"
)

func TestNames(t *testing.T) {
	const uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
	for text, want := range map[string]string{
		"":                                 "",
		"0-1-7":                            "0-1-7",
		"0-1-9,0-1-7, 0-1-9":               "0-1-7,0-1-9",
		"b.000002:4,b.000001:900":          "b.000001:900,b.000002:4",
		uuid + ":5," + uuid + ":3-4:9":     uuid + ":3-5:9",
		uuid + ":5,b.000001:4,0-1-2,,":     uuid + ":5,0-1-2,b.000001:4",
		uuid + ":5\n,\n" + uuid + ":red:1": uuid + ":5:red:1",
	} {
		n, err := replay.ParseNames(text)
		if err != nil || n.String() != want {
			t.Errorf("%q: %q %v, want %q", text, n, err, want)
		}
		if n.IsEmpty() != (want == "") {
			t.Errorf("%q is empty: %v", text, n.IsEmpty())
		}
	}
	for _, text := range []string{"x", "7", "0-1", uuid, uuid + "," + uuid + ":1", "b.000001:", ":4", "b.1:-4"} {
		if n, err := replay.ParseNames(text); fault.ClassOf(err) != fault.Usage {
			t.Errorf("%q: %q %v", text, n, err)
		}
	}
}

func TestNamesMinus(t *testing.T) {
	const uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
	for _, c := range []struct{ a, b, want string }{
		{uuid + ":1-9,0-1-7,0-1-8,b.1:4", uuid + ":3,0-1-7,b.1:4", uuid + ":1-2:4-9,0-1-8"},
		{"0-1-7", "0-2-7", "0-1-7"}, // not a position in the domain
		{"", "0-1-7", ""},
		{uuid + ":3", "", uuid + ":3"},
	} {
		a, errA := replay.ParseNames(c.a)
		b, errB := replay.ParseNames(c.b)
		if got := a.Minus(b); errA != nil || errB != nil || got.String() != c.want {
			t.Errorf("%q minus %q: %q", c.a, c.b, got)
		}
	}
}
