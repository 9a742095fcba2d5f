package backup

import (
	"context"
	"io"
	"slices"
	"strings"

	"github.com/lifeboat-db/lifeboat/internal/backup/clone"
	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
)

// Driver takes backups in one way, and unpacks them.
type Driver interface {
	// Name is what manifests call it.
	Name() string

	// Check says what is missing for a backup of this server: the tool, its
	// version, privileges. The error has the next step.
	Check(ctx context.Context, s Source) error

	// Take writes a backup to w, an increment to parent unless that is nil. It
	// returns no error only if the stream is whole. w blocks as long as the
	// repositories are slow.
	Take(ctx context.Context, s Source, parent *Manifest, w io.Writer) (Taken, error)

	// Unpack makes a data directory in dir, which is empty, of a full backup
	// and the increments that follow it. A dump is given to o.Load instead.
	Unpack(ctx context.Context, chain []Stream, dir string, o UnpackOptions) error
}

// Source is the server to be backed up, and how.
type Source struct {
	DSN          string            // data source name of the Go driver
	DefaultsFile string            // option file for the tools; empty: one is made of DSN
	Tools        map[string]string // paths by name: mariadb-backup, mbstream, mysqldump; others are looked up in PATH
	Throttle     int64             // bytes of the stream per second; 0: no limit
	Dir          string            // for small files while it runs; empty: the system's directory of temporary files
	Threads      int               // of mariadb-backup: files copied at once; 0: 1
	Lock         bool              // of a dump: lock all tables for its whole time, so that those without transactions may be in it
}

// Taken says what a driver has taken.
type Taken struct {
	File      string // see Manifest
	Offset    int64
	GTIDs     string
	FromLSN   uint64
	ToLSN     uint64
	DataBytes int64
	Tool      string
	Warnings  []string
	Inexact   bool              // see Manifest
	Until     *Until            // see Manifest
	Settings  map[string]string // see Manifest: what the driver knows better
}

// Stream is one backup of a chain, to be read once.
type Stream struct {
	Manifest Manifest
	io.Reader
}

// UnpackOptions say how to unpack.
type UnpackOptions struct {
	Tools   map[string]string // as in Source
	Dir     string            // on the filesystem of the data directory, for increments; empty: where that is
	Workers int               // parts fetched ahead, each in memory; 0: 4
	Threads int               // of mbstream: files written at once; 0: 1
	Memory  int64             // bytes for the tool to apply the redo log in; 0: 128 MiB

	// Load runs SQL statements on a running server, which is empty: those of a
	// dump. Server and client need max_allowed_packet=1G, the server no
	// transactions of its own, and if a dump of MySQL has GTIDs, they are those
	// of the server afterwards.
	Load func(ctx context.Context, sql io.Reader) error

	Drivers []Driver // nil: Drivers()
}

// Names of drivers.
const (
	MariaDBBackup = "mariadb-backup"
	Clone         = "clone"
	Dump          = "dump"
)

// Drivers are those that there are.
func Drivers() []Driver { return []Driver{mariaBackup{}, cloner{}, dumper{}} }

// suits says which drivers are right for a server, the best first.
func suits(s dbconn.Server) []string {
	switch {
	case s.Flavor == gtid.MariaDB:
		return []string{MariaDBBackup, Dump}
	case clone.Supports(s) == nil:
		return []string{Clone, Dump}
	default:
		return []string{Dump}
	}
}

// choose finds a driver by its name, or the best one for a server.
func choose(drivers []Driver, name string, server dbconn.Server) (Driver, error) {
	wanted := []string{name}
	if name == "" {
		wanted = suits(server)
	}
	for _, w := range wanted {
		if d := find(drivers, w); d != nil {
			return d, nil
		}
	}
	return nil, fault.Usagef("driver %s: there is none; known are %s", strings.Join(wanted, ", "), strings.Join(names(drivers), ", "))
}

func find(drivers []Driver, name string) Driver {
	i := slices.IndexFunc(drivers, func(d Driver) bool { return d.Name() == name })
	if i < 0 {
		return nil
	}
	return drivers[i]
}

func names(drivers []Driver) (list []string) {
	for _, d := range drivers {
		list = append(list, d.Name())
	}
	return list
}

// origin is what a server says of itself that manifests need.
type origin struct {
	dbconn.Server
	name string // see Manifest.Server
}

// identify asks a server who it is.
func identify(ctx context.Context, q dbconn.Querier) (origin, error) {
	s, err := dbconn.Identify(ctx, q)
	if err != nil {
		return origin{}, denied(err)
	}
	name, err := dbconn.ServerName(ctx, q, s)
	return origin{Server: s, name: name}, err
}

// denied gives an error of the connection its class and the next step.
func denied(err error) error {
	switch dbconn.Classify(err) {
	case dbconn.Privilege:
		return fault.New(fault.Storage, err, "check user and password, and what the account may do")
	case dbconn.Connection:
		return fault.New(fault.Storage, err, "is the server running, and is its address right?")
	default:
		return err
	}
}
