package mysqld

import (
	"errors"
	"fmt"
	"strings"
)

// group asks for group replication. Without the plugin there is none; a plugin
// whose tables say nothing of this member is not an answer.
func (q *questioner) group() error {
	if q.mariadb() {
		return nil
	}
	plugins, err := q.table("SELECT PLUGIN_STATUS status FROM information_schema.PLUGINS WHERE PLUGIN_NAME = 'group_replication'")
	if err != nil {
		return err
	}
	if len(plugins) == 0 || plugins[0]["status"] != "ACTIVE" {
		return nil
	}
	members, err := q.table("SELECT MEMBER_ID, MEMBER_STATE, MEMBER_ROLE FROM performance_schema.replication_group_members")
	if err != nil {
		return err
	}
	q.s.Group = Group{Loaded: true, Name: q.vars["group_replication_group_name"], Size: len(members)}
	return q.s.Group.find(members, q.s.ServerUUID)
}

// find looks for our own line; a server that never joined has one without id.
func (g *Group) find(members []row, uuid string) error {
	for _, m := range members {
		if m["MEMBER_ID"] == uuid || len(members) == 1 && m["MEMBER_ID"] == "" {
			g.State, g.Role = m["MEMBER_STATE"], m["MEMBER_ROLE"]
		}
	}
	if g.State == "" { //check:mysqld-group-state
		return errors.New("the plugin is loaded, but performance_schema.replication_group_members has no line about this server (is performance_schema OFF?)")
	}
	return nil
}

// galera asks for membership; MariaDB has the variables in every build, MySQL
// in none but Percona XtraDB Cluster.
func (q *questioner) galera() (err error) {
	value, there := q.vars["wsrep_on"]
	if !there {
		return nil
	}
	if q.s.Galera.On, err = on("wsrep_on", value); err != nil {
		return err
	}
	status, err := q.pairs("SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_cluster_status', 'wsrep_cluster_size')")
	if err != nil {
		return err
	}
	q.s.Galera.Status, q.s.Galera.Size = status["wsrep_cluster_status"], status["wsrep_cluster_size"]
	q.s.Galera.On = q.s.Galera.On || connected(q.s.Galera, q.vars["wsrep_provider"])
	return nil
}

// connected: with a provider loaded, wsrep_on=OFF only keeps the writes of
// sessions to themselves; the node still takes part.
func connected(g Galera, provider string) bool {
	loaded := provider != "" && !strings.EqualFold(provider, "none")
	return loaded && (g.Status != "Disconnected" || g.Size != "0")
}

// backups looks for the locks of exports that are between two statements, and
// for clones. Evidence only: on MariaDB nothing but statements can be seen.
func (q *questioner) backups() error {
	if ps, err := on("performance_schema", q.vars["performance_schema"]); err != nil || !ps || q.mariadb() {
		return err
	}
	locks, err := q.table("SELECT OBJECT_TYPE t, COUNT(*) n FROM performance_schema.metadata_locks" +
		" WHERE LOCK_DURATION = 'EXPLICIT' AND OBJECT_TYPE IN ('BACKUP LOCK', 'GLOBAL', 'COMMIT') AND LOCK_STATUS = 'GRANTED' GROUP BY OBJECT_TYPE")
	if err != nil {
		return err
	}
	for _, r := range locks {
		q.s.Backups = append(q.s.Backups, fmt.Sprintf("a session holds %s", r["t"]))
	}
	clones, err := q.table("SELECT PLUGIN_STATUS s FROM information_schema.PLUGINS WHERE PLUGIN_NAME = 'clone' AND PLUGIN_STATUS = 'ACTIVE'")
	if err != nil || len(clones) == 0 {
		return err
	}
	running, err := q.table("SELECT STATE FROM performance_schema.clone_status WHERE STATE = 'In Progress'")
	if len(running) > 0 {
		q.s.Backups = append(q.s.Backups, "a clone is in progress")
	}
	return err
}
