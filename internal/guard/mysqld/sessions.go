package mysqld

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// channels asks for the replication into this server.
func (q *questioner) channels() error {
	query := "SHOW REPLICA STATUS"
	if q.mariadb() {
		query = "SHOW ALL SLAVES STATUS"
	}
	rows, err := q.table(query)
	if err != nil {
		return err
	}
	for _, r := range rows {
		c, err := channel(r)
		if err != nil {
			return err
		}
		q.s.Channels = append(q.s.Channels, c)
	}
	return nil
}

func channel(r row) (c Channel, err error) {
	if c.IO, err = first(r, "Replica_IO_Running", "Slave_IO_Running"); err != nil {
		return c, err
	}
	if c.SQL, err = first(r, "Replica_SQL_Running", "Slave_SQL_Running"); err != nil {
		return c, err
	}
	optional := func(names ...string) string { v, _ := first(r, names...); return v }
	c.Name = optional("Channel_Name", "Connection_name")
	c.SourceHost, c.SourcePort = optional("Source_Host", "Master_Host"), optional("Source_Port", "Master_Port")
	c.SourceUUID, c.SourceID = r["Source_UUID"], optional("Source_Server_Id", "Master_Server_Id")
	c.Filter = filter(r, "Replicate_")
	c.Retrieved, c.Delay = optional("Retrieved_Gtid_Set", "Gtid_IO_Pos"), r["SQL_Delay"]
	c.Error = strings.TrimSpace(r["Last_IO_Error"] + " " + r["Last_SQL_Error"])
	if c.Lag, err = strconv.ParseInt(optional("Seconds_Behind_Source", "Seconds_Behind_Master"), 10, 64); err != nil {
		c.Lag = -1 // NULL: not known
	}
	return c, nil
}

// filter lists the columns of an answer that say what a filter takes or leaves
// out: their names begin with a word, and are empty where there is no filter.
func filter(r row, word string) string {
	var list []string
	for name, value := range r {
		if strings.HasPrefix(name, word) && value != "" {
			list = append(list, name+"="+value)
		}
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// replicas asks who has registered. MariaDB answers SHOW REPLICAS with 1064.
func (q *questioner) replicas() error {
	query := "SHOW REPLICAS"
	if q.mariadb() {
		query = "SHOW REPLICA HOSTS"
	}
	rows, err := q.table(query)
	if err != nil {
		return err
	}
	for _, r := range rows {
		id, err := first(r, "Server_Id", "Server_id")
		if err != nil {
			return err
		}
		q.s.Replicas = append(q.s.Replicas, Replica{ServerID: id, UUID: r["Replica_UUID"], Host: r["Host"], Port: r["Port"]})
	}
	return nil
}

// session is one line of SHOW PROCESSLIST.
type session struct {
	id      string
	user    string
	command string
	info    string // the first 100 characters
}

// sessions counts who is connected. Connections come and go between the two
// questions, so a list that seems too short is asked for again.
func (q *questioner) sessions() error {
	var list []session
	for attempt := 1; ; attempt++ {
		status, err := q.pairs("SHOW GLOBAL STATUS WHERE Variable_name = 'Threads_connected'")
		if err != nil {
			return err
		}
		connected, err := strconv.Atoi(status["threads_connected"])
		if err != nil {
			return err
		}
		if list, err = q.processlist(); err != nil {
			return err
		}
		if err = complete(list, q.own[:], connected); err == nil {
			break
		}
		if attempt == 6 {
			return err
		}
		time.Sleep(time.Duration(attempt) * 20 * time.Millisecond) // one that logs in or leaves takes a moment
	}
	q.s.Dumps, q.s.Clients = count(list, q.own[:])
	q.s.Backups = append(q.s.Backups, exports(list)...)
	return q.transactions(list)
}

// stale is how old INNODB_TRX may be. A transaction of an applier that has just
// ended looks like a client's, so that a second look decides.
const stale = 120 * time.Millisecond

func (q *questioner) processlist() (list []session, err error) {
	rows, err := q.table("SHOW PROCESSLIST")
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		id, err := first(r, "Id")
		if err != nil {
			return nil, err
		}
		list = append(list, session{id: id, user: r["User"], command: r["Command"], info: r["Info"]})
	}
	return list, nil
}

// system reports whether a session is none of a client's: the server's own
// threads have no connection and do not count in Threads_connected.
func (s session) system() bool {
	return s.user == "system user" || s.user == "event_scheduler" && s.command == "Daemon"
}

func (s session) dump() bool { return strings.HasPrefix(s.command, "Binlog Dump") }

// complete checks that a list of sessions has our own connections and at least
// as many as the server counts.
func complete(list []session, own []string, connected int) error {
	visible := 0
	for _, s := range list {
		if !s.system() {
			visible++
		}
	}
	for _, id := range own {
		if !slices.ContainsFunc(list, func(s session) bool { return s.id == id }) { //check:mysqld-canary
			return fmt.Errorf("%w: our own connection %s is not in it", ErrHidden, id)
		}
	}
	if visible < connected { //check:mysqld-threads-connected
		return fmt.Errorf("%w: %d sessions of the %d that the server counts", ErrHidden, visible, connected)
	}
	return nil
}

func count(list []session, own []string) (dumps, clients int) {
	for _, s := range list {
		switch {
		case s.dump():
			dumps++
		case !s.system() && !slices.Contains(own, s.id):
			clients++
		}
	}
	return dumps, clients
}

// exports finds exports by their statements: mysqldump's, mydumper's, backups'.
func exports(list []session) (found []string) {
	for _, s := range list {
		info := strings.ToUpper(strings.TrimSpace(s.info))
		for _, word := range []string{"SELECT /*!40001 SQL_NO_CACHE */", "BACKUP STAGE", "BACKUP LOCK", "LOCK INSTANCE FOR BACKUP", "CLONE ", "FLUSH TABLES WITH READ LOCK"} {
			if strings.HasPrefix(info, word) {
				found = append(found, "a session runs "+word)
			}
		}
	}
	return found
}

// transactions asks InnoDB. One of a thread that is not the server's own is a
// client's, and so is one without a thread (recovered or prepared).
func (q *questioner) transactions(list []session) error {
	for look := 1; ; look++ {
		rows, err := q.table("SELECT trx_mysql_thread_id id, trx_rows_modified modified, trx_lock_structs locks FROM information_schema.INNODB_TRX")
		if err != nil {
			return err
		}
		q.s.OpenTrx, q.s.WriteTrx = clientTransactions(rows, list)
		if q.s.WriteTrx == 0 || look == 2 {
			return nil
		}
		select {
		case <-q.ctx.Done():
			return q.ctx.Err()
		case <-time.After(stale):
		}
		if list, err = q.processlist(); err != nil {
			return err
		}
	}
}

func clientTransactions(rows []row, list []session) (open, write int) {
	for _, r := range rows {
		if slices.ContainsFunc(list, func(s session) bool { return s.id == r["id"] && s.system() }) {
			continue
		}
		open++
		if r["modified"] != "0" || r["locks"] != "0" { //check:mysqld-write-transaction
			write++
		}
	}
	return open, write
}

func (q *questioner) prepared() error {
	rows, err := q.table("XA RECOVER")
	q.s.PreparedXA = len(rows)
	return err
}
