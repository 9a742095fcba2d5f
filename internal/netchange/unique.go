package netchange

// Tokens stand for values of secondary unique keys: a 64-bit hash of index and
// value. Two values that the server holds to be equal have one token; two
// others may have one by chance, which costs a little speed and nothing else.

// Claims finds the rows that must go out as delete first and insert after.
//
// A row gives a token up if it had it before the window and has not after it;
// it takes a token in the opposite case. If a token that one row gives up is
// taken by another, writing the taker before the giver collides. Then the
// giver is deleted in a first phase, before anything is inserted or updated.
type Claims struct {
	given map[uint64]struct{}
	taken map[uint64]struct{}
}

// NewClaims returns an empty set.
func NewClaims() *Claims {
	return &Claims{given: map[uint64]struct{}{}, taken: map[uint64]struct{}{}}
}

// Give notes a token that some row gives up.
func (c *Claims) Give(token uint64) { c.given[token] = struct{}{} }

// Take notes a token that some row takes.
func (c *Claims) Take(token uint64) { c.taken[token] = struct{}{} }

// First reports whether a row that gives these tokens up has to be deleted
// before the others are written.
func (c *Claims) First(given []uint64) bool {
	for _, t := range given {
		if _, ok := c.taken[t]; ok {
			return true
		}
	}
	return false
}
