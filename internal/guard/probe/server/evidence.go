package server

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/lifeboat-db/lifeboat/internal/guard/mysqld"
)

func version(s mysqld.State) string { return s.Flavor.String() + " " + s.Version }

// evidence is the state in words, for rules and for people.
func evidence(s mysqld.State, role, socket string) map[string]string {
	e := map[string]string{
		"role": role, "flavor": s.Flavor.String(), "version": s.Version, "socket": socket, "datadir": s.DataDir,
		"server_id": strconv.FormatUint(uint64(s.ServerID), 10), "read_only": strconv.FormatBool(s.ReadOnly),
		"gtid": s.Executed.String(), "replicas": strconv.Itoa(s.Connected()), "clients": strconv.Itoa(s.Clients),
		"open_transactions": strconv.Itoa(s.OpenTrx), "write_transactions": strconv.Itoa(s.WriteTrx),
		"prepared_xa": strconv.Itoa(s.PreparedXA), "uptime": s.Uptime.String(), "moved": strconv.FormatBool(s.Moved),
	}
	for name, value := range map[string]string{
		"server_uuid": s.ServerUUID, "untracked": s.Untracked, "backup": strings.Join(s.Backups, "; "), "group": s.Group.Name,
		"galera_status": s.Galera.Status,
	} {
		if value != "" {
			e[name] = value
		}
	}
	var sources, replicas []string
	for _, c := range s.Channels {
		sources = append(sources, fmt.Sprintf("%q %s:%s id %s %s receiver %s applier %s lag %d s", c.Name, c.SourceHost, c.SourcePort,
			c.SourceID, c.SourceUUID, c.IO, c.SQL, c.Lag))
	}
	for _, r := range s.Replicas {
		replicas = append(replicas, strings.TrimSpace(fmt.Sprintf("%s %s", r.ServerID, r.UUID)))
	}
	if len(sources) > 0 {
		e["sources"] = strings.Join(sources, "; ")
	}
	if len(replicas) > 0 {
		e["replica_ids"] = strings.Join(replicas, "; ")
	}
	return e
}
