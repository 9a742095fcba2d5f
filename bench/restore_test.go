package bench

import (
	"strings"
	"testing"
)

func TestRestorePage(t *testing.T) {
	r := RestoreReport{Ways: []RestoreResult{
		{Way: restored, Seconds: 10, Equal: true, Steps: []RestoreStep{{"unpack", 4}, {"replay", 5.5}}},
		{Way: copyReplay, Seconds: 20, Different: []string{"t"}},
		{Way: copyBack, Seconds: 25, Equal: true},
	}}
	text := r.page().Markdown()
	for _, want := range []string{"| lifeboat restore | 10.0 | 1.00 | unpack 4.0 s, replay 5.5 s | equal |", "| 20.0 | – |  | WRONG |", "| 25.0 | 2.50 |"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if err := r.problem(); err == nil || !strings.Contains(err.Error(), "copy-back + lifeboat is WRONG: other contents than the source's in t") {
		t.Errorf("the problem is %v", err)
	}
}
