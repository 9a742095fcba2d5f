package mysqld

import (
	"time"

	"github.com/lifeboat-db/lifeboat/internal/gtid"
)

// State is what one server has said of itself, within one Ask. The zero value
// says nothing: Role does not take it for a server.
type State struct {
	Flavor  gtid.Flavor
	Version string
	PID     int // of the process that listens, from SO_PEERCRED, in our PID namespace
	// ServerUUID is MySQL's server_uuid. MariaDB has none (its server_uid is
	// made of hardware address and port).
	ServerUUID string
	ServerID   uint32
	DataDir    string // as the server names it, in its mount namespace
	LogIndex   string // index file of the binary log, likewise, or relative to DataDir; "": none is named
	Uptime     time.Duration

	ReadOnly      bool
	SuperReadOnly bool // always false on MariaDB
	LogBin        bool
	LogUpdates    bool // log_replica_updates, log_slave_updates
	SemiSyncSent  int  // semi-synchronous replicas that are connected

	// LogFilter is binlog_do_db and binlog_ignore_db: what they leave out gets no
	// GTID, and reaches no replica.
	LogFilter string `json:",omitzero"`

	Executed    gtid.Set
	BinlogState []gtid.ID // MariaDB: gtid_binlog_state, the last of each (domain, server)
	Untracked   string    // why Executed may miss transactions; "" if it does not

	Channels []Channel // replication from somewhere, running or not
	Replicas []Replica // registered with us
	Dumps    int       // sessions that read our binary log: replicas and CDC readers

	Clients    int // sessions that are neither ours nor the server's nor a Dump
	OpenTrx    int // InnoDB transactions of clients, those that only read included
	WriteTrx   int // those of them that hold locks or have changed rows
	PreparedXA int // prepared XA transactions, of clients or replicated

	Group  Group
	Galera Galera
	// Backups says by what a running export, backup or clone was noticed.
	Backups []string
	// Moved: rows were written or the binary log grew while we asked.
	Moved bool
	Took  time.Duration
}

// Connected is how many others read from this server: readers of its log, or
// registered replicas, whichever are more.
func (s State) Connected() int { return max(s.Dumps, len(s.Replicas)) }

// Channel is one replication channel (MariaDB: connection) into this server.
type Channel struct {
	Name       string
	IO, SQL    string // "Yes", "No", "Connecting", ..., as the server says
	SourceHost string
	SourcePort string
	SourceUUID string // MySQL
	SourceID   string
	Lag        int64 // seconds behind the source, -1: unknown
	Delay      string
	Retrieved  string // MySQL: Retrieved_Gtid_Set; MariaDB: Gtid_IO_Pos
	Error      string
	Filter     string `json:",omitzero"` // what its filters take or leave out; "": it has none
}

// Running reports whether both threads run, and the receiver is connected.
func (c Channel) Running() bool { return c.IO == "Yes" && c.SQL == "Yes" }

// Replica is one server that has registered with this one.
type Replica struct {
	ServerID string
	UUID     string // MySQL
	Host     string
	Port     string
}

// Group is membership in MySQL group replication.
type Group struct {
	Loaded bool   // the plugin is active
	Name   string // group_replication_group_name
	State  string // own member state, "OFFLINE" where it has left
	Role   string
	Size   int
}

// Member reports whether the server is or is set up to be a group's member.
func (g Group) Member() bool { return g.Loaded && (g.Name != "" || g.State != "OFFLINE") }

// Galera is membership in a Galera cluster.
type Galera struct {
	On     bool
	Status string // wsrep_cluster_status: Primary, non-Primary, Disconnected
	Size   string
}
