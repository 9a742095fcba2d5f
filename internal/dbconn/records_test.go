package dbconn_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// An answer is read by its columns' names on every server; NULL is no text, and
// a server without a log has no end of one.
func TestRecords(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		for _, args := range [][]string{{"--log-bin=bin"}, {"--skip-log-bin"}} {
			i := servertest.Start(t, d, args...)
			db := servertest.Open(t, i, "")
			list, err := dbconn.Records(t.Context(), db, "SELECT 'x' AS a, NULL AS b UNION SELECT 'y', 5")
			if err != nil || len(list) != 2 || list[0]["a"] != "x" || list[0]["b"] != "" || list[1]["b"] != "5" {
				t.Errorf("%v %v", list, err)
			}
			for most, want := range map[int]error{2: nil, 1: dbconn.ErrManyRows} {
				if list, err := dbconn.RecordsUpTo(t.Context(), db, "SELECT 1 UNION SELECT 2", most); !errors.Is(err, want) || (err == nil) != (len(list) == 2) {
					t.Errorf("up to %d: %v %v", most, list, err)
				}
			}
			if list, err := dbconn.Records(t.Context(), db, "SELECT nothing"); err == nil {
				t.Errorf("%v", list)
			}
			who, err := dbconn.Identify(t.Context(), db)
			if err != nil {
				t.Fatal(err)
			}
			end, err := dbconn.LogStatus(t.Context(), db, who)
			if err != nil || (end == nil) != (args[0] == "--skip-log-bin") {
				t.Fatalf("%s: %v %v", args, end, err)
			}
			if end == nil {
				continue
			}
			logs, err := i.BinaryLogs(t.Context())
			if err != nil || end["File"] != filepath.Base(logs[len(logs)-1]) || end["Position"] == "" {
				t.Errorf("%v, of %v: %v", end, logs, err)
			}
		}
	})
}
