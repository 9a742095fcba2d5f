package mysqld

import (
	"database/sql"
	"fmt"
	"strings"

	"github.com/lifeboat-db/lifeboat/internal/dbconn"
)

// maxRows bounds what is read of one answer: more is not an answer but an error.
const maxRows = 50_000

// row is one row of an answer by column name; NULL is "".
type row = map[string]string

// table reads a whole answer.
func (q *questioner) table(query string) ([]row, error) {
	return dbconn.RecordsUpTo(q.ctx, q.conns[0], query, maxRows)
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
