package backup

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
)

// dumper is the driver of mysqldump and mariadb-dump: SQL statements, for
// servers that nothing else can back up. There are no increments.
//
// The state is that of the transaction in which the tool reads all tables;
// where it says which that is, see dumpEnds. Tables without transactions are
// not read in one state: they are refused, unless Source.Lock has all tables
// locked for the whole time. The vendor's own tables, in which accounts are, are
// read as they are when the tool comes to them: an account that is changed
// meanwhile may be in the dump as it was after the state. If a table's
// definition is changed before the tool comes to it, the dump fails.
type dumper struct{}

func (dumper) Name() string { return Dump }

func (dumper) tool(ctx context.Context, configured map[string]string, flavor gtid.Flavor) (tool, error) {
	if flavor == gtid.MariaDB {
		return findTool(ctx, configured, "mysqldump", "mariadb-dump")
	}
	return findTool(ctx, configured, "mysqldump")
}

// Check wants the tool of the server's vendor, not older than it, and nothing
// in the database that a dump would have wrong.
func (d dumper) Check(ctx context.Context, s Source) error {
	return withServer(ctx, s.DSN, func(db *sql.DB) error {
		server, err := identify(ctx, db)
		if err != nil {
			return err
		}
		t, err := d.tool(ctx, s.Tools, server.Flavor)
		if err != nil {
			return err
		}
		if err := checkDumpTool(t, server); err != nil {
			return err
		}
		if err := checkGrants(ctx, db, dumpGrants(server.Flavor)...); err != nil {
			return err
		}
		return checkDumpable(ctx, db, s.Lock)
	})
}

// dumpGrants are what the tool needs on everything. RELOAD is for the moment
// that all tables are locked, so that position and state are of the same time.
func dumpGrants(flavor gtid.Flavor) []string {
	list := []string{"SELECT", "SHOW VIEW", "TRIGGER", "EVENT", "RELOAD", "LOCK TABLES"}
	if flavor == gtid.MariaDB {
		return append(list, "BINLOG MONITOR")
	}
	return append(list, "REPLICATION CLIENT", "PROCESS") // PROCESS: to see tablespaces
}

func checkDumpTool(t tool, server origin) error {
	maria := strings.Contains(t.version, "MariaDB")
	if maria != (server.Flavor == gtid.MariaDB) {
		return fault.New(fault.Storage, fmt.Errorf("%s is not of the vendor of %s", t.version, server), "install the one of the server's version")
	}
	v := parseVersion(t.version)
	if v[0] < server.Major || v[0] == server.Major && v[1] < server.Minor {
		return fault.New(fault.Storage, fmt.Errorf("%s is older than %s", t.version, server), "install the one of the server's version")
	}
	return nil
}

// vendorSchemas are made by the server itself.
const vendorSchemas = "('mysql', 'sys', 'information_schema', 'performance_schema')"

// checkDumpable refuses what a dump would have wrong.
func checkDumpable(ctx context.Context, db *sql.DB, locked bool) error {
	if !locked {
		err := refuseAny(ctx, db, `SELECT CONCAT(table_schema, '.', table_name, ' (', engine, ')') FROM information_schema.tables
WHERE table_type = 'BASE TABLE' AND table_schema NOT IN `+vendorSchemas+`
AND engine IN (SELECT engine FROM information_schema.engines WHERE COALESCE(transactions, 'NO') <> 'YES') ORDER BY 1`,
			"tables without transactions", "use another driver, or lock all tables for the time of the dump, or convert them to InnoDB")
		if err != nil {
			return err
		}
	}
	// Which MariaDB has none of, and MySQL's tool does not write.
	_, err := dbconn.Variable(ctx, db, "server_uuid")
	if errors.Is(err, dbconn.ErrNoVariable) {
		return nil
	}
	return refuseAny(ctx, db, `SELECT DISTINCT tablespace_name FROM information_schema.files
WHERE file_type = 'TABLESPACE' AND tablespace_name NOT LIKE '%/%' AND tablespace_name NOT IN ('mysql', 'innodb_system', 'innodb_temporary') ORDER BY 1`,
		"general tablespaces, which a dump leaves out", "use another driver, or move their tables to tablespaces of their own")
}

// refuseAny makes an error of the names that a query gives.
func refuseAny(ctx context.Context, db *sql.DB, query, what, hint string) error {
	const most = 5
	found, err := column(ctx, db, query)
	if err != nil || len(found) == 0 {
		return err
	}
	text := strings.Join(found[:min(len(found), most)], ", ")
	if len(found) > most {
		text += fmt.Sprintf(" and %d more", len(found)-most)
	}
	return fault.New(fault.Refused, fmt.Errorf("there are %s: %s", what, text), hint)
}

// Size is what the statistics say that rows have; in the dump they are text.
func (dumper) Size(ctx context.Context, s Source) int64 { return tableSize(ctx, s, "data_length") }

func tableSize(ctx context.Context, s Source, what string) int64 {
	var size sql.NullInt64
	_ = withServer(ctx, s.DSN, func(db *sql.DB) error { // it is only an estimate
		return db.QueryRowContext(ctx, "SELECT CAST(SUM("+what+") AS SIGNED) FROM information_schema.tables WHERE table_type = 'BASE TABLE'").Scan(&size)
	})
	return size.Int64
}

// Take runs the tool.
func (d dumper) Take(ctx context.Context, s Source, parent *Manifest, w io.Writer) (taken Taken, err error) {
	if parent != nil {
		return Taken{}, fault.Usagef("a dump has no increments")
	}
	err = withServer(ctx, s.DSN, func(db *sql.DB) error {
		taken, err = d.take(ctx, db, s, w)
		if err != nil {
			return err
		}
		return checkDumpable(ctx, db, s.Lock) // they may have come meanwhile
	})
	taken.DataBytes = tableSize(ctx, s, "data_length + index_length")
	return taken, err
}

func (d dumper) take(ctx context.Context, db *sql.DB, s Source, w io.Writer) (taken Taken, err error) {
	server, err := identify(ctx, db)
	if err != nil {
		return Taken{}, err
	}
	t, err := d.tool(ctx, s.Tools, server.Flavor)
	if err != nil {
		return Taken{}, err
	}
	logged, err := dbconn.Variable(ctx, db, "log_bin")
	if err != nil {
		return Taken{}, err
	}
	c, err := newScratch(s, server.Flavor)
	if err != nil {
		return Taken{}, err
	}
	defer func() { err = errors.Join(err, c.remove()) }()
	ends := dumpEnds{to: w}
	args := append([]string{"--defaults-file=" + c.defaults}, dumpArgs(server.Flavor, t, logged == "ON", s.Lock)...)
	if err := (command{tool: t, args: args, env: c.env(), out: &ends}).run(ctx); err != nil {
		return Taken{}, err
	}
	taken, err = ends.taken(server.Flavor, logged == "ON")
	taken.Tool = t.version
	return taken, err
}

// dumpArgs say what is dumped: everything, in a state whose position is known.
// --no-tablespaces leaves out those of NDB, for which PROCESS would be needed.
func dumpArgs(flavor gtid.Flavor, t tool, logged, locked bool) []string {
	args := []string{
		"--all-databases", "--routines", "--events", "--triggers", "--hex-blob", "--flush-privileges", "--no-tablespaces",
		"--comments", "--dump-date", "--default-character-set=utf8mb4", "--max-allowed-packet=1G",
	}
	if locked {
		args = append(args, "--lock-all-tables")
	} else {
		args = append(args, "--single-transaction")
	}
	switch {
	case flavor == gtid.MySQL && logged && t.atLeast(8, 0, 26):
		return append(args, "--set-gtid-purged=AUTO", "--source-data=2")
	case flavor == gtid.MySQL && logged:
		return append(args, "--set-gtid-purged=AUTO", "--master-data=2")
	case flavor == gtid.MySQL:
		return append(args, "--set-gtid-purged=AUTO")
	case logged:
		return append(args, "--master-data=2", "--gtid")
	}
	return args
}

// Unpack gives the statements to o.Load. It leaves dir as it is.
func (dumper) Unpack(ctx context.Context, chain []Stream, _ string, o UnpackOptions) error {
	if len(chain) != 1 {
		return fault.Errorf(fault.VerifyFailed, "a dump has no increments, there are %d", len(chain)-1)
	}
	if o.Load == nil {
		return fault.Usagef("a dump has to be loaded into a server, and there is none")
	}
	id := chain[0].Manifest.ID
	in := &whole{r: chain[0]}
	err := o.Load(ctx, in)
	switch {
	case in.err != nil && !errors.Is(in.err, io.EOF):
		return fmt.Errorf("backup %s: %w", id, in.err) // the rest came of it
	case err != nil:
		return fmt.Errorf("backup %s: load: %w", id, err)
	case in.err == nil:
		return fmt.Errorf("backup %s: load: not all of it was read", id)
	}
	return nil
}
