package restore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/repository/store"
	"github.com/lifeboat-db/lifeboat/internal/restore"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/test/compare"
	"github.com/lifeboat-db/lifeboat/test/topology"
)

// pair is a source and its replica, and a world about the one that is the source.
type pair struct {
	*world
	a, b *topology.Node
	id   map[*topology.Node]string // what the archive calls them
	stop map[*topology.Node]func() // ends its archive
	why  atomic.Value              // the last thing that an archive has said
}

func newPair(t *testing.T, d server.Distribution) *pair {
	t.Helper()
	p := &pair{world: &world{t: t, d: d}, a: topology.Start(t, d, 1), b: topology.Start(t, d, 2)}
	if d.Flavor == server.MySQL {
		p.a.Exec(t, "SET sql_log_bin=0", "INSTALL PLUGIN clone SONAME 'mysql_clone.so'")
	}
	p.id = map[*topology.Node]string{}
	for _, n := range []*topology.Node{p.a, p.b} {
		if p.id[n] = fmt.Sprintf("mariadb-%d", n.ID); !n.MariaDB() {
			p.id[n] = n.Query(t, "SELECT @@server_uuid")
		}
	}
	return p
}

// begin forgets what was: empty servers with empty logs, b following a, an empty
// repository, into which only a is archived.
func (p *pair) begin() {
	p.t.Helper()
	if p.a.PID() == 0 {
		if err := p.a.Restart(p.t.Context()); err != nil {
			p.t.Fatal(err)
		}
	}
	for _, n := range []*topology.Node{p.b, p.a} {
		statements := []string{"STOP REPLICA", "RESET REPLICA ALL", "SET GLOBAL super_read_only=OFF", "SET GLOBAL read_only=OFF", "DROP DATABASE IF EXISTS d", "RESET BINARY LOGS AND GTIDS"}
		if n.MariaDB() {
			statements = []string{"STOP SLAVE", "RESET SLAVE ALL", "SET GLOBAL read_only=OFF", "DROP DATABASE IF EXISTS d", "RESET MASTER", "SET GLOBAL gtid_slave_pos=''"}
		}
		n.Exec(p.t, statements...)
	}
	p.i, p.url = p.a.Instance, filepath.Join(p.t.TempDir(), "r")
	var err error
	if p.repo, err = repository.Create(p.t.Context(), repository.Location{Name: "main", Options: store.Options{URL: p.url}}, nil); err != nil {
		p.t.Fatal(err)
	}
	p.stop = map[*topology.Node]func(){}
	p.archive(p.a)
	p.exec("CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY AUTO_INCREMENT, b VARCHAR(5000), UNIQUE (b(20)))")
	p.b.Follow(p.t, p.a)
}

// archive follows a server from the first file on that it has. One that is
// archived late may have nothing that is archived of the other, so that nobody
// can see that it belongs to the set: the operator says so.
func (p *pair) archive(n *topology.Node) {
	ctx, cancel := context.WithCancel(p.t.Context())
	done := make(chan struct{})
	o := archive.Options{Set: "s", Server: archive.Server{DSN: n.DSN(""), Admit: true}, Repository: p.repo, Flush: 20 * time.Millisecond, MaxWait: time.Second,
		Listener: archive.Listener{
			Waiting: func(err error, _ time.Duration) { p.why.Store(fmt.Sprint(n.ID, " waits: ", err)) },
			Alarm:   func(a archive.Alarm) { p.why.Store(fmt.Sprint(n.ID, " alarm: ", a.Why)) },
		}}
	go func() {
		defer close(done)
		_ = archive.Follow(ctx, o) // it ends with its server
	}()
	p.stop[n] = func() {
		cancel()
		<-done
	}
}

// archiveLate archives the replica from now on: what came before is in files
// that it does not have any more.
func (p *pair) archiveLate() {
	p.t.Helper()
	p.b.Await(p.t, p.a)
	p.b.Exec(p.t, "FLUSH BINARY LOGS")
	if p.b.MariaDB() { // 11.4 and later
		_, _ = p.b.DB.ExecContext(p.t.Context(), "SET GLOBAL slave_connections_needed_for_purge=0")
	}
	topology.Eventually(p.t, func() error { // MariaDB keeps a file until its checkpoint is there
		logs, err := p.b.BinaryLogs(p.t.Context())
		if err != nil || len(logs) == 1 {
			return err
		}
		p.b.Exec(p.t, "PURGE BINARY LOGS TO '"+filepath.Base(logs[len(logs)-1])+"'")
		return fmt.Errorf("the replica still has %v", logs)
	})
	p.archive(p.b)
}

// failover kills the source while it is written to, and makes the replica the
// source when it has applied what it had received.
func (p *pair) failover(after time.Duration) {
	p.t.Helper()
	db := servertest.Open(p.t, p.a.Instance, "")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for k := 0; ; k++ {
			if _, err := db.ExecContext(p.t.Context(), fmt.Sprintf("INSERT INTO d.t (b) VALUES ('meanwhile %d')", k)); err != nil {
				return // it is dead
			}
		}
	}()
	time.Sleep(after)
	if err := p.a.Kill(); err != nil {
		p.t.Fatal(err)
	}
	<-done
	p.stop[p.a]()
	p.b.StopReplication(p.t, "IO_THREAD")
	topology.Eventually(p.t, func() error {
		s := p.b.Status(p.t)
		if s["Exec_Source_Log_Pos"] != s["Read_Source_Log_Pos"] || s["Relay_Source_Log_File"] != s["Source_Log_File"] {
			return fmt.Errorf("the replica is still at %s", s["Exec_Source_Log_Pos"])
		}
		return nil
	})
	p.b.StopReplication(p.t, "")
	p.b.ReadOnly(p.t, false)
	p.i = p.b.Instance
}

// gtids are what the server that is the source now has executed.
func (p *pair) gtids() string {
	p.t.Helper()
	if p.b.MariaDB() {
		return p.b.Query(p.t, "SELECT @@gtid_current_pos")
	}
	return strings.ReplaceAll(p.b.Query(p.t, "SELECT @@gtid_executed"), "\n", "")
}

// archivedB waits until the archive has everything that the replica has.
func (p *pair) archivedB() {
	p.t.Helper()
	p.b.Exec(p.t, "FLUSH BINARY LOGS")
	logs, err := p.b.BinaryLogs(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	last, id := filepath.Base(logs[len(logs)-1]), p.id[p.b]
	topology.Eventually(p.t, func() error {
		l, err := archive.LoadServer(p.t.Context(), p.repo, "s", id)
		if err == nil && (len(l.Files) == 0 || l.Files[len(l.Files)-1].File != last) {
			err = fmt.Errorf("the replica is not archived up to %s: %+v; %v", last, l.Files, p.why.Load())
		}
		return err
	})
	p.stop[p.b]()
}

func driverOf(d server.Distribution) string {
	if d.Flavor == server.MySQL {
		return backup.Clone
	}
	return backup.MariaDBBackup
}

// TestFailover: the source dies in traffic and its replica goes on. The log of
// neither leads from the backup to the end; one after the other they do, and
// what comes back is what the survivor has. Of the source something may be
// archived that the replica never had: then the restore is refused, and goes up
// to what both have and on from there.
func TestFailover(t *testing.T) {
	rounds := 1
	if long {
		rounds = 200
	}
	for _, flavor := range []server.Flavor{server.MySQL, server.MariaDB} {
		t.Run(string(flavor), func(t *testing.T) {
			p := newPair(t, servertest.Of(t, flavor))
			refused := 0
			for n := range rounds {
				ok := t.Run(fmt.Sprint("seed ", n), func(t *testing.T) { // what it opens goes with it
					p.t = t
					if p.round(rand.New(rand.NewPCG(uint64(n), 10))) {
						refused++
					}
				})
				if !ok {
					t.FailNow()
				}
			}
			t.Logf("%d failovers; %d times the source had what the replica never had", rounds, refused)
		})
	}
}

// round is a failover at a random point, and reports whether the source had
// something archived that the replica never had.
func (p *pair) round(r *rand.Rand) (parted bool) {
	p.begin()
	p.traffic(5+r.IntN(10), "before")
	base := p.backup(driverOf(p.d), backup.Options{})
	p.rotateSome(r)
	p.traffic(5+r.IntN(30), "between")
	late := r.IntN(4) > 0
	if late {
		p.archiveLate()
	} else { // from its beginning on: its own log has everything
		p.archive(p.b)
	}
	p.traffic(r.IntN(25), "then")
	p.failover(time.Duration(r.IntN(300)) * time.Millisecond)
	common := p.gtids()
	p.rotateSome(r)
	p.traffic(5+r.IntN(30), "after")
	want := state(p.t, p.b.Instance)
	p.archivedB()

	dir := filepath.Join(p.t.TempDir(), "data")
	o := p.options(dir, "")
	killed := false
	if long || p.d.Flavor == server.MariaDB {
		killed = p.killed(dir, r)
	}
	rep, err := restore.Run(p.t.Context(), o)
	if fault.ClassOf(err) == fault.Gap {
		p.t.Logf("refused: %v", err)
		if !p.has(common, base.GTIDs) {
			return true // the backup itself has what the survivor never had: nothing leads from it to the survivor
		}
		dir = filepath.Join(p.t.TempDir(), "data")
		p.restore(p.options(dir, "gtid:"+common))
		o = p.options(dir, "")
		o.Log = p.id[p.b]
		rep, err = p.restore(o), nil
		parted = true
	}
	if err != nil {
		p.t.Fatal(err)
	}
	if killed && !rep.Resumed && !rep.Forward && !parted { // one that was done when it was killed is moved on
		p.t.Errorf("resumed: %v, moved on: %v", rep.Resumed, rep.Forward)
	}
	if late && !parted && !killed && !rep.Forward && (len(rep.Plan.Legs) != 2 || rep.Plan.Legs[0].Server != p.id[p.a]) {
		p.t.Errorf("%d legs", len(rep.Plan.Legs))
	}
	p.same(dir, want)
	return parted
}

// has reports whether a server that has executed some GTIDs has others.
func (p *pair) has(executed, others string) bool {
	p.t.Helper()
	all, err1 := gtid.Parse(executed)
	some, err2 := gtid.Parse(others)
	if err := errors.Join(err1, err2); err != nil {
		p.t.Fatal(err)
	}
	return all.ContainsSet(some)
}

// rotateSome makes the files of both servers begin at different places.
func (p *pair) rotateSome(r *rand.Rand) {
	for _, n := range []*topology.Node{p.a, p.b} {
		for range r.IntN(3) {
			if n.PID() != 0 {
				n.Exec(p.t, "FLUSH BINARY LOGS")
			}
		}
	}
}

// TestFailoverUntil: a stop lies in the log of the server that was the source
// then, whether it is a time, GTIDs, or a place in a file, of which both servers
// have one of that name.
func TestFailoverUntil(t *testing.T) {
	flavors := []server.Flavor{server.MariaDB}
	if long {
		flavors = append(flavors, server.MySQL)
	}
	for _, flavor := range flavors {
		t.Run(string(flavor), func(t *testing.T) {
			p := newPair(t, servertest.Of(t, flavor))
			p.begin()
			p.traffic(10, "before")
			p.backup(driverOf(p.d), backup.Options{})
			p.traffic(10, "between")
			first, firstAt := state(t, p.i), p.moment()
			p.traffic(30, "then")
			p.archiveLate()
			p.traffic(5, "both")
			topology.Eventually(t, p.overlaps)
			p.stop[p.a]() // it has nothing archived that the replica will never have
			p.failover(50 * time.Millisecond)
			p.traffic(30, "after")
			second, at, gtids := state(t, p.i), p.moment(), p.gtids()
			place := position(t, p.b)
			p.traffic(30, "later")
			end := state(t, p.i)
			p.archivedB()

			dir := filepath.Join(t.TempDir(), "data")
			for _, step := range []struct {
				until string
				legs  int
				want  compare.State
			}{{firstAt, 1, first}, {at, 2, second}, {"", 1, end}} {
				rep := p.restore(p.options(dir, step.until))
				if len(rep.Plan.Legs) != step.legs || rep.Reached.Server != rep.Plan.Legs[step.legs-1].Server {
					t.Errorf("until %q: %d legs, to %+v", step.until, len(rep.Plan.Legs), rep.Reached)
				}
				p.same(dir, step.want)
			}
			stops := []string{place}
			if long {
				stops = append(stops, "gtid:"+gtids)
			}
			for _, until := range stops {
				o := p.options(filepath.Join(t.TempDir(), "data"), until)
				o.Log = p.id[p.b]
				rep := p.restore(o)
				if len(rep.Plan.Legs) != 2 || rep.Replay.Plan.From.File == "" || rep.Replay.Transactions < 30 || len(rep.Replay.Verified) == 0 || !rep.Replay.Verified[0].Done {
					t.Errorf("until %s: %+v", until, rep.Replay)
				}
				p.same(o.Dir, second)
			}
		})
	}
}

// overlaps waits until the archive of the source has a place at which that of
// the replica begins.
func (p *pair) overlaps() error {
	inv, err := restore.Look(p.t.Context(), p.repo, "s")
	if err != nil {
		return err
	}
	if len(inv.Logs) < 2 {
		return errors.New("the replica is not archived yet")
	}
	plan, err := restore.MakePlan(inv, restore.Request{Log: p.id[p.b]})
	if err == nil && len(plan.Legs) != 2 {
		return fmt.Errorf("%d legs", len(plan.Legs))
	}
	return err
}

// position is the end of a server's log.
func position(t *testing.T, n *topology.Node) string {
	t.Helper()
	query := "SHOW BINARY LOG STATUS"
	if n.MariaDB() {
		query = "SHOW MASTER STATUS"
	}
	rows, err := n.DB.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil || !rows.Next() {
		t.Fatal(err, rows.Err())
	}
	cells := make([]sql.NullString, len(columns))
	targets := make([]any, len(columns))
	for i := range cells {
		targets[i] = &cells[i]
	}
	if err := rows.Scan(targets...); err != nil {
		t.Fatal(err)
	}
	return cells[0].String + ":" + cells[1].String
}
