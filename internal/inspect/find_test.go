package inspect

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestFoundKeepsTheLast: of more matches than are listed the last ones stay, in
// order, however they are divided among files; all are counted.
func TestFoundKeepsTheLast(t *testing.T) {
	for range 50 {
		total, n := Found{}, 0
		for range 1 + rand.IntN(5) {
			file := Found{}
			for range rand.IntN(3 * maxFound) {
				file.add(Match{Position: fmt.Sprint(n)})
				n++
			}
			total.merge(&file)
		}
		f := total.report("x")
		if f.Count != int64(n) || len(f.Transactions) != min(n, maxFound) {
			t.Fatalf("%d of %d, of %d", len(f.Transactions), f.Count, n)
		}
		for i, m := range f.Transactions {
			if want := fmt.Sprint(n - len(f.Transactions) + i); m.Position != want {
				t.Fatalf("number %d is %s, want %s", i, m.Position, want)
			}
		}
	}
}
