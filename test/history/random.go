package history

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// random is the one generator that all choices of a history come from.
type random struct{ *rand.Rand }

func newRandom(seed uint64) random {
	return random{rand.New(rand.NewPCG(seed, 0x6c696665626f6174))}
}

// chance is true that many times in a hundred.
func (r random) chance(percent int) bool { return r.IntN(100) < percent }

// between includes both ends.
func (r random) between(low, high int) int { return low + r.IntN(high-low+1) }

func pick[T any](r random, list []T) T { return list[r.IntN(len(list))] }

// some returns n different elements in random order, or all if there are
// fewer.
func some[T any](r random, list []T, n int) []T {
	order := r.Perm(len(list))
	chosen := make([]T, 0, n)
	for _, i := range order[:min(n, len(order))] {
		chosen = append(chosen, list[i])
	}
	return chosen
}

func (r random) hex(bytes int) string {
	var b strings.Builder
	for range bytes {
		fmt.Fprintf(&b, "%02x", r.IntN(256))
	}
	return b.String()
}
