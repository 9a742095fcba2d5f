package mysqld

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
)

// Ask asks a server what it is. Every error means that it is not known.
func Ask(ctx context.Context, t Target) (State, error) {
	l := &link{target: t}
	ctx, cancel := context.WithTimeout(ctx, l.timeout())
	defer cancel()
	start := time.Now()
	s, err := l.ask(ctx, false)
	if errors.Is(err, ErrAccess) {
		// REQUIRE SSL looks like a wrong password (sql/auth/sql_authentication.cc).
		if tls, tlsErr := l.ask(ctx, true); tlsErr == nil {
			s, err = tls, nil
		}
	}
	if err != nil {
		return State{}, fmt.Errorf("ask the server at %s: %w", t.Socket, err)
	}
	s.PID, s.Took = l.pid, time.Since(start)
	return s, nil
}

func (l *link) ask(ctx context.Context, tls bool) (s State, err error) {
	// The driver (1.10.1, readHandshakePacket) panics at a greeting that is
	// none, such as that of MySQL's X plugin. All its reading is done by this
	// goroutine.
	defer func() {
		if p := recover(); p != nil { //check:mysqld-driver-panic
			s, err = State{}, fmt.Errorf("%w: %v", ErrProtocol, p)
		}
	}()
	cfg, err := l.config(tls)
	if err != nil {
		return State{}, err
	}
	db, err := dbconn.Open(cfg)
	if err != nil {
		return State{}, err
	}
	defer func() { _ = db.Close() }()
	q := &questioner{ctx: ctx}
	for i := range q.own { // the second is the canary
		if q.conns[i], err = db.Conn(ctx); err != nil {
			return State{}, explain(ctx, fmt.Errorf("connect: %w", err))
		}
		defer func(c *sql.Conn) { _ = c.Close() }(q.conns[i])
		if err := q.conns[i].QueryRowContext(ctx, "SELECT CONNECTION_ID()").Scan(&q.own[i]); err != nil {
			return State{}, explain(ctx, fmt.Errorf("connection id: %w", err))
		}
	}
	if err := q.all(); err != nil {
		return State{}, explain(ctx, err)
	}
	return q.s, nil
}

// questioner fills a State step by step, over its first connection.
type questioner struct {
	ctx   context.Context //nolint:containedctx // lives for one Ask
	conns [2]*sql.Conn
	own   [2]string // connection ids
	srv   dbconn.Server
	vars  map[string]string // server variables, lower case names
	s     State
}

func (q *questioner) all() error {
	for _, step := range []struct {
		name string
		ask  func() error
	}{
		{"version", q.version},
		{"grants", q.grants},
		{"variables", q.variables},
		{"GTIDs", q.gtids},
		{"writes", func() error { return q.moved(false) }},
		{"replication channels", q.channels},
		{"replicas", q.replicas},
		{"sessions", q.sessions},
		{"prepared XA transactions", q.prepared},
		{"group replication", q.group},
		{"Galera", q.galera},
		{"backups", q.backups},
		{"writes", func() error { return q.moved(true) }},
	} {
		if err := step.ask(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

func (q *questioner) mariadb() bool { return q.srv.Flavor == gtid.MariaDB }

func (q *questioner) version() (err error) {
	if q.srv, err = dbconn.Identify(q.ctx, q.conns[0]); err != nil {
		return err
	}
	q.s.Flavor, q.s.Version, q.s.ServerID = q.srv.Flavor, q.srv.Version, q.srv.ServerID
	return knownVersion(q.srv)
}

// knownVersion refuses servers whose statements and privileges have other
// names, or that hide things in ways nobody has tried.
func knownVersion(s dbconn.Server) error {
	known := s.AtLeast(8, 0) && s.Major < 10
	if s.Flavor == gtid.MariaDB {
		known = s.AtLeast(10, 5) && s.Major < 13
	}
	if !known { //check:mysqld-version
		return fmt.Errorf("%w: %s", ErrVersion, s.Version)
	}
	return nil
}

func (q *questioner) grants() error {
	account, err := q.value("SELECT CURRENT_USER()")
	if err != nil {
		return err
	}
	rows, err := q.table("SHOW GRANTS")
	if err != nil {
		return err
	}
	var lines []string
	for _, row := range rows {
		for _, line := range row {
			lines = append(lines, line)
		}
	}
	return CheckGrants(q.srv.Flavor, account, lines)
}

func (q *questioner) variables() (err error) {
	if q.vars, err = q.pairs("SHOW GLOBAL VARIABLES WHERE Variable_name IN ('server_uuid', 'datadir', 'log_bin_index'," +
		" 'read_only', 'super_read_only', 'log_bin', 'log_replica_updates', 'log_slave_updates', 'gtid_mode'," +
		" 'performance_schema', 'wsrep_on', 'wsrep_provider', 'group_replication_group_name')"); err != nil {
		return err
	}
	for name, into := range map[string]*bool{"read_only": &q.s.ReadOnly, "log_bin": &q.s.LogBin, "super_read_only": &q.s.SuperReadOnly} {
		if name == "super_read_only" && !q.s.needsSuper() {
			continue
		}
		if *into, err = on(name, q.vars[name]); err != nil {
			return err
		}
	}
	updates := q.vars["log_replica_updates"]
	if updates == "" {
		updates = q.vars["log_slave_updates"]
	}
	if q.s.LogUpdates, err = on("log_replica_updates", updates); err != nil {
		return err
	}
	q.s.ServerUUID, q.s.DataDir, q.s.LogIndex = q.vars["server_uuid"], q.vars["datadir"], q.vars["log_bin_index"]
	return nil
}

// needsSuper reports whether the vendor has super_read_only.
func (s State) needsSuper() bool { return s.Flavor != gtid.MariaDB }

// on reads a switch. MariaDB from 12 on has read_only=NO_LOCK and
// NO_LOCK_NO_ADMIN, which hold back as much as ON.
func on(name, value string) (bool, error) {
	switch strings.ToUpper(value) {
	case "ON", "1", "NO_LOCK", "NO_LOCK_NO_ADMIN":
		return true, nil
	case "OFF", "0":
		return false, nil
	}
	return false, fmt.Errorf("%s is %q, which is not understood", name, value) // and not: off
}

func (q *questioner) gtids() (err error) {
	q.s.Untracked = untracked(q.srv.Flavor, q.s.LogBin, q.vars["gtid_mode"])
	if !q.mariadb() {
		text, err := q.value("SELECT @@GLOBAL.gtid_executed") // SHOW VARIABLES would cut it off
		if err != nil {
			return err
		}
		q.s.Executed, err = gtid.ParseSet(gtid.MySQL, text)
		return err
	}
	rows, err := q.table("SELECT @@GLOBAL.gtid_current_pos c, @@GLOBAL.gtid_binlog_pos b, @@GLOBAL.gtid_slave_pos s, @@GLOBAL.gtid_binlog_state l")
	if err != nil || len(rows) != 1 {
		return fmt.Errorf("%d rows: %w", len(rows), err)
	}
	if q.s.BinlogState, err = gtid.ParseList(rows[0]["l"]); err != nil {
		return err
	}
	q.s.Executed, err = Furthest(rows[0]["c"], rows[0]["b"], rows[0]["s"])
	return err
}

// Furthest unites MariaDB positions: of each domain the greatest number.
func Furthest(positions ...string) (set gtid.Set, err error) {
	for _, text := range positions {
		ids, err := gtid.ParseList(text)
		if err != nil {
			return gtid.Set{}, err
		}
		for _, id := range ids {
			if err := set.Add(id); err != nil {
				return gtid.Set{}, err
			}
		}
	}
	return set, nil
}

// untracked says why a server may hold transactions that no GTID names.
func untracked(f gtid.Flavor, logBin bool, mode string) string {
	switch {
	case f == gtid.MySQL && mode != "ON":
		return "gtid_mode is " + mode
	case !logBin:
		return "log_bin is OFF: what clients write here gets no GTID"
	}
	return ""
}

// moved compares counters at the beginning and at the end.
func (q *questioner) moved(again bool) error {
	status, err := q.pairs("SHOW GLOBAL STATUS WHERE Variable_name IN ('Uptime', 'Innodb_rows_inserted', 'Innodb_rows_updated'," +
		" 'Innodb_rows_deleted', 'Innodb_redo_log_current_lsn', 'Rpl_semi_sync_source_clients', 'Rpl_semi_sync_master_clients')")
	if err != nil {
		return err
	}
	if q.s.LogBin {
		rows, err := q.table(q.binlogStatus())
		if err != nil {
			return err
		}
		for _, row := range rows {
			status["log"] = row["File"] + ":" + row["Position"]
			q.s.LogFilter = filter(row, "Binlog_")
		}
		if q.s.LogFilter != "" && q.s.Untracked == "" { //check:mysqld-log-filter
			q.s.Untracked = "not everything is logged: " + q.s.LogFilter
		}
	}
	seconds, err := strconv.ParseInt(status["uptime"], 10, 64)
	if err != nil {
		return err
	}
	q.s.Uptime = time.Duration(seconds) * time.Second
	q.s.SemiSyncSent, _ = strconv.Atoi(status["rpl_semi_sync_source_clients"] + status["rpl_semi_sync_master_clients"])
	for _, name := range q.counters() {
		if again && status[name] != q.vars["status:"+name] {
			q.s.Moved = true
		}
		q.vars["status:"+name] = status[name]
	}
	return nil
}

// counters are what writes move. On MySQL our own questions count as rows that
// were written, to temporary tables; without a binary log the redo log tells.
func (q *questioner) counters() []string {
	switch {
	case q.mariadb():
		return []string{"innodb_rows_inserted", "innodb_rows_updated", "innodb_rows_deleted", "log"}
	case q.s.LogBin:
		return []string{"log"}
	}
	return []string{"innodb_redo_log_current_lsn"}
}

func (q *questioner) binlogStatus() string {
	switch {
	case q.mariadb():
		return "SHOW MASTER STATUS"
	case q.srv.AtLeast(8, 2):
		return "SHOW BINARY LOG STATUS"
	}
	return "SHOW MASTER STATUS"
}
