package replay

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"

	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
)

// fingerprint is a hash over everything that a DDL statement can change: which
// objects there are, how they are defined, and the engine's own table ids,
// which change whenever a table is rebuilt, truncated or exchanged. Equal
// fingerprints before and after a crash mean that the statement did not happen.
func fingerprint(ctx context.Context, q dbconn.Querier, srv dbconn.Server) (string, error) {
	h := sha256.New()
	for _, query := range fingerprintQueries(srv) {
		if err := hashRows(ctx, q, query, h); err != nil {
			return "", fmt.Errorf("fingerprint of the schema: %w", err)
		}
	}
	for _, table := range accountTables {
		err := hashRows(ctx, q, "SELECT * FROM mysql."+table+" ORDER BY 1, 2", h)
		if err != nil && dbconn.Number(err) == 0 {
			return "", fmt.Errorf("fingerprint of the accounts: %w", err)
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// accountTables hold what account statements and the like change. Those that
// this version lacks, or the account may not read, are passed over: before and
// after a crash alike.
var accountTables = []string{
	"user", "global_priv", "global_grants", "db", "tables_priv", "columns_priv", "procs_priv", "proxies_priv",
	"role_edges", "default_roles", "roles_mapping", "servers", "func", "plugin", "component",
}

func fingerprintQueries(srv dbconn.Server) []string {
	const user = "NOT IN ('mysql','sys','information_schema','performance_schema','lifeboat')"
	queries := []string{
		"SELECT SCHEMA_NAME, DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA ORDER BY 1",
		"SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, ENGINE, ROW_FORMAT, TABLE_COLLATION, CREATE_OPTIONS, TABLE_COMMENT FROM information_schema.TABLES WHERE TABLE_SCHEMA " + user + " ORDER BY 1, 2",
		"SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, ORDINAL_POSITION, COLUMN_DEFAULT, IS_NULLABLE, COLUMN_TYPE, COLLATION_NAME, EXTRA, COLUMN_COMMENT, GENERATION_EXPRESSION FROM information_schema.COLUMNS WHERE TABLE_SCHEMA " + user + " ORDER BY 1, 2, 4",
		"SELECT TABLE_SCHEMA, TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX, COLUMN_NAME, NON_UNIQUE, SUB_PART, INDEX_TYPE, COMMENT FROM information_schema.STATISTICS WHERE TABLE_SCHEMA " + user + " ORDER BY 1, 2, 3, 4",
		"SELECT CONSTRAINT_SCHEMA, CONSTRAINT_NAME, TABLE_NAME, UPDATE_RULE, DELETE_RULE FROM information_schema.REFERENTIAL_CONSTRAINTS ORDER BY 1, 3, 2",
		"SELECT TABLE_SCHEMA, TABLE_NAME, VIEW_DEFINITION, DEFINER, SECURITY_TYPE FROM information_schema.VIEWS WHERE TABLE_SCHEMA " + user + " ORDER BY 1, 2",
		"SELECT TRIGGER_SCHEMA, TRIGGER_NAME, EVENT_OBJECT_TABLE, ACTION_STATEMENT, CREATED, ACTION_ORDER FROM information_schema.TRIGGERS ORDER BY 1, 2",
		"SELECT ROUTINE_SCHEMA, ROUTINE_NAME, ROUTINE_TYPE, ROUTINE_DEFINITION, CREATED, LAST_ALTERED FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA " + user + " ORDER BY 1, 2, 3",
		"SELECT EVENT_SCHEMA, EVENT_NAME, EVENT_DEFINITION, STATUS, LAST_ALTERED FROM information_schema.EVENTS ORDER BY 1, 2",
		"SELECT TABLE_SCHEMA, TABLE_NAME, PARTITION_NAME, PARTITION_METHOD, PARTITION_DESCRIPTION FROM information_schema.PARTITIONS WHERE PARTITION_NAME IS NOT NULL ORDER BY 1, 2, PARTITION_ORDINAL_POSITION",
		"SELECT CONSTRAINT_SCHEMA, CONSTRAINT_NAME, CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS ORDER BY 1, 2, 3",
		"SELECT GRANTEE, PRIVILEGE_TYPE, IS_GRANTABLE FROM information_schema.USER_PRIVILEGES ORDER BY 1, 2",
		"SELECT GRANTEE, TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, PRIVILEGE_TYPE FROM information_schema.COLUMN_PRIVILEGES ORDER BY 1, 2, 3, 4, 5",
		"SELECT GRANTEE, TABLE_SCHEMA, PRIVILEGE_TYPE FROM information_schema.SCHEMA_PRIVILEGES ORDER BY 1, 2, 3",
		"SELECT GRANTEE, TABLE_SCHEMA, TABLE_NAME, PRIVILEGE_TYPE FROM information_schema.TABLE_PRIVILEGES ORDER BY 1, 2, 3, 4",
	}
	if srv.Flavor == gtid.MariaDB {
		return append(queries, "SELECT NAME, TABLE_ID FROM information_schema.INNODB_SYS_TABLES ORDER BY 1")
	}
	return append(queries, "SELECT NAME, TABLE_ID FROM information_schema.INNODB_TABLES ORDER BY 1")
}

type hasher interface{ Write(p []byte) (int, error) }

func hashRows(ctx context.Context, q dbconn.Querier, query string, h hasher) error {
	rows, err := q.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	cols, err := rows.Columns()
	if err != nil {
		return err
	}
	cells := make([]sql.RawBytes, len(cols))
	ptrs := make([]any, len(cols))
	for i := range cells {
		ptrs[i] = &cells[i]
	}
	for rows.Next() {
		if err := rows.Scan(ptrs...); err != nil {
			return err
		}
		for _, c := range cells {
			_, _ = fmt.Fprintf(h, "%d:%s,", len(c), c)
		}
	}
	return rows.Err()
}
