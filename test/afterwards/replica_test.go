package afterwards

import (
	"fmt"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/replay"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// After the disaster a source and a replica are restored from the same backup
// and the same logs. Finalized, the one can attach to the other by GTID, and
// what is written from then on arrives.
func TestReplicaAttachesToWhatWasRestored(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		w := strike(t, d)
		source := w.restore(t, gtids(d, 11)...)
		replica := w.restore(t, gtids(d, 12)...)
		for _, i := range []*server.Instance{source, replica} {
			rep, err := replay.Run(t.Context(), replay.Options{
				Target: i.DSN(""), Files: w.logs, From: w.position, Workers: 2, Verify: true, Finalize: true,
			})
			if err != nil {
				t.Fatal(err)
			}
			if !rep.Finalized || !rep.Finished {
				t.Fatalf("not finalized: %+v", rep)
			}
		}
		from, to := servertest.Open(t, source, ""), servertest.Open(t, replica, "")
		if n := count(t.Context(), t, to, "SELECT COUNT(*) FROM shop.orders"); n != w.rows {
			t.Fatalf("%d rows, want %d", n, w.rows)
		}
		if n := count(t.Context(), t, to, "SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = 'lifeboat'"); n != 0 {
			t.Error("the checkpoint is still there")
		}
		servertest.Exec(t, from, "CREATE USER repl@'127.0.0.1' IDENTIFIED BY 'x'", "GRANT REPLICATION SLAVE ON *.* TO repl@'127.0.0.1'")
		if d.Flavor == server.MySQL {
			servertest.Exec(t, to, fmt.Sprintf("CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT=%d, SOURCE_USER='repl', SOURCE_PASSWORD='x', SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1", source.Port()), "START REPLICA")
		} else {
			servertest.Exec(t, to, fmt.Sprintf("CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT=%d, MASTER_USER='repl', MASTER_PASSWORD='x', MASTER_USE_GTID=slave_pos, MASTER_SSL_VERIFY_SERVER_CERT=0", source.Port()), "START SLAVE")
		}
		servertest.Exec(t, from, "INSERT INTO shop.orders (customer, amount) VALUES ('after the disaster', 1)")
		deadline := time.Now().Add(30 * time.Second)
		for count(t.Context(), t, to, "SELECT COUNT(*) FROM shop.orders WHERE customer = 'after the disaster'") == 0 {
			if time.Now().After(deadline) {
				t.Fatal("the new row does not arrive at the replica")
			}
			time.Sleep(50 * time.Millisecond)
		}
	})
}
