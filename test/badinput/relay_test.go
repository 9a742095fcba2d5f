package badinput_test

import (
	"bytes"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/test/faults/rig"
)

// The relay log of a replica holds its source's events, at other places.
func TestRelayLog(t *testing.T) {
	done := map[server.Flavor]bool{}
	for _, d := range servertest.All(t) {
		if done[d.Flavor] && !everywhere {
			continue
		}
		done[d.Flavor] = true
		t.Run(d.Name, func(t *testing.T) {
			source := servertest.Start(t, d, "--log-bin=bin", "--server-id=1")
			replica := servertest.Start(t, d, "--server-id=2", "--relay-log=relay", "--skip-networking")
			for _, path := range relayed(t, d, source, replica) {
				r := rig.Run(t, lifeboat, "replay", "--target", replica.DSN(""), "--from", filepath.Base(path)+":4", "--plan", path)
				badCase{codes: code(failed), says: `relay log`}.check(t, r)
			}
		})
	}
}

// relayed lets the replica receive something and returns its relay logs.
func relayed(t *testing.T, d server.Distribution, source, replica *server.Instance) []string {
	t.Helper()
	change := fmt.Sprintf("CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT=%d, MASTER_USER='root', MASTER_USE_GTID=no", source.Port())
	start := "START SLAVE IO_THREAD"
	if d.Flavor == server.MySQL {
		change = fmt.Sprintf("CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT=%d, SOURCE_USER='root', GET_SOURCE_PUBLIC_KEY=1", source.Port())
		start = "START REPLICA IO_THREAD"
	}
	rig.Do(t, source, func(db *sql.DB) { servertest.Exec(t, db, "CREATE DATABASE received") })
	rig.Do(t, replica, func(db *sql.DB) { servertest.Exec(t, db, change, start) })
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		files, err := filepath.Glob(filepath.Join(replica.DataDir(), "relay.0*"))
		must(t, err)
		for _, path := range files {
			data, err := os.ReadFile(path)
			must(t, err)
			if bytes.Contains(data, []byte("CREATE DATABASE received")) {
				return files
			}
		}
	}
	t.Fatal("the replica has received nothing in 30 s")
	return nil
}
