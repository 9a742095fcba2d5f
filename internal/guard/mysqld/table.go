package mysqld

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

// maxRows bounds what is read of one answer: more is not an answer but an error.
const maxRows = 50_000

// row is one row of an answer by column name; NULL is "".
type row = map[string]string

// table reads a whole answer.
func (q *questioner) table(query string) (result []row, err error) {
	rows, err := q.conns[0].QueryContext(q.ctx, query)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", query, err)
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	cells, targets := make([]sql.NullString, len(columns)), make([]any, len(columns))
	for i := range cells {
		targets[i] = &cells[i]
	}
	for rows.Next() {
		if len(result) == maxRows {
			return nil, errors.New("more rows than anybody could count")
		}
		if err := rows.Scan(targets...); err != nil {
			return nil, err
		}
		r := make(row, len(columns))
		for i, name := range columns {
			r[name] = cells[i].String
		}
		result = append(result, r)
	}
	return result, rows.Err()
}

// pairs reads an answer of names and values; the names in lower case.
func (q *questioner) pairs(query string) (map[string]string, error) {
	rows, err := q.table(query)
	if err != nil {
		return nil, err
	}
	m := make(map[string]string, len(rows))
	for _, r := range rows {
		m[strings.ToLower(r["Variable_name"])] = r["Value"]
	}
	return m, nil
}

func (q *questioner) value(query string) (v string, err error) {
	var cell sql.NullString
	if err := q.conns[0].QueryRowContext(q.ctx, query).Scan(&cell); err != nil {
		return "", fmt.Errorf("%s: %w", query, err)
	}
	return cell.String, nil
}

// first returns the value of the first of some columns that is there: vendors
// and versions name the same thing differently.
func first(r row, names ...string) (string, error) {
	for _, name := range names {
		if v, ok := r[name]; ok {
			return v, nil
		}
	}
	return "", fmt.Errorf("the answer has no column %s", names[0])
}
