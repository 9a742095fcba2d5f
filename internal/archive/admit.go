package archive

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/stream"
	"github.com/lifeboat-db/lifeboat/internal/txn"
)

// Admission asks whether a server belongs to a set, before anything of it is
// stored there.
type Admission struct {
	Repository *repository.Repository
	Set        string
	DSN        string
	Asked      bool // somebody says that it does: it is written down without proof
	LookOnly   bool // nothing is written
}

// Admit says why a server does not belong to a set, or cannot be shown to: the
// error is fault.Refused then. One that does and is new is written down. The
// first server of an empty set makes it its own.
//
// A server of MySQL is known by its uuid. A new one belongs to the set if it has
// executed a transaction of a member, or a member one of its, or if one
// replicates from the other. Servers of MariaDB have a number only, which is no
// name, and their GTIDs consist of such numbers. So a known one has to run
// where it ran, or to have a file that is archived, with the same ID; a new one
// needs transactions in its log that are archived of a member: of the same
// GTIDs, committed at the same time.
func Admit(ctx context.Context, a Admission) error {
	id, err := identify(ctx, a.DSN)
	if err != nil {
		return err
	}
	for {
		members, err := LoadMembers(ctx, a.Repository, a.Set)
		if err != nil {
			return err
		}
		if members.Known() {
			return a.enter(ctx, id, members)
		}
		// Whoever claims it reads the records again: another may have been faster.
		if again, err := a.claim(ctx, id); err != nil || !again {
			return err
		}
	}
}

// claim makes an empty set the server's own, and writes down what has been in
// one that is older than the records. Then they are to be read again.
func (a Admission) claim(ctx context.Context, id identity) (again bool, err error) {
	before, err := serversBefore(ctx, a.Repository, a.Set)
	if err != nil {
		return false, err
	}
	r := id.record(howFirst)
	if len(before) > 0 {
		r = record{Servers: before, How: howBefore, Since: time.Now().UTC()}
	}
	switch {
	case !a.LookOnly:
		return true, r.put(ctx, a.Repository, a.Set)
	case len(before) > 0:
		return false, a.enter(ctx, id, Members{records: []record{r}})
	}
	return false, nil
}

// enter lets a server into a set that has members.
func (a Admission) enter(ctx context.Context, id identity, members Members) (err error) {
	how := members.judge(id)
	var why error
	if how == "" {
		how, why, err = a.proof(ctx, id, members)
		if err != nil {
			return err
		}
	}
	if how == "" && a.Asked {
		how = howAsked
	}
	switch {
	case how == "":
		return a.refusal(id, members, why)
	case how == howBefore || a.LookOnly:
		return nil
	}
	return id.record(how).put(ctx, a.Repository, a.Set)
}

func (a Admission) refusal(id identity, members Members, why error) error {
	text := fmt.Sprintf("%s is no member of set %s, and shares no history with it", id.Name, a.Set)
	if len(members.of(id.Name)) > 0 {
		text = fmt.Sprintf("set %s has a server %s, but it cannot be shown that it is this one (%s): that number has other servers, too", a.Set, id.Name, id.Place)
	}
	err := fmt.Errorf("archive: %s: %s", a.Repository, text)
	if why != nil {
		err = fmt.Errorf("%w: %w", err, why)
	}
	return fault.New(fault.Refused, err, "is it the right set, and the right repository? if so, let it in once: --admit and the server's name")
}

// identify asks a server who it is.
func identify(ctx context.Context, dsn string) (id identity, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	err = withServer(ctx, dsn, func(db *sql.DB, who dbconn.Server) error {
		id.Flavor = who.Flavor
		if id.Name, err = dbconn.ServerName(ctx, db, who); err != nil {
			return fmt.Errorf("archive: %w", err)
		}
		if who.Flavor == gtid.MariaDB {
			return id.askMariaDB(ctx, db)
		}
		return id.askMySQL(ctx, db, who)
	})
	return id, err
}

// askMariaDB asks where it runs. server_uid (MariaDB 10.11.9) is a hash of
// network address and port.
func (id *identity) askMariaDB(ctx context.Context, q dbconn.Querier) error {
	for _, name := range []string{"hostname", "port", "datadir", "server_uid"} {
		value, err := dbconn.Variable(ctx, q, name)
		if err != nil && !errors.Is(err, dbconn.ErrNoVariable) {
			return fmt.Errorf("archive: ask where the server runs: %w", err)
		}
		if id.Place != "" {
			id.Place += " "
		}
		id.Place += value
	}
	var at string
	if err := q.QueryRowContext(ctx, "SELECT @@GLOBAL.gtid_binlog_pos").Scan(&at); err != nil {
		return fmt.Errorf("archive: ask what the server has logged: %w", err)
	}
	var err error
	if id.Reached, err = gtid.ParseSet(gtid.MariaDB, at); err != nil {
		return fmt.Errorf("archive: what the server has logged: %w", err)
	}
	return nil
}

// askMySQL asks whose transactions it has, and with whom it replicates.
func (id *identity) askMySQL(ctx context.Context, q dbconn.Querier, who dbconn.Server) error {
	var text string
	if err := q.QueryRowContext(ctx, "SELECT @@GLOBAL.gtid_executed").Scan(&text); err != nil {
		return fmt.Errorf("archive: ask what the server has executed: %w", err)
	}
	executed, err := gtid.ParseSet(gtid.MySQL, text)
	if err != nil {
		return fmt.Errorf("archive: what the server has executed: %w", err)
	}
	id.Executed = uuids(executed)
	channels, err := replication(ctx, q, who)
	if err != nil && !Denied(err) { // without the privilege there is less to go by
		return err
	}
	for _, c := range channels {
		if c.source != "" {
			id.Sources = append(id.Sources, c.source)
		}
	}
	id.Replicas, err = replicasOf(ctx, q, who)
	return err
}

// uuids are the servers whose transactions are in a set of MySQL.
func uuids(set gtid.Set) (list []string) {
	for _, head := range set.Heads() {
		uuid, _, _ := strings.Cut(head.String(), ":")
		list = append(list, uuid)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// replicasOf are the uuids of replicas that are connected; none if the account
// may not ask (it takes REPLICATION SLAVE, which only who archives needs).
func replicasOf(ctx context.Context, q dbconn.Querier, who dbconn.Server) (list []string, err error) {
	question := "SHOW REPLICAS"
	if !who.AtLeast(8, 4) {
		question = "SHOW SLAVE HOSTS"
	}
	rows, err := dbconn.Records(ctx, q, question)
	if Denied(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	for _, said := range rows {
		if uuid := cmp.Or(said["Replica_UUID"], said["Slave_UUID"]); uuid != "" {
			list = append(list, uuid)
		}
	}
	return list, nil
}

// Bounds of a proof: files of a log that are compared, and those that are looked
// at for it, each by a connection.
const (
	maxFiles  = 4
	maxLooked = 32
)

// proof looks at what is archived: how a server belongs to a set by it, or why
// that cannot be shown.
func (a Admission) proof(ctx context.Context, id identity, members Members) (how string, why, err error) {
	logs, err := Load(ctx, a.Repository, a.Set)
	if err != nil {
		return "", nil, err
	}
	if id.Flavor == gtid.MySQL {
		how, err = archivedOf(id.Name, logs)
		return how, nil, err
	}
	known := members.of(id.Name)
	own := slices.IndexFunc(logs, func(l Log) bool { return l.Server == id.Name })
	bare := len(known) > 0 && !slices.ContainsFunc(known, func(r record) bool { return r.Place != "" })
	if bare && own < 0 {
		return howLog, nil, nil // only backups of before: nothing could be compared
	}
	if len(known) > 0 {
		if own < 0 {
			return "", errors.New("nothing of its log is archived"), nil
		}
		how, why, err = a.sameLog(ctx, id, logs[own])
	} else {
		how, why, err = a.sameHistory(ctx, id, logs)
	}
	switch {
	case bare && Denied(err):
		return howBefore, nil, nil // as before; the next archive run, which may read the log, writes it down
	case Denied(err):
		return "", fmt.Errorf("its log cannot be compared: the account needs REPLICATION SLAVE: %w", err), nil
	}
	return how, why, err
}

// archivedOf finds transactions of a server of MySQL in the logs of members.
func archivedOf(server string, logs []Log) (how string, err error) {
	for _, l := range logs {
		if l.Stranger || len(l.Files) == 0 {
			continue
		}
		reached, err := l.Files[len(l.Files)-1].reach()
		if err != nil {
			return "", err
		}
		if reached.Flavor() == gtid.MySQL && slices.Contains(uuids(reached), server) {
			return howHistory, nil
		}
	}
	return "", nil
}

// sameLog looks for a file of an archived log on the server: one of the same ID,
// with the same transactions. The ID alone is not enough: servers that one
// program has made have begun their logs within the same second.
func (a Admission) sameLog(ctx context.Context, id identity, l Log) (how string, why, err error) {
	s, err := Ask(ctx, a.DSN)
	if err != nil {
		return "", nil, err
	}
	tried := 0
	for i := len(l.Files) - 1; i >= 0 && tried < maxFiles; i-- {
		f := l.Files[i]
		if !slices.ContainsFunc(s.files, func(there sourceFile) bool { return there.Name == f.File }) {
			continue
		}
		tried++
		switch there, err := fileID(ctx, a.DSN, f.File); {
		case errors.Is(err, stream.ErrPurged):
			continue
		case err != nil:
			return "", nil, err
		case there != f.ID:
			continue
		}
		same, _, err := a.sameTransactions(ctx, id, f.Summary)
		if same || err != nil {
			return howLog, nil, err
		}
	}
	return "", errors.New("it has none of the archived files: another server, or one that was moved, or whose log was reset"), nil
}

// sameHistory looks for archived transactions in the server's log.
func (a Admission) sameHistory(ctx context.Context, id identity, logs []Log) (how string, why, err error) {
	tried := 0
	for _, l := range logs {
		if l.Stranger {
			continue
		}
		for i := len(l.Files) - 1; i >= max(0, len(l.Files)-maxLooked) && tried < maxFiles; i-- {
			same, known, err := a.sameTransactions(ctx, id, l.Files[i].Summary)
			if err != nil {
				return "", nil, err
			}
			if known && !same {
				return "", fmt.Errorf("its transactions %s are not those of %s", l.Files[i].GTIDs, l.Server), nil
			}
			if known {
				tried++
			}
		}
	}
	if tried == 0 {
		return "", errors.New("no transaction in its log is archived yet of a member (a replica needs log_slave_updates)"), nil
	}
	return howHistory, nil, nil
}

// sameTransactions compares the last transactions of an archived file, one of
// each domain, with those of the same GTIDs in the server's log: the latest of
// them was committed at the time of the file's last commit. Time has seconds in
// the log, and commits of one moment may be in another order.
func (a Admission) sameTransactions(ctx context.Context, id identity, s Summary) (same, known bool, err error) {
	if s.Flavor != gtid.MariaDB.String() || s.Transactions == 0 || s.GTIDs == "" {
		return false, false, nil
	}
	set, err := gtid.ParseSet(gtid.MariaDB, s.GTIDs)
	if err != nil {
		return false, false, fmt.Errorf("archive: %w", err)
	}
	if !id.Reached.ContainsSet(set) {
		return false, false, nil
	}
	var last time.Time
	for _, head := range set.Heads() {
		at, err := committed(ctx, a.DSN, head, id.Reached)
		if errors.Is(err, errNotLogged) {
			return false, false, nil
		}
		if err != nil {
			return false, false, err
		}
		if at.After(last) {
			last = at
		}
	}
	return last.Sub(s.Last).Abs() <= time.Second, true, nil
}

// errNotLogged: the server's log does not have the transaction (any more).
var errNotLogged = errors.New("the transaction is not in the log")

// committed asks a server of MariaDB when a transaction was committed, by its
// log. Those of other domains are left out by reached.
func committed(ctx context.Context, dsn string, id gtid.ID, reached gtid.Set) (at time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	s, err := stream.Open(ctx, stream.Options{DSN: dsn, After: after(id, reached)})
	if err != nil {
		return at, err
	}
	defer func() { _ = s.Close() }()
	var tracker txn.Tracker
	for {
		p, err := s.Next()
		switch {
		case errors.Is(err, stream.ErrNoGTID):
			return at, errNotLogged
		case err != nil:
			return at, err
		case p.Kind != stream.Bytes:
			continue
		}
		ended, err := tracker.Add(p.Event)
		switch {
		case err != nil:
			return at, fmt.Errorf("archive: %w", err)
		case !ended || tracker.Head.ID.Domain != id.Domain:
		case tracker.Head.ID == id:
			return tracker.Committed, nil
		default:
			return at, errNotLogged
		}
	}
}

// after is a position just before a transaction in its domain, and at the end of
// all others.
func after(id gtid.ID, reached gtid.Set) string {
	var before gtid.Set
	for _, head := range reached.Heads() {
		if head.Domain != id.Domain {
			_ = before.Add(head) // it was one
		}
	}
	if id.Seq > 1 {
		_ = before.Add(gtid.ID{Flavor: gtid.MariaDB, Domain: id.Domain, Server: id.Server, Seq: id.Seq - 1})
	}
	return before.String()
}
