package dbconn

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"

	"github.com/lifeboat-db/lifeboat/internal/gtid"
)

// Records reads a whole answer by the names of its columns, NULL as "": that of
// SHOW statements, whose columns are others on each version.
func Records(ctx context.Context, q Querier, query string) ([]map[string]string, error) {
	return RecordsUpTo(ctx, q, query, math.MaxInt)
}

// ErrManyRows: there are more rows than were asked for.
var ErrManyRows = errors.New("more rows than anybody could count")

// RecordsUpTo is Records, with ErrManyRows if there are more rows than most.
func RecordsUpTo(ctx context.Context, q Querier, query string, most int) (list []map[string]string, err error) {
	rows, err := q.QueryContext(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", query, err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	cells, into := make([]sql.NullString, len(columns)), make([]any, len(columns))
	for i := range cells {
		into[i] = &cells[i]
	}
	for rows.Next() {
		if len(list) == most {
			return nil, ErrManyRows
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		record := make(map[string]string, len(columns))
		for i, name := range columns {
			record[name] = cells[i].String
		}
		list = append(list, record)
	}
	return list, rows.Err()
}

// LogStatus is what a server says of the end of its binary log: File, Position,
// Binlog_Do_DB and Binlog_Ignore_DB. Empty: it has none.
func LogStatus(ctx context.Context, q Querier, who Server) (map[string]string, error) {
	question := "SHOW MASTER STATUS"
	if who.Flavor == gtid.MySQL && who.AtLeast(8, 2) {
		question = "SHOW BINARY LOG STATUS"
	}
	list, err := Records(ctx, q, question)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return list[0], nil
}
