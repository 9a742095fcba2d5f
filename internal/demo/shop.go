package demo

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"strings"
)

// The shop has one table for each thing that is hard to bring back right.

const schemaName = "shop"

// definitions are the tables at the time of the backup; traffic adds more.
var definitions = []string{
	`CREATE TABLE customers (
		id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
		name VARCHAR(100) NOT NULL,
		city VARCHAR(60) NOT NULL,
		balance DECIMAL(12,2) NOT NULL,
		since DATE NOT NULL,
		note TEXT,
		KEY city (city)
	)`,
	// A key that is text of all scripts, and compared by collation; a unique
	// key whose values are swapped.
	`CREATE TABLE products (
		sku VARCHAR(60) NOT NULL PRIMARY KEY,
		title VARCHAR(100) NOT NULL,
		price DECIMAL(9,2) NOT NULL,
		stock INT NOT NULL,
		shelf INT,
		UNIQUE KEY shelf (shelf)
	)`,
	// A key of two columns.
	`CREATE TABLE orders (
		customer INT UNSIGNED NOT NULL,
		number INT UNSIGNED NOT NULL,
		sku VARCHAR(60) NOT NULL,
		pieces SMALLINT NOT NULL,
		status ENUM('new', 'paid', 'sent') NOT NULL,
		placed DATETIME(6) NOT NULL,
		PRIMARY KEY (customer, number)
	)`,
	// A binary key.
	`CREATE TABLE sessions (
		token BINARY(16) NOT NULL PRIMARY KEY,
		customer INT UNSIGNED NOT NULL,
		seen TIMESTAMP(3) NOT NULL,
		settings JSON
	)`,
	// A key that is a time; few rows, many changes.
	`CREATE TABLE visits (
		minute DATETIME NOT NULL PRIMARY KEY,
		visits INT NOT NULL,
		revenue DOUBLE NOT NULL
	)`,
	`CREATE TABLE carts (
		id BIGINT UNSIGNED NOT NULL PRIMARY KEY,
		customer INT UNSIGNED NOT NULL,
		created DATETIME NOT NULL
	)`,
	// Rows that go with the row they refer to: InnoDB deletes them, and in
	// MariaDB no log says so.
	`CREATE TABLE cart_items (
		cart BIGINT UNSIGNED NOT NULL,
		line SMALLINT NOT NULL,
		sku VARCHAR(60) NOT NULL,
		pieces SMALLINT NOT NULL,
		PRIMARY KEY (cart, line),
		FOREIGN KEY (cart) REFERENCES carts (id) ON DELETE CASCADE
	)`,
	// No key, and many rows that are the same.
	`CREATE TABLE clicks (
		page VARCHAR(60) NOT NULL,
		day DATE NOT NULL
	)`,
}

// Rows at the time of the backup.
const (
	customers = 10_000
	products  = 4_000
	orders    = 15_000
	sessions  = 4_000
	minutes   = 1_440
	carts     = 1_500
	clicks    = 2_000
)

// openShop makes the tables and fills them, and returns the number of rows.
func openShop(ctx context.Context, db *sql.DB) (rows int64, err error) {
	text := "CREATE DATABASE " + schemaName + " CHARACTER SET utf8mb4; USE " + schemaName + ";\n" + strings.Join(definitions, ";\n")
	if _, err := db.ExecContext(ctx, text); err != nil {
		return 0, fmt.Errorf("make the tables: %w", err)
	}
	for n, s := range stock() {
		rows += int64(s.rows)
		if err := s.fill(ctx, db, rand.New(rand.NewPCG(1, uint64(n)))); err != nil {
			return 0, fmt.Errorf("fill %s: %w", s.table, err)
		}
	}
	return rows, nil
}

// stocking is what a table holds in the beginning.
type stocking struct {
	table string
	rows  int
	row   func(r *rand.Rand, n int) string // n counts from 0
}

func stock() []stocking {
	return []stocking{
		{"customers", customers, func(r *rand.Rand, n int) string {
			return values(n+1, person(r), city(r), money(r, 500), day(r), prose(r))
		}},
		{"products", products, func(r *rand.Rand, n int) string {
			return values(sku(n), prose(r), money(r, 90), r.IntN(1000), n+1)
		}},
		{"orders", orders, func(r *rand.Rand, n int) string {
			return values(1+r.IntN(customers), n+1, sku(r.IntN(products)), 1+r.IntN(5), "sent", day(r)+" 12:00:00.000001")
		}},
		{"sessions", sessions, func(r *rand.Rand, n int) string {
			return values(token(0, n), 1+r.IntN(customers), day(r)+" 12:00:00.001", settings(r))
		}},
		{"visits", minutes, func(r *rand.Rand, n int) string {
			return values(minute(n), r.IntN(100), raw(fmt.Sprintf("%.3f", r.Float64()*1000)))
		}},
		{"carts", carts, func(r *rand.Rand, n int) string {
			return values(n+1, 1+r.IntN(customers), day(r)+" 12:00:00")
		}},
		{"cart_items", carts, func(r *rand.Rand, n int) string {
			return values(n+1, 1, sku(r.IntN(products)), 1+r.IntN(5))
		}},
		{"clicks", clicks, func(r *rand.Rand, n int) string {
			return values(page(r), raw("'2014-01-10'"))
		}},
	}
}

// batch is the number of rows of one INSERT.
const batch = 500

func (s stocking) fill(ctx context.Context, db *sql.DB, r *rand.Rand) error {
	for n := 0; n < s.rows; n += batch {
		var rows []string
		for k := n; k < min(n+batch, s.rows); k++ {
			rows = append(rows, s.row(r, k))
		}
		if _, err := db.ExecContext(ctx, "INSERT INTO "+schemaName+"."+s.table+" VALUES "+strings.Join(rows, ",")); err != nil {
			return err
		}
	}
	return nil
}

// minute is the key of a row of visits.
func minute(n int) string { return fmt.Sprintf("2014-01-10 %02d:%02d:00", n/60, n%60) }
