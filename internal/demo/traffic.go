package demo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-sql-driver/mysql"
	"golang.org/x/sync/errgroup"

	"github.com/lifeboat-db/lifeboat/internal/units"
)

// connections is the number of shoppers at work at the same time.
const connections = 8

// runTraffic is what happens after the backup, and must not be lost.
func (d *demo) runTraffic(ctx context.Context) error {
	t := &traffic{total: int64(d.opt.Transactions), began: time.Now()}
	return d.screen.stepLive(t.line, func() (string, error) {
		err := withDB(d.source, schemaName, func(db *sql.DB) error { return t.run(ctx, db) })
		spent := time.Since(t.began).Seconds()
		d.rep.Transactions = t.done.Load()
		d.rep.SchemaChanges = len(changes) - rotations()
		return fmt.Sprintf("Traffic: %s transactions over %d connections (%s per second): inserts, updates, deletes, swaps of unique values. In their midst %d changes of the schema (ADD COLUMN, CREATE TABLE, RENAME, ADD INDEX, TRUNCATE) and %d log rotations.",
			units.Count(t.done.Load()), connections, units.Count(int64(float64(t.done.Load())/spent)), d.rep.SchemaChanges, rotations()), err
	})
}

// traffic is the shop at work.
type traffic struct {
	total int64
	began time.Time

	begun  atomic.Int64 // transactions handed out; done <= begun
	done   atomic.Int64 // transactions committed
	orders atomic.Int64 // numbers of orders and carts: each is used once
	carts  atomic.Int64

	// What the schema has by now.
	points, reviews, renamed atomic.Bool
}

// change is something that happens while transactions go on.
type change struct {
	statement string
	then      func(*traffic)
}

const rotate = "FLUSH BINARY LOGS"

var changes = []change{
	{"ALTER TABLE customers ADD COLUMN points INT NOT NULL DEFAULT 0 AFTER city", func(t *traffic) { t.points.Store(true) }},
	{rotate, nil},
	{`CREATE TABLE reviews (
		id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
		sku VARCHAR(60) NOT NULL,
		stars TINYINT NOT NULL,
		words TEXT NOT NULL,
		KEY sku (sku)
	)`, func(t *traffic) { t.reviews.Store(true) }},
	{"RENAME TABLE sessions TO logins", func(t *traffic) { t.renamed.Store(true) }},
	{rotate, nil},
	{"ALTER TABLE orders ADD INDEX placed (placed)", nil},
	{"TRUNCATE TABLE clicks", nil},
	{"CREATE TABLE bestsellers (PRIMARY KEY (sku)) AS SELECT sku, SUM(pieces) AS pieces FROM orders GROUP BY sku", nil},
	{rotate, nil},
	// Values that are swapped meanwhile are duplicates to an index that is built
	// online: error 1062, as the manuals of both vendors say.
	{"ALTER TABLE products DROP INDEX shelf, ADD UNIQUE KEY place (shelf), LOCK=SHARED", nil},
}

func rotations() (n int) {
	for _, c := range changes {
		if c.statement == rotate {
			n++
		}
	}
	return n
}

func (t *traffic) line() string {
	done, spent := t.done.Load(), time.Since(t.began)
	line := fmt.Sprintf("Traffic: %s of %s transactions", units.Count(done), units.Count(t.total))
	if done == 0 || spent < time.Second {
		return line
	}
	left := time.Duration(float64(spent) / float64(done) * float64(t.total-done))
	return fmt.Sprintf("%s  %s/s  %s left", line, units.Count(int64(float64(done)/spent.Seconds())), units.Duration(left))
}

// run returns when all transactions are committed and all changes made. The
// changes are spread evenly over the transactions.
func (t *traffic) run(ctx context.Context, db *sql.DB) error {
	t.orders.Store(orders)
	t.carts.Store(carts)
	every := max(1, t.total/int64(len(changes)+1))
	due := make(chan struct{}, len(changes))
	for range len(changes) - int(t.total/every) { // fewer transactions than changes
		due <- struct{}{}
	}
	g, ctx := errgroup.WithContext(ctx)
	for id := range connections {
		g.Go(func() error {
			return session(ctx, db, func(c *sql.Conn) error {
				return newShopper(t, id+1).shop(ctx, c, every, due)
			})
		})
	}
	g.Go(func() error {
		return session(ctx, db, func(c *sql.Conn) error { return t.change(ctx, c, due) })
	})
	return g.Wait()
}

// session lends a connection that locks no more than it changes.
func session(ctx context.Context, db *sql.DB, do func(*sql.Conn) error) error {
	c, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if _, err := c.ExecContext(ctx, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"); err != nil {
		return err
	}
	return do(c)
}

func (t *traffic) change(ctx context.Context, c *sql.Conn, due <-chan struct{}) error {
	for _, ch := range changes {
		select {
		case <-due:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := t.commit(ctx, c, ch.statement); err != nil {
			return err
		}
		if ch.then != nil {
			ch.then(t)
		}
	}
	return nil
}

// attempts is how often a transaction is tried: it may meet another's locks,
// or a table just when that gets another name.
const attempts = 200

// commit executes the text of a transaction until it is committed.
func (t *traffic) commit(ctx context.Context, c *sql.Conn, text string) error {
	for n := 1; ; n++ {
		_, err := c.ExecContext(ctx, strings.ReplaceAll(text, "{sessions}", t.sessions()))
		if err == nil {
			return nil
		}
		if !passes(err) || n == attempts {
			return fmt.Errorf("%w\n\t%s", err, text)
		}
		if _, err := c.ExecContext(ctx, "ROLLBACK"); err != nil {
			return err
		}
		time.Sleep(time.Duration(n) * time.Millisecond)
	}
}

func (t *traffic) sessions() string {
	if t.renamed.Load() {
		return "logins"
	}
	return "sessions"
}

// passes says whether an error goes away when the transaction is repeated.
func passes(err error) bool {
	var e *mysql.MySQLError
	if !errors.As(err, &e) {
		return false
	}
	switch e.Number {
	case 1205, 1213, // lock wait timeout, deadlock
		1146, 1412, 1020: // no such table, definition has changed, record has changed
		return true
	}
	return false
}

// shop does transactions while there are some to do.
func (s *shopper) shop(ctx context.Context, c *sql.Conn, every int64, due chan<- struct{}) error {
	for s.begun.Add(1) <= s.total {
		if err := s.commit(ctx, c, s.transaction()); err != nil {
			return err
		}
		if n := s.done.Add(1); n%every == 0 && n/every <= int64(len(changes)) {
			due <- struct{}{} // has room for all
		}
	}
	return nil
}

// shopper is one connection's share of the traffic. What it inserted it
// remembers, to change or delete it later.
type shopper struct {
	*traffic
	id       int
	r        *rand.Rand
	placed   []string // orders, as conditions
	tokens   []raw    // sessions
	baskets  []int64  // carts
	sessions int      // opened so far
}

func newShopper(t *traffic, id int) *shopper {
	return &shopper{traffic: t, id: id, r: rand.New(rand.NewPCG(2, uint64(id)))}
}

// habits are the kinds of transactions and how often they are.
var habits = []struct {
	weight int
	text   func(*shopper) string
}{
	{30, (*shopper).order}, {16, (*shopper).handle}, {16, (*shopper).surf}, {8, (*shopper).move}, {2, (*shopper).join},
	{8, (*shopper).swap}, {4, (*shopper).relabel}, {6, (*shopper).cart}, {5, (*shopper).click}, {5, (*shopper).review},
}

// transaction returns the text of the next one. Each changes at least a row.
func (s *shopper) transaction() string {
	n := s.r.IntN(100)
	for _, h := range habits {
		if n -= h.weight; n < 0 {
			return h.text(s)
		}
	}
	return s.order()
}

// several joins statements to a transaction.
func several(statements ...string) string {
	return "BEGIN; " + strings.Join(statements, "; ") + "; COMMIT"
}

// popular picks one of n, the first ones more often: three quarters of the
// picks fall on two fifths.
func (s *shopper) popular(n int) int {
	f := s.r.Float64()
	return int(f * f * f * float64(n))
}

func (s *shopper) order() string {
	customer, pieces, price := s.popular(customers)+1, 1+s.r.IntN(5), money(s.r, 90)
	number := int(s.orders.Add(1))
	product := sku(s.popular(products))
	s.placed = append(s.placed, fmt.Sprintf("customer = %d AND number = %d", customer, number))
	points := ""
	if s.points.Load() {
		points = fmt.Sprintf(", points = points + %d", pieces)
	}
	return several(
		"INSERT INTO orders VALUES "+values(customer, number, product, pieces, "new", raw("NOW(6)")),
		fmt.Sprintf("UPDATE products SET stock = stock - %d WHERE sku = %s", pieces, quote(product)),
		fmt.Sprintf("UPDATE customers SET balance = balance - %s%s WHERE id = %d", price, points, customer),
		fmt.Sprintf("INSERT INTO visits VALUES %s ON DUPLICATE KEY UPDATE visits = visits + 1, revenue = revenue + %s",
			values(minute(s.popular(2*minutes)%minutes), 1, price), price),
	)
}

// handle takes an order on its way: to paid, to sent, or it is called off.
func (s *shopper) handle() string {
	if len(s.placed) < 20 {
		return s.order()
	}
	which := s.placed[0]
	s.placed = s.placed[1:]
	switch s.r.IntN(3) {
	case 0:
		return "DELETE FROM orders WHERE " + which
	case 1:
		return several("UPDATE orders SET status = 'paid' WHERE "+which, "UPDATE orders SET status = 'sent' WHERE "+which)
	default:
		s.placed = append(s.placed, which)
		return "UPDATE orders SET pieces = pieces + 1 WHERE " + which
	}
}

// surf opens sessions, and later uses or closes them.
func (s *shopper) surf() string {
	if len(s.tokens) < 10 || s.r.IntN(3) == 0 {
		s.sessions++
		t := token(s.id, s.sessions)
		s.tokens = append(s.tokens, t)
		return "INSERT INTO {sessions} VALUES " + values(t, 1+s.r.IntN(customers), raw("NOW(3)"), settings(s.r))
	}
	n := s.r.IntN(len(s.tokens))
	t := s.tokens[n]
	if s.r.IntN(2) == 0 {
		return fmt.Sprintf("UPDATE {sessions} SET seen = seen + INTERVAL 1 MINUTE, settings = %s WHERE token = %s", quote(settings(s.r)), t)
	}
	s.tokens[n] = s.tokens[len(s.tokens)-1]
	s.tokens = s.tokens[:len(s.tokens)-1]
	return fmt.Sprintf("DELETE FROM {sessions} WHERE token = %s", t)
}

func (s *shopper) move() string {
	return fmt.Sprintf("UPDATE customers SET name = %s, city = %s, note = %s, balance = balance + 1 WHERE id = %d",
		quote(person(s.r)), quote(city(s.r)), quote(prose(s.r)), 1+s.r.IntN(customers))
}

func (s *shopper) join() string {
	return "INSERT INTO customers (name, city, balance, since, note) VALUES " +
		values(person(s.r), city(s.r), money(s.r, 9), day(s.r), prose(s.r))
}

// swap lets two products change places: each shelf holds one, and the rows'
// new values are each other's old ones.
func (s *shopper) swap() string {
	x := s.r.IntN(products - 1)
	y := x + 1 + s.r.IntN(products-1-x)
	a, b := quote(sku(x)), quote(sku(y))
	return several(
		"SELECT shelf INTO @a FROM products WHERE sku = "+a+" FOR UPDATE",
		"SELECT shelf INTO @b FROM products WHERE sku = "+b+" FOR UPDATE",
		"UPDATE products SET shelf = NULL WHERE sku = "+a,
		"UPDATE products SET shelf = @a, stock = stock + 1 WHERE sku = "+b,
		"UPDATE products SET shelf = @b WHERE sku = "+a,
	)
}

// relabel deletes a row and inserts it anew under a key that is the same to
// the server and other bytes.
func (s *shopper) relabel() string {
	key := sku(s.r.IntN(products))
	label := key
	if s.r.IntN(2) == 0 {
		label = strings.ToUpper(key)
	}
	return several(
		"SELECT shelf INTO @a FROM products WHERE sku = "+quote(key)+" FOR UPDATE",
		"DELETE FROM products WHERE sku = "+quote(key),
		"INSERT INTO products VALUES "+values(label, prose(s.r), money(s.r, 90), s.r.IntN(1000), raw("@a")),
	)
}

// cart fills carts, and later deletes them with what is in them.
func (s *shopper) cart() string {
	if len(s.baskets) < 5 || s.r.IntN(2) == 0 {
		id := s.carts.Add(1)
		s.baskets = append(s.baskets, id)
		cart := raw(fmt.Sprint(id))
		return several(
			"INSERT INTO carts VALUES "+values(cart, 1+s.r.IntN(customers), raw("NOW()")),
			"INSERT INTO cart_items VALUES "+values(cart, 1, sku(s.r.IntN(products)), 1)+", "+values(cart, 2, sku(s.r.IntN(products)), 3),
		)
	}
	id := s.baskets[0]
	s.baskets = s.baskets[1:]
	if s.r.IntN(3) == 0 {
		s.baskets = append(s.baskets, id)
		return fmt.Sprintf("UPDATE cart_items SET pieces = pieces + 1 WHERE cart = %d", id)
	}
	return fmt.Sprintf("DELETE FROM carts WHERE id = %d", id)
}

// click inserts rows that are the same, and deletes and changes some of those
// that are.
func (s *shopper) click() string {
	row := values(page(s.r), raw("'2014-01-10'"))
	return several(
		"INSERT INTO clicks VALUES "+row+", "+row+", "+row,
		"DELETE FROM clicks LIMIT 2",
		"UPDATE clicks SET day = '2014-01-11' WHERE page = "+quote(page(s.r))+" LIMIT 1",
	)
}

func (s *shopper) review() string {
	if !s.reviews.Load() {
		return s.order()
	}
	return "INSERT INTO reviews (sku, stars, words) VALUES " + values(sku(s.popular(products)), 1+s.r.IntN(5), prose(s.r))
}
