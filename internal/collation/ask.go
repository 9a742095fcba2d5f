package collation

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"github.com/go-sql-driver/mysql"
)

const (
	// maxStatement keeps a statement far below the smallest max_allowed_packet
	// anybody runs with (4 MiB was the default of MySQL 5.7).
	maxStatement = 512 << 10

	// maxColumns is the number of expressions in one SELECT. The servers' limit
	// is 4096.
	maxColumns = 500

	// MaxValue is the longest value in bytes whose key the server is asked for.
	// Keys of InnoDB are at most 3072 bytes long. WEIGHT_STRING reserves up to
	// a hundred bytes for each byte of the value and gives NULL when that is
	// more than max_allowed_packet.
	MaxValue = 32 << 10
)

// errInvalid is the server's "Invalid utf8mb4 character string" (ER_INVALID_CHARACTER_STRING).
const errInvalid = 1300

// errSyntax is ER_PARSE_ERROR.
const errSyntax = 1064

func isServerError(err error, number uint16) bool {
	var e *mysql.MySQLError
	return errors.As(err, &e) && e.Number == number
}

// statement is a SELECT of many expressions.
type statement struct {
	text []byte
	n    int
}

func (s *statement) begin() {
	if s.n == 0 {
		s.text = append(s.text[:0], "SELECT "...)
	} else {
		s.text = append(s.text, ',')
	}
	s.n++
}

// name gives the last expression a short name; its own text would otherwise be
// sent back as the column's.
func (s *statement) name() { s.text = append(s.text, " AS w"...) }

// full says whether another expression about so many bytes of values must go
// into another statement.
func (s *statement) full(size int) bool {
	return s.n > 0 && (s.n >= maxColumns || len(s.text)+2*size+200 > maxStatement)
}

// literal appends a value as _charset X'6162' COLLATE name.
func (c *Collation) literal(b, raw []byte) []byte {
	b = append(b, '_')
	b = append(b, c.charset...)
	b = append(b, " X'"...)
	b = hex.AppendEncode(b, raw)
	b = append(b, "' COLLATE "...)
	return append(b, c.name...)
}

// askWeight adds the weight string of raw, or of one level of it if level > 0.
func (c *Collation) askWeight(s *statement, raw []byte, level int) {
	s.begin()
	s.text = append(s.text, "WEIGHT_STRING("...)
	s.text = c.literal(s.text, raw)
	if level > 0 {
		s.text = append(s.text, " LEVEL "...)
		s.text = strconv.AppendInt(s.text, int64(level), 10)
	}
	s.text = append(s.text, ')')
	s.name()
}

// askEqual adds whether the server holds a and b to be equal.
func (c *Collation) askEqual(s *statement, a, b []byte) {
	s.begin()
	s.text = append(s.text, '(')
	s.text = c.literal(s.text, a)
	s.text = append(s.text, ")=("...)
	s.text = c.literal(s.text, b)
	s.text = append(s.text, ')')
	s.name()
}

// columns runs a SELECT that gives one row. A NULL is a nil slice.
func columns(ctx context.Context, q Querier, text string, n int) (cells [][]byte, err error) {
	rows, err := q.QueryContext(ctx, text)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	cells = make([][]byte, n)
	targets := make([]any, n)
	for i := range cells {
		targets[i] = &cells[i]
	}
	if !rows.Next() {
		return nil, errors.Join(rows.Err(), sql.ErrNoRows)
	}
	if err := rows.Scan(targets...); err != nil {
		return nil, err
	}
	return cells, rows.Err()
}

// run gives the statement's answers and makes it empty.
func (s *statement) run(ctx context.Context, q Querier) ([][]byte, error) {
	n := s.n
	s.n = 0
	if n == 0 {
		return nil, nil
	}
	return columns(ctx, q, string(s.text), n)
}

// weights asks for the weight string of each value, or for its parts if the form
// is byLevel. It fails as a whole when one of the values is not valid in the
// character set.
func (c *Collation) weights(ctx context.Context, q Querier, raws [][]byte) ([][][]byte, error) {
	var s statement
	var answers [][]byte
	for _, raw := range raws {
		if s.full(len(raw) * c.form.questions()) {
			cells, err := s.run(ctx, q)
			if err != nil {
				return nil, err
			}
			answers = append(answers, cells...)
		}
		c.askLevels(&s, raw)
	}
	cells, err := s.run(ctx, q)
	if err != nil {
		return nil, err
	}
	return c.group(raws, append(answers, cells...))
}

// questions is the number of expressions for one value.
func (f *form) questions() int {
	if f.byLevel {
		return f.levels
	}
	return 1
}

func (c *Collation) askLevels(s *statement, raw []byte) {
	if !c.form.byLevel {
		c.askWeight(s, raw, 0)
		return
	}
	for level := range c.form.levels {
		c.askWeight(s, raw, level+1)
	}
}

// group puts together the answers about one value.
func (c *Collation) group(raws, cells [][]byte) ([][][]byte, error) {
	out := make([][][]byte, len(raws))
	step := c.form.questions()
	for i := range out {
		out[i] = cells[i*step : (i+1)*step]
		for _, w := range out[i] {
			if w == nil {
				return nil, fmt.Errorf("%w: %s has no weight string for %s", ErrUnsupported, c.name, short(raws[i]))
			}
		}
	}
	return out, nil
}

// short is a value for an error message.
func short(raw []byte) string {
	if len(raw) > 40 {
		return fmt.Sprintf("X'%x...' (%d bytes)", raw[:40], len(raw))
	}
	return fmt.Sprintf("X'%x'", raw)
}

// Resolve asks the server for the keys of those values that AppendKey does not
// know. Afterwards it knows them all, at least until Resolve is called again.
//
// A value that the server cannot hold in this character set, is longer than
// MaxValue or has no weight string makes Resolve fail with an error that wraps
// ErrUnsupported; the others are resolved nevertheless. Such a value is not
// mapped to its own bytes: the server may well compare it equal to another that
// differs in the valid part, and no question can be asked about it.
func (c *Collation) Resolve(ctx context.Context, q Querier, raws [][]byte) error {
	todo, err := c.unknown(raws)
	if len(todo) == 0 {
		return err
	}
	for len(todo) > 0 {
		n := batch(todo)
		if e := c.resolve(ctx, q, todo[:n]); e != nil {
			if !errors.Is(e, ErrUnsupported) {
				return e
			}
			err = e
		}
		todo = todo[n:]
	}
	return err
}

// batch is how many values go into one call of weights, so that an error in one
// does not cost too much.
func batch(raws [][]byte) int {
	size := 0
	for n, raw := range raws {
		if size += len(raw) + 40; n > 0 && size > maxStatement/4 {
			return n
		}
	}
	return len(raws)
}

// unknown lists each value once that has to be asked for, normalized.
func (c *Collation) unknown(raws [][]byte) (todo [][]byte, err error) {
	if c.identity {
		return nil, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cache.age()
	seen := map[string]bool{}
	for _, raw := range raws {
		raw = c.normalize(raw)
		switch {
		case c.simple != nil && c.simple.covers(raw), c.cache.keep(raw), seen[string(raw)]:
		case len(raw)%len(c.space) != 0:
			// The server would put zero bytes before it.
			err = c.invalid(raw)
		case len(raw) > MaxValue:
			err = fmt.Errorf("%w: %s: %s is longer than %d bytes", ErrUnsupported, c.name, short(raw), MaxValue)
		default:
			seen[string(raw)] = true
			todo = append(todo, raw)
		}
	}
	return todo, err
}

func (c *Collation) invalid(raw []byte) error {
	return fmt.Errorf("%w: %s is not a valid %s string", ErrUnsupported, short(raw), c.charset)
}

// resolve halves the values until those that cannot be resolved are alone.
func (c *Collation) resolve(ctx context.Context, q Querier, raws [][]byte) error {
	answers, err := c.weights(ctx, q, raws)
	if err == nil {
		c.remember(raws, answers)
		return nil
	}
	invalid := isServerError(err, errInvalid)
	if !invalid && !errors.Is(err, ErrUnsupported) {
		return fmt.Errorf("collation %s: ask for weights: %w", c.name, err)
	}
	if len(raws) == 1 {
		if invalid {
			return c.invalid(raws[0])
		}
		return err
	}
	half := len(raws) / 2
	errA := c.resolve(ctx, q, raws[:half])
	errB := c.resolve(ctx, q, raws[half:])
	if errA == nil || errB != nil && !errors.Is(errB, ErrUnsupported) {
		return errB
	}
	return errA
}

func (c *Collation) remember(raws [][]byte, answers [][][]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, raw := range raws {
		c.cache.put(string(raw), string(c.form.join(nil, answers[i])))
	}
}
