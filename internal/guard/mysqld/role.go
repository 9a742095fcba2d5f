package mysqld

import (
	"fmt"

	"github.com/lifeboat-db/lifeboat/internal/guard/fact"
)

// The roles. Only a Replica is one that a set can do without.
const (
	RoleReplica         = "replica"
	RoleSource          = "source"
	RoleStandalone      = "standalone"
	RoleGroupMember     = "group-member"
	RoleGaleraNode      = "galera-node"
	RoleIntermediate    = "intermediate"
	RoleWritableReplica = "writable-replica"
	RoleDetachedReplica = "detached-replica"
)

// Role decides what a server is. ServerReplica is returned only for what is
// proven to be a read-only replica that follows its source now and that nobody
// follows. A replica whose threads do not run, or whose receiver looks for its
// source, may be the last to have what it has: it counts as a source. How far a
// running replica lags is not decided here; the interlock compares GTID sets.
func Role(s State) (kind fact.Kind, role, why string) {
	if s.Flavor == 0 || s.PID == 0 { //check:role-nobody-asked
		return fact.ServerUnproven, "", "no server has answered"
	}
	if s.Group.Member() { //check:role-group-member
		return fact.ServerSource, RoleGroupMember, fmt.Sprintf("member of replication group %q, state %s %s", s.Group.Name, s.Group.State, s.Group.Role)
	}
	if s.Galera.On { //check:role-galera-node
		return fact.ServerSource, RoleGaleraNode, fmt.Sprintf("node of a Galera cluster of %s, status %s", s.Galera.Size, s.Galera.Status)
	}
	if len(s.Channels) == 0 { //check:role-no-channel
		if s.Connected() > 0 {
			return fact.ServerSource, RoleSource, fmt.Sprintf("%d read its binary log", s.Connected())
		}
		return fact.ServerSource, RoleStandalone, "it replicates from nobody, and nobody from it: its data are here only"
	}
	if s.Connected() > 0 { //check:role-intermediate
		return fact.ServerSource, RoleIntermediate, fmt.Sprintf("a replica from which %d others read", s.Connected())
	}
	if s.SemiSyncSent > 0 { //check:role-semi-sync-clients
		return fact.ServerSource, RoleIntermediate, fmt.Sprintf("%d semi-synchronous replicas are connected", s.SemiSyncSent)
	}
	if c := stopped(s.Channels); c != nil { //check:role-threads-running
		return fact.ServerSource, RoleDetachedReplica, fmt.Sprintf("channel %q from %s: receiver %s, applier %s %s",
			c.Name, c.SourceHost, c.IO, c.SQL, c.Error)
	}
	return writable(s)
}

func stopped(channels []Channel) *Channel {
	for i := range channels {
		if !channels[i].Running() { //check:role-every-channel
			return &channels[i]
		}
	}
	return nil
}

func writable(s State) (kind fact.Kind, role, why string) {
	if !s.ReadOnly { //check:role-read-only
		return fact.ServerSource, RoleWritableReplica, "read_only is OFF: it may have writes of its own"
	}
	if s.needsSuper() && !s.SuperReadOnly { //check:role-super-read-only
		return fact.ServerSource, RoleWritableReplica, "super_read_only is OFF: administrators may write to it"
	}
	if s.WriteTrx > 0 { //check:role-write-transactions
		return fact.ServerSource, RoleWritableReplica, fmt.Sprintf("%d open transactions of clients hold locks or have changed rows", s.WriteTrx)
	}
	if s.PreparedXA > 0 { //check:role-prepared-xa
		return fact.ServerSource, RoleWritableReplica, fmt.Sprintf("%d prepared XA transactions: whether they are replicated ones cannot be told", s.PreparedXA)
	}
	return fact.ServerReplica, RoleReplica, fmt.Sprintf("a read-only replica of %s, %s behind, that nobody reads from", s.Channels[0].SourceHost, lag(s.Channels))
}

func lag(channels []Channel) string {
	most := int64(0)
	for _, c := range channels {
		if c.Lag < 0 {
			return "an unknown time"
		}
		most = max(most, c.Lag)
	}
	return fmt.Sprintf("%d s", most)
}
