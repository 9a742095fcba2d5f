// Package reallog lets real servers write the binary logs that tests read.
package reallog

import (
	"database/sql"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// Source is a server that writes a binary log.
type Source struct {
	*server.Instance
	DB *sql.DB
}

// Start starts a server with a binary log in row format, and on MySQL with
// GTIDs; args come last and so overrule that.
func Start(t testing.TB, d server.Distribution, args ...string) *Source {
	t.Helper()
	all := []string{"--log-bin=log", "--server-id=7", "--binlog-format=ROW"}
	if d.Flavor == server.MySQL {
		all = append(all, "--gtid-mode=ON", "--enforce-gtid-consistency=ON")
	}
	i := servertest.Start(t, d, append(all, args...)...)
	return &Source{Instance: i, DB: servertest.Open(t, i, "")}
}

// Exec runs statements on one connection.
func (s *Source) Exec(t testing.TB, statements ...string) {
	t.Helper()
	servertest.Exec(t, s.DB, statements...)
}

// Begin begins a new file, so that the first one returned by Logs after it
// holds what follows and little else.
func (s *Source) Begin(t testing.TB) { s.Exec(t, "FLUSH BINARY LOGS") }

// Logs closes the file being written and returns the paths of all but the one
// that was begun by that. They last as long as the test does.
func (s *Source) Logs(t testing.TB) []string {
	t.Helper()
	s.Exec(t, "FLUSH BINARY LOGS")
	logs, err := s.BinaryLogs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return logs[:len(logs)-1]
}

// Record runs statements on one connection and returns the file that holds
// them.
func (s *Source) Record(t testing.TB, statements ...string) string {
	t.Helper()
	s.Begin(t)
	s.Exec(t, statements...)
	logs := s.Logs(t)
	return logs[len(logs)-1]
}
