package topology_test

import (
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/test/topology"
)

func TestPair(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		source, replica := topology.Pair(t, d)
		source.Exec(t, "CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY)", "INSERT INTO d.t VALUES (7)")
		replica.Await(t, source)
		if got := replica.Query(t, "SELECT a FROM d.t"); got != "7" {
			t.Errorf("replica has %s", got)
		}
	})
}
