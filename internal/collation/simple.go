package collation

import (
	"bytes"
	"context"
	"math/rand/v2"
	"slices"
)

// learnSimple finds the bytes whose weights may be put in a row, and proves it:
// every pair of them, every three letters in random case, and random strings.
// Where the proof fails for single pairs, those pairs are left to the server;
// where it fails otherwise, everything is.
func (c *Collation) learnSimple(ctx context.Context, q Querier) error {
	if len(c.space) > 1 || c.form.levels == 0 {
		return nil
	}
	n := 128
	if c.singleByte {
		n = 256
	}
	p := prover{c: c, q: q, s: &simple{}}
	ok, err := p.prove(ctx, n)
	if ok && err == nil {
		c.simple = p.s
	}
	return err
}

// prover compares weights put in a row with the server's.
type prover struct {
	c *Collation
	q Querier
	s *simple
}

func (p *prover) prove(ctx context.Context, n int) (bool, error) {
	alphabet, err := p.weigh(ctx, n)
	if err != nil {
		return false, err
	}
	if ok, err := p.holds(ctx, chunks(allPairs(alphabet), 1)); err != nil {
		return false, err
	} else if !ok {
		if err := p.findPairs(ctx, alphabet); err != nil {
			return false, err
		}
	}
	alphabet = slices.DeleteFunc(alphabet, func(b byte) bool { return p.s.class[b]&notSimple != 0 })
	if len(alphabet) < 64 {
		return false, nil
	}
	r := rand.New(rand.NewPCG(3, 4))
	return p.holds(ctx, slices.Concat(
		p.row(p.covered(triples(r))),
		p.covered(between(alphabet, p.s)),
		p.covered(randomStrings(r, alphabet)),
	))
}

// weigh asks for the weight of each byte below n.
func (p *prover) weigh(ctx context.Context, n int) (alphabet []byte, err error) {
	answers, err := p.levels(ctx, singles(n))
	if err != nil {
		return nil, err
	}
	p.s.weights = make([][256]weight, p.c.form.levels)
	for i := range p.s.class {
		p.s.class[i] = notSimple
	}
	for i, levels := range answers {
		if levels == nil || slices.ContainsFunc(levels, func(w []byte) bool { return len(w) > maxWeight }) {
			continue
		}
		p.s.class[i] = 0
		alphabet = append(alphabet, byte(i))
		for level, w := range levels {
			p.s.weights[level][i] = makeWeight(w)
		}
	}
	return alphabet, nil
}

// levels asks for the weights of each string, level by level. Nil stands for a
// weight string of an unexpected form.
func (p *prover) levels(ctx context.Context, strings [][]byte) ([][][]byte, error) {
	answers, err := p.c.weights(ctx, p.q, strings)
	if err != nil || p.c.form.byLevel {
		return answers, err
	}
	for i := range answers {
		levels, ok := p.c.form.split(answers[i][0])
		if !ok {
			levels = nil
		}
		answers[i] = levels
	}
	return answers, nil
}

// check says of each string whether its weights are those of its bytes in a row.
func (p *prover) check(ctx context.Context, strings [][]byte) ([]bool, error) {
	answers, err := p.levels(ctx, strings)
	if err != nil {
		return nil, err
	}
	ok := make([]bool, len(strings))
	for i, s := range strings {
		ok[i] = p.matches(s, answers[i])
	}
	return ok, nil
}

func (p *prover) matches(raw []byte, levels [][]byte) bool {
	for level, w := range levels {
		if !bytes.Equal(p.s.appendWeights(nil, raw, level), w) {
			return false
		}
	}
	return levels != nil
}

// holds says whether the weights of all strings are those of their bytes.
func (p *prover) holds(ctx context.Context, strings [][]byte) (bool, error) {
	ok, err := p.check(ctx, strings)
	return err == nil && !slices.Contains(ok, false), err
}

// covered keeps the strings that would not be left to the server.
func (p *prover) covered(strings [][]byte) [][]byte {
	return slices.DeleteFunc(strings, func(s []byte) bool { return !p.s.covers(s) })
}

// row puts many short strings into a few longer ones, with digits between them.
func (p *prover) row(strings [][]byte) [][]byte {
	var out [][]byte
	for part := range slices.Chunk(strings, 50) {
		if long := bytes.Join(part, []byte{'0'}); p.s.covers(long) {
			out = append(out, long)
		} else {
			out = append(out, part...)
		}
	}
	return out
}

// findPairs tries every pair by itself. A byte that gets on with fewer than
// three quarters of the others is not simple at all.
func (p *prover) findPairs(ctx context.Context, alphabet []byte) error {
	n := len(alphabet)
	pairs := make([][]byte, 0, n*n)
	for _, a := range alphabet {
		for _, b := range alphabet {
			pairs = append(pairs, []byte{a, b})
		}
	}
	ok, err := p.check(ctx, pairs)
	if err != nil {
		return err
	}
	var bad [256]int
	for i, pair := range pairs {
		if !ok[i] {
			bad[pair[0]]++
			bad[pair[1]]++
		}
	}
	for _, a := range alphabet {
		if bad[a] > n/4 {
			p.s.class[a] |= notSimple
		}
	}
	for i, pair := range pairs {
		if !ok[i] && (p.s.class[pair[0]]|p.s.class[pair[1]])&notSimple == 0 {
			p.s.addPair(pair[0], pair[1])
		}
	}
	return nil
}

// allPairs is a string in which every two bytes stand side by side in both
// orders: a de Bruijn sequence of order 2, closed by its first byte.
func allPairs(alphabet []byte) []byte {
	var out []byte
	for i, a := range alphabet {
		out = append(out, a)
		for _, b := range alphabet[i+1:] {
			out = append(out, a, b)
		}
	}
	return append(out, alphabet[0])
}

// chunks cuts a string so that neighbours share some bytes. WEIGHT_STRING of a
// long string may exceed max_allowed_packet.
func chunks(s []byte, overlap int) [][]byte {
	const size = 2000
	var out [][]byte
	for len(s) > size {
		out = append(out, s[:size])
		s = s[size-overlap:]
	}
	return append(out, s)
}

// triples are all sequences of three letters, in random case: contractions of
// three letters exist whose first two are none.
func triples(r *rand.Rand) [][]byte {
	letter := func(i int) byte {
		return "aA"[r.IntN(2)] + byte(i)
	}
	out := make([][]byte, 0, 26*26*26)
	for i := range 26 * 26 * 26 {
		out = append(out, []byte{letter(i / 26 / 26), letter(i / 26 % 26), letter(i % 26)})
	}
	return out
}

// between has every byte between the two of each pair with a weight of its own:
// whatever the server ignores might not keep them apart.
func between(alphabet []byte, s *simple) [][]byte {
	var out [][]byte
	for _, a := range alphabet {
		for _, b := range alphabet {
			if !s.hasPair([]byte{a, b}) {
				continue
			}
			for _, x := range alphabet {
				out = append(out, []byte{a, x, b})
			}
		}
	}
	return out
}

func randomStrings(r *rand.Rand, alphabet []byte) [][]byte {
	out := make([][]byte, 300)
	for i := range out {
		out[i] = make([]byte, 1+r.IntN(40))
		for j := range out[i] {
			out[i][j] = alphabet[r.IntN(len(alphabet))]
		}
	}
	return out
}
