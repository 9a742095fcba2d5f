package replay

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"

	"github.com/lifeboat-db/lifeboat/internal/applier"
	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/checkpoint"
	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
)

// open opens logs and target and makes sure that nobody else is at work.
func (r *runner) open(ctx context.Context) (err error) {
	if r.set, err = binlog.OpenSet(r.opt.Files); err != nil {
		return LogError(err)
	}
	if r.cfg, err = dbconn.Config(r.opt.Target); err != nil {
		return fault.New(fault.Usage, err, "")
	}
	if r.db, err = dbconn.Open(r.cfg); err != nil {
		return err
	}
	if r.control, err = r.db.Conn(ctx); err != nil {
		return connectError(err)
	}
	if r.srv, err = dbconn.Identify(ctx, r.control); err != nil {
		return err
	}
	if err := r.reconnect(ctx); err != nil {
		return err
	}
	r.rep.Target = r.srv.String()
	r.d = dialect{r.srv.Flavor, r.srv.ServerID}
	if r.srv.Flavor != r.set.Flavor() {
		return fault.New(fault.Failed, fmt.Errorf("the log is %s's (written by %s), the target is %s", r.set.Flavor(),
			r.set.Files[0].Format.ServerVersion, r.srv), "replay into a server of the same vendor")
	}
	return r.lock(ctx)
}

// reconnect opens the pool anew with what MySQL's sessions need: definitions
// with generated invisible keys, which the log's row images have too, and
// counters as they are now.
func (r *runner) reconnect(ctx context.Context) (err error) {
	if r.srv.Flavor != gtid.MySQL || !r.srv.AtLeast(8, 0) {
		return nil
	}
	r.cfg.Params = map[string]string{"information_schema_stats_expiry": "0"}
	switch _, err := dbconn.Variable(ctx, r.control, gipkVariable); {
	case err == nil:
		r.cfg.Params[gipkVariable] = "ON" // since 8.0.30
	case !errors.Is(err, dbconn.ErrNoVariable):
		return err
	}
	_ = r.control.Close()
	_ = r.db.Close()
	if r.db, err = dbconn.Open(r.cfg); err != nil {
		return err
	}
	r.control, err = r.db.Conn(ctx)
	if err != nil && !applier.Lost(err) { // else it has answered before, and went away
		return connectError(err)
	}
	return err
}

const gipkVariable = "show_gipk_in_create_table_and_information_schema"

// connectError is why the target cannot be used. One that was reached and broke off
// went away, as at any other moment.
func connectError(err error) error {
	var network *net.OpError
	if applier.Lost(err) && (!errors.As(err, &network) || network.Op != "dial") {
		return err
	}
	if dbconn.Classify(err) == dbconn.Privilege {
		return fault.New(fault.Storage, fmt.Errorf("connect to the target: %w", err), "check the account and its password")
	}
	return fault.New(fault.Failed, fmt.Errorf("connect to the target: %w", err), "is the server running, and is the address right?")
}

// lock keeps a second run away. The lock belongs to the connection: it goes
// when the process does, as soon as the server notices, so it is waited for a
// little.
func (r *runner) lock(ctx context.Context) error {
	var got sql.NullInt64
	if _, err := r.control.ExecContext(ctx, "SET SESSION wait_timeout = 604800"); err != nil {
		return fmt.Errorf("lock the target: %w", err)
	}
	if err := r.control.QueryRowContext(ctx, "SELECT GET_LOCK('lifeboat.replay', 10)").Scan(&got); err != nil {
		return fmt.Errorf("lock the target: %w", err)
	}
	if got.Int64 == 1 {
		return r.awaitOthers(ctx)
	}
	var holder sql.NullInt64
	_ = r.control.QueryRowContext(ctx, "SELECT IS_USED_LOCK('lifeboat.replay')").Scan(&holder)
	return fault.New(fault.Busy, fmt.Errorf("another lifeboat run holds this target (its connection id is %d)", holder.Int64),
		"wait for it; if it is dead and the connection stays, as behind a cut network, KILL it")
}

// awaitOthers waits for the sessions of an earlier run to end: what they have
// sent may still happen.
func (r *runner) awaitOthers(ctx context.Context) error {
	st, err := checkpoint.Load(ctx, r.control)
	if errors.Is(err, checkpoint.ErrNotFound) {
		err = nil
	}
	if err != nil {
		return err
	}
	r.opt.Progress.Begin("waiting for the last run's sessions to end", 0)
	return applier.AwaitOthers(ctx, r.control, st.Phase == checkpoint.DDL)
}

func (r *runner) checkWritable(ctx context.Context) error {
	for _, name := range []string{"super_read_only", "innodb_read_only"} {
		v, err := dbconn.Variable(ctx, r.control, name)
		if err == nil && (v == "ON" || v == "1") {
			return fault.New(fault.Failed, fmt.Errorf("the target has %s=ON: nothing can be written", name), "SET GLOBAL "+name+" = OFF, or choose another target")
		}
	}
	return nil
}

// checkPacket makes sure that the largest row of the log passes.
func (r *runner) checkPacket(ctx context.Context) error {
	v, err := dbconn.Variable(ctx, r.control, "max_allowed_packet")
	if err != nil {
		return err
	}
	need := int64(r.plan.maxEvent+statementBytes)*4/3 + 4096
	var have int64
	_, _ = fmt.Sscan(v, &have)
	if have >= need {
		return nil
	}
	const most = 1 << 30
	if need > most {
		return fault.New(fault.Failed, fmt.Errorf("the log holds an event of %d bytes, which no statement can carry", r.plan.maxEvent), "replay this part with mysqlbinlog")
	}
	return fault.New(fault.Failed, fmt.Errorf("the log holds an event of %d bytes; the target's max_allowed_packet is %d", r.plan.maxEvent, have),
		fmt.Sprintf("SET GLOBAL max_allowed_packet = %d", min(most, (need+1<<20)&^(1<<10-1))))
}

// targetGTIDs is what the target says it contains.
func (r *runner) targetGTIDs(ctx context.Context) (gtid.Set, error) {
	query, flavor := "SELECT @@GLOBAL.gtid_executed", gtid.MySQL
	if r.srv.Flavor == gtid.MariaDB {
		query, flavor = "SELECT @@GLOBAL.gtid_current_pos", gtid.MariaDB
	}
	var text string
	if err := r.control.QueryRowContext(ctx, query).Scan(&text); err != nil {
		return gtid.Set{}, fmt.Errorf("ask the target's GTID state: %w", err)
	}
	return gtid.ParseSet(flavor, text)
}
