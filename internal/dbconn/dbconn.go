// Package dbconn holds connections to a target server: which vendor and
// version answers, what its variables are, and what its errors mean.
package dbconn

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/lifeboat-db/lifeboat/internal/gtid"
)

// Server is what a target server says of itself.
type Server struct {
	Flavor   gtid.Flavor
	Version  string // as @@version says it
	Major    int
	Minor    int
	ServerID uint32
}

// AtLeast reports whether the version is major.minor or later.
func (s Server) AtLeast(major, minor int) bool {
	return s.Major > major || s.Major == major && s.Minor >= minor
}

func (s Server) String() string {
	name := "MySQL"
	if s.Flavor == gtid.MariaDB {
		name = "MariaDB"
	}
	v, _, _ := strings.Cut(s.Version, "-")
	return name + " " + v
}

// Config parses a data source name of the Go driver and sets what every
// connection of ours needs: text statements only, whose values the driver puts
// in, and no database of its own.
func Config(dsn string) (*mysql.Config, error) {
	cfg, err := mysql.ParseDSN(dsn)
	if err != nil {
		return nil, fmt.Errorf("target %w", err)
	}
	cfg.DBName = ""
	cfg.MultiStatements = false
	cfg.InterpolateParams = true // never a server-side prepare: see package applier
	cfg.MaxAllowedPacket = 0     // ask the server
	cfg.Loc = time.UTC
	cfg.ParseTime = false // times are text everywhere
	cfg.Logger = &mysql.NopLogger{}
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	if err := cfg.Apply(mysql.Charset("utf8mb4", "")); err != nil {
		return nil, err
	}
	return cfg, nil
}

// Open makes a pool for the configuration. Sessions are prepared by their users.
func Open(cfg *mysql.Config) (*sql.DB, error) {
	c, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, fmt.Errorf("target: %w", err)
	}
	db := sql.OpenDB(c)
	db.SetMaxIdleConns(64)
	return db, nil
}

// Querier is a connection or a pool.
type Querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// Identify asks the server who it is.
func Identify(ctx context.Context, q Querier) (Server, error) {
	var s Server
	err := q.QueryRowContext(ctx, "SELECT @@version, @@server_id").Scan(&s.Version, &s.ServerID)
	if err != nil {
		return s, fmt.Errorf("ask the server's version: %w", err)
	}
	s.Flavor = gtid.MySQL
	switch _, err := Variable(ctx, q, "aria_block_size"); {
	case err == nil || strings.Contains(s.Version, "MariaDB"):
		s.Flavor = gtid.MariaDB
	case !errors.Is(err, ErrNoVariable):
		return s, fmt.Errorf("ask the server's vendor: %w", err)
	}
	parts := strings.SplitN(s.Version, ".", 3)
	if len(parts) < 2 {
		return s, fmt.Errorf("server version %q not understood", s.Version)
	}
	s.Major, _ = strconv.Atoi(parts[0])
	s.Minor, _ = strconv.Atoi(parts[1])
	return s, nil
}

// ServerName is the name under which what is kept of a server is found: its uuid
// on MySQL; MariaDB's servers have none, so their server_id must tell them apart.
func ServerName(ctx context.Context, q Querier, s Server) (string, error) {
	if s.Flavor == gtid.MariaDB {
		return fmt.Sprintf("mariadb-%d", s.ServerID), nil
	}
	uuid, err := Variable(ctx, q, "server_uuid")
	if err != nil {
		return "", fmt.Errorf("ask the server's uuid: %w", err)
	}
	return uuid, nil
}

// ErrNoVariable is the error of a server variable that this server lacks.
var ErrNoVariable = errors.New("no such server variable")

// Variable reads a global server variable as text.
func Variable(ctx context.Context, q Querier, name string) (string, error) {
	var n, v string
	err := q.QueryRowContext(ctx, "SHOW GLOBAL VARIABLES WHERE Variable_name = ?", name).Scan(&n, &v)
	if errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("%w: %s", ErrNoVariable, name)
	}
	return v, err
}

// Pairs reads an answer of names and values, such as that of SHOW GLOBAL VARIABLES and
// SHOW GLOBAL STATUS; NULL is an empty value.
func Pairs(ctx context.Context, q Querier, query string) (pairs map[string]string, err error) {
	rows, err := q.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	pairs = map[string]string{}
	for rows.Next() {
		var name string
		var value sql.NullString
		if err := rows.Scan(&name, &value); err != nil {
			return nil, err
		}
		pairs[name] = value.String
	}
	return pairs, rows.Err()
}

// Class says what an error of the server means for who sent the statement.
type Class int

// The classes of errors.
const (
	Fatal      Class = iota // sending it again gives the same error
	Retry                   // deadlock or lock timeout: roll back, send the transaction again
	Connection              // the connection or the server is gone
	Conflict                // duplicate key or row not found: the data are not what the log expects
	Privilege               // the account may not do this
	Full                    // no space
)

// Server error numbers (both vendors' errmsg files).
const (
	errDupEntry    = 1062
	errKeyNotFound = 1032
	errDupUnknown  = 1586
	errDupKey      = 1022
	errDeadlock    = 1213
	errLockTimeout = 1205
	errDiskFull    = 1021
	errTableFull   = 1114
	errCreateFull  = 3675 // MySQL: a new table's or tablespace's file
	errWrite       = 1026 // these four say in their text why
	errEngine      = 1030
	errFileWrite   = 3
	errFileFull    = 20
)

// Classify tells the class of err.
func Classify(err error) Class {
	var me *mysql.MySQLError
	if !errors.As(err, &me) {
		return classifyLocal(err)
	}
	switch me.Number {
	case errDeadlock, errLockTimeout, 1020: // 1020: MariaDB innodb_snapshot_isolation
		return Retry
	case errDupEntry, errKeyNotFound, errDupUnknown, errDupKey:
		return Conflict
	case 1044, 1045, 1142, 1143, 1227, 1370, 1410, 1419:
		return Privilege
	case errDiskFull, errTableFull, errCreateFull, errFileFull:
		return Full
	case errWrite, errEngine, errFileWrite:
		if strings.Contains(me.Message, "No space left") || strings.Contains(me.Message, "error 28") {
			return Full
		}
		return Fatal
	case 1053, 1077, 1079, 1927, 3169, 4031: // shutdown, killed, disconnected as idle
		return Connection
	default:
		return Fatal
	}
}

// classifyLocal classifies what no server said: the network's and the driver's
// errors mean that the connection is gone, and all others are ours, which a new
// connection would not cure.
func classifyLocal(err error) Class {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return Fatal
	}
	for _, lost := range []error{
		driver.ErrBadConn, sql.ErrConnDone, io.EOF, io.ErrUnexpectedEOF,
		mysql.ErrInvalidConn, mysql.ErrMalformPkt, mysql.ErrPktSync, mysql.ErrPktSyncMul, mysql.ErrBusyBuffer,
		syscall.EPIPE, syscall.ECONNRESET,
	} {
		if errors.Is(err, lost) {
			return Connection
		}
	}
	// Not net.Error: that is what the error of a missing file is, too.
	var network *net.OpError
	if errors.As(err, &network) {
		return Connection
	}
	return Fatal
}

// Number is the server's error number, 0 if err is not the server's.
func Number(err error) uint16 {
	var me *mysql.MySQLError
	if errors.As(err, &me) {
		return me.Number
	}
	return 0
}

// QuoteName quotes an identifier.
func QuoteName(parts ...string) string {
	quoted := make([]string, len(parts))
	for i, p := range parts {
		quoted[i] = "`" + strings.ReplaceAll(p, "`", "``") + "`"
	}
	return strings.Join(quoted, ".")
}
