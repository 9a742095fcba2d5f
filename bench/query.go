package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/server"
)

// withDB opens a pool of connections for one function.
func withDB(i *server.Instance, do func(*sql.DB) error) error {
	db, err := i.Open("")
	if err != nil {
		return err
	}
	return errors.Join(do(db), db.Close())
}

// record reads the only row of a result whose columns depend on the server's
// version. Without a row it is empty.
func record(ctx context.Context, db *sql.DB, query string) (map[string]string, error) {
	list, err := dbconn.Records(ctx, db, query)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return list[0], nil
}

// position is the end of a server's binary log.
type position struct {
	file   string
	offset int64
	gtid   string
}

func readPosition(ctx context.Context, db *sql.DB, f server.Flavor) (p position, err error) {
	who, err := dbconn.Identify(ctx, db)
	if err != nil {
		return p, err
	}
	status, err := dbconn.LogStatus(ctx, db, who)
	if err != nil {
		return p, err
	}
	p.file = status["File"]
	if p.offset, err = strconv.ParseInt(status["Position"], 10, 64); err != nil {
		return p, fmt.Errorf("position of the binary log: %w", err)
	}
	query := "SELECT @@GLOBAL.gtid_executed"
	if f == server.MariaDB {
		query = "SELECT @@GLOBAL.gtid_binlog_pos"
	}
	return p, db.QueryRowContext(ctx, query).Scan(&p.gtid)
}

// checksums reads every table of the workload's schema.
func checksums(ctx context.Context, db *sql.DB) (map[string]string, error) {
	tables, err := tableNames(ctx, db)
	if err != nil {
		return nil, err
	}
	if len(tables) == 0 {
		return nil, fmt.Errorf("the schema %s has no tables", schemaName)
	}
	sums := map[string]string{}
	for _, table := range tables {
		var name string
		var sum sql.NullString // NULL with a warning when the table cannot be read
		err := db.QueryRowContext(ctx, "CHECKSUM TABLE `"+schemaName+"`.`"+table+"`").Scan(&name, &sum)
		if err != nil {
			return nil, fmt.Errorf("checksum of %s: %w", table, err)
		}
		if !sum.Valid {
			return nil, fmt.Errorf("checksum of %s: the server could not read the table", table)
		}
		sums[name] = sum.String
	}
	return sums, nil
}

func tableNames(ctx context.Context, db *sql.DB) ([]string, error) {
	rows, err := db.QueryContext(ctx, "SELECT table_name FROM information_schema.tables WHERE table_schema = '"+schemaName+"' ORDER BY 1")
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, rows.Err()
}

// different lists the tables that are not the same in both states.
func different(a, b map[string]string) []string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	var names []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		x, inA := a[name]
		y, inB := b[name]
		if x != y || inA != inB {
			names = append(names, name)
		}
	}
	return names
}
