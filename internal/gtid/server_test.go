package gtid

import (
	"os"
	"slices"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// TestServersWriteWhatWeRead lets real servers write their event at the start of
// a binary log and compares it with what they say of themselves.
func TestServersWriteWhatWeRead(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		args := []string{"--log-bin=log", "--server-id=7"}
		if d.Flavor == server.MySQL {
			args = append(args, "--gtid-mode=ON", "--enforce-gtid-consistency=ON")
		}
		i := servertest.Start(t, d, args...)
		db := servertest.Open(t, i, "")
		var state string
		ask := func(query string) string {
			t.Helper()
			if err := db.QueryRowContext(t.Context(), query).Scan(&state); err != nil {
				t.Fatal(err)
			}
			return state
		}
		lastLog := func() string {
			t.Helper()
			servertest.Exec(t, db, "FLUSH BINARY LOGS")
			logs, err := i.BinaryLogs(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return logs[len(logs)-1]
		}
		if d.Flavor == server.MariaDB {
			servertest.Exec(t, db, "CREATE DATABASE a", "SET server_id=8", "CREATE DATABASE b",
				"SET gtid_domain_id=5", "CREATE DATABASE c", "SET gtid_seq_no=1000", "CREATE DATABASE d")
			checkList(t, eventBody(t, lastLog(), 163), ask("SELECT @@gtid_binlog_state"), ask("SELECT @@gtid_binlog_pos"))
			return
		}
		servertest.Exec(t, db, "CREATE DATABASE a", "CREATE DATABASE b")
		checkPrevious(t, eventBody(t, lastLog(), 35), ask("SELECT @@gtid_executed"))
		servertest.Exec(t, db, "SET gtid_next='AUTOMATIC:blue'", "CREATE DATABASE c",
			"SET gtid_next='"+ua+":red:7'", "CREATE DATABASE d", "SET gtid_next='"+ua+":9'", "CREATE DATABASE e", "SET gtid_next='AUTOMATIC'")
		checkPrevious(t, eventBody(t, lastLog(), 35), ask("SELECT @@gtid_executed"))
	})
}

// eventBody is the body of the first event of a type, without its checksum.
func eventBody(t *testing.T, file string, typ byte) []byte {
	t.Helper()
	log, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const header, checksum = 19, 4
	for at := 4; at+header <= len(log); {
		size := int(le.Uint32(log[at+9:]))
		if log[at+4] == typ {
			return log[at+header : at+size-checksum]
		}
		at += size
	}
	t.Fatalf("no event of type %d in %s", typ, file)
	return nil
}

func checkPrevious(t *testing.T, body []byte, executed string) {
	t.Helper()
	set, err := DecodePreviousGTIDs(body)
	if err != nil {
		t.Fatal(err)
	}
	if want := mysql(executed); !set.Equal(want) || set.IsEmpty() {
		t.Errorf("got %v, the server says %s", set, executed)
	}
	if again, err := EncodePreviousGTIDs(set); err != nil || !slices.Equal(again, body) {
		t.Errorf("%v encodes as %x, %v; the server wrote %x", set, again, err, body)
	}
}

func checkList(t *testing.T, body []byte, state, pos string) {
	t.Helper()
	ids, flags, err := DecodeGTIDList(body)
	if err != nil {
		t.Fatal(err)
	}
	want, err := ParseList(state)
	if err != nil || !sameElements(ids, want) || len(ids) < 3 {
		t.Errorf("got %v, the server says %s (%v)", ids, state, err)
	}
	if set := ListToSet(ids); !set.Equal(mariadb(pos)) {
		t.Errorf("the position is %v, the server says %s", set, pos)
	}
	if again := EncodeGTIDList(ids, flags); !slices.Equal(again, body) {
		t.Errorf("encodes as %x, the server wrote %x", again, body)
	}
}

func sameElements(a, b []ID) bool {
	compare := func(x, y ID) int { return slices.Compare([]byte(x.String()), []byte(y.String())) }
	return slices.Equal(slices.SortedFunc(slices.Values(a), compare), slices.SortedFunc(slices.Values(b), compare))
}
