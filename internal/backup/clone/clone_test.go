package clone_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/backup/clone"
	"github.com/lifeboat-db/lifeboat/internal/replay"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// accounts are what the traffic moves money between: the sum is the same after
// every transaction.
const accounts = 200

// schema has what InnoDB keeps in files of different kinds.
var schema = []string{
	"CREATE DATABASE d", "CREATE DATABASE empty_schema", "USE d",
	"CREATE TABLE account (id INT PRIMARY KEY, balance BIGINT NOT NULL, KEY (balance)) ENGINE=InnoDB",
	"CREATE TABLE journal (id INT PRIMARY KEY AUTO_INCREMENT, a INT NOT NULL, b INT NOT NULL, note LONGBLOB, FOREIGN KEY (a) REFERENCES account (id)) ENGINE=InnoDB",
	"CREATE TABLE parts (id INT, day INT, text VARCHAR(100), PRIMARY KEY (id, day)) ENGINE=InnoDB PARTITION BY RANGE (day) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN (20), PARTITION p2 VALUES LESS THAN MAXVALUE)",
	"CREATE TABLESPACE general ADD DATAFILE 'general.ibd' ENGINE=InnoDB",
	"CREATE TABLE in_general (id INT PRIMARY KEY, text VARCHAR(100)) TABLESPACE general",
	"CREATE TABLE in_system (id INT PRIMARY KEY, text VARCHAR(100)) TABLESPACE innodb_system",
	"CREATE UNDO TABLESPACE more_undo ADD DATAFILE 'more_undo.ibu'",
	"CREATE TABLE rows_compressed (id INT PRIMARY KEY, text LONGTEXT) ENGINE=InnoDB ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=4",
	"CREATE TABLE pages_compressed (id INT PRIMARY KEY, text LONGTEXT) ENGINE=InnoDB COMPRESSION='zlib'",
	"CREATE TABLE searched (id INT PRIMARY KEY, text TEXT, FULLTEXT (text)) ENGINE=InnoDB",
	"CREATE VIEW sums AS SELECT SUM(balance) FROM account",
	"CREATE TRIGGER noted BEFORE UPDATE ON parts FOR EACH ROW SET NEW.text = CONCAT('u', NEW.text)",
	"ALTER TABLE account ADD COLUMN note VARCHAR(20) DEFAULT 'added'", // an instant one
}

func fill(t *testing.T, i *server.Instance) {
	t.Helper()
	db := servertest.Open(t, i, "")
	servertest.Exec(t, db, schema...)
	for id := range accounts {
		servertest.Exec(t, db, fmt.Sprintf("INSERT INTO d.account (id, balance) VALUES (%d, 1000)", id))
	}
	servertest.Exec(t, db, "USE d",
		"INSERT INTO journal (a, b, note) VALUES (1, 2, REPEAT('x', 12000000)), (1, 2, REPEAT('y', 3000000))",
		"INSERT INTO searched VALUES (1, 'to be found')",
		"CREATE TABLE dropped SELECT * FROM account", "DROP TABLE dropped",
		"CREATE TABLE before_it SELECT * FROM account", "RENAME TABLE before_it TO renamed", "TRUNCATE TABLE renamed")
}

// transfer moves money, and touches every table.
func transfer(w, n int) []string {
	from, to := (w*37+n*11)%accounts, (w*53+n*7+1)%accounts
	id := n*10 + w
	return []string{
		fmt.Sprintf("UPDATE d.account SET balance = balance - %d WHERE id = %d", n%9, from),
		fmt.Sprintf("UPDATE d.account SET balance = balance + %d WHERE id = %d", n%9, to),
		fmt.Sprintf("INSERT INTO d.journal (a, b, note) VALUES (%d, %d, REPEAT('%d', %d))", from, to, n%10, n%50*1000),
		fmt.Sprintf("REPLACE INTO d.parts VALUES (%d, %d, 'w%d')", n%100, n%30, w),
		fmt.Sprintf("UPDATE d.parts SET text = 'n%d' WHERE id = %d", n, n%70),
		fmt.Sprintf("REPLACE INTO d.in_general VALUES (%d, REPEAT('g', %d))", id%500, n%100),
		fmt.Sprintf("REPLACE INTO d.in_system VALUES (%d, REPEAT('s', %d))", id%500, n%100),
		fmt.Sprintf("REPLACE INTO d.rows_compressed VALUES (%d, REPEAT('c%d', %d))", id%90, n, n%1000),
		fmt.Sprintf("REPLACE INTO d.pages_compressed VALUES (%d, REPEAT('p%d', %d))", id%90, n, n%1000),
		fmt.Sprintf("REPLACE INTO d.searched VALUES (%d, 'word%d and another')", 2+id%200, n),
		fmt.Sprintf("DELETE FROM d.journal WHERE id > 2 AND id %% 7 = %d AND a = %d", n%7, from),
	}
}

// TestUnderTraffic: a clone that was taken while all tables were written, in all
// of its states, is one moment of the source, and it is known which: by the GTIDs
// that a server recovers, or, without GTIDs, by the position at which all commits
// waited. With the rest of the source's log the copy becomes the source.
func TestUnderTraffic(t *testing.T) {
	for _, by := range []string{"gtid", "position"} {
		t.Run(by, func(t *testing.T) { underTraffic(t, by == "gtid") })
	}
}

func underTraffic(t *testing.T, named bool) {
	var args []string
	if !named {
		args = anonymous
	}
	source := donor(t, args...)
	fill(t, source)
	x := write(t, source, 4, transfer)
	x.pass(200)
	var b bytes.Buffer
	taken, err := take(t.Context(), source, &tap{w: &b, begin: func(uint32) { x.pass(60) }})
	x.pass(100)
	x.stop()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d transactions; %d files, %d bytes, stream of %d; after %s, until %s; commits waited for %s", x.done.Load(), taken.Files, taken.Bytes, b.Len(), taken.After.Position, taken.Until.Position, taken.Held)
	if checked, err := clone.Check(bytes.NewReader(b.Bytes())); err != nil || fmt.Sprint(checked.After, checked.Until, checked.Files) != fmt.Sprint(taken.After, taken.Until, taken.Files) {
		t.Fatalf("the stream tells %+v, %v; Take told %+v", checked, err, taken)
	}
	if taken.Exact() == named {
		t.Errorf("commits between the two points: %v", !taken.Exact())
	}
	goOn(t, source, b.Bytes(), taken, args)
}

// goOn starts a server on a copy, looks at it, and replays the rest of the log.
func goOn(t *testing.T, source *server.Instance, stream []byte, taken clone.Taken, args []string) {
	copied := recipient(t, stream, args...)
	at := recovered(t, copied, taken)
	db := servertest.Open(t, copied, "")
	if got := ask(t, db, "SELECT @@GLOBAL.gtid_executed"); got != at.GTIDs.String() {
		t.Errorf("the server has executed %s, and recovered %s", got, at.GTIDs)
	}
	checkTables(t, db)
	if sum := ask(t, db, "SELECT SUM(balance) FROM d.account"); sum != fmt.Sprint(1000*accounts) {
		t.Errorf("the sum of all balances is %s: not one moment", sum)
	}
	if n := ask(t, db, "SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = 'empty_schema'"); n != "1" {
		t.Error("the empty schema is gone")
	}
	files, err := source.BinaryLogs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	from := at.Position.String()
	if !taken.Exact() {
		from = "gtid:" + at.GTIDs.String()
	}
	rep, err := replay.Run(t.Context(), replay.Options{Target: copied.DSN(""), Files: files, From: from, Verify: true, Finalize: true})
	if err != nil {
		t.Fatal(err)
	}
	if rep.Transactions == 0 || !rep.Finished {
		t.Errorf("nothing was replayed: %+v", rep)
	}
	same(t, copied, source)
}

// recovered is the point that a server found, which must be between those that
// Take was told.
func recovered(t *testing.T, i *server.Instance, taken clone.Taken) clone.Point {
	t.Helper()
	at, err := clone.Recovered(i.DataDir())
	if err != nil {
		t.Fatal(err)
	}
	at, err = taken.Settle(at)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// TestQuiet: without traffic both points are the same, and what the server
// recovers; without a binary log there is no position.
func TestQuiet(t *testing.T) {
	for name, args := range map[string][]string{"with a log": nil, "without": {"--skip-log-bin"}} {
		t.Run(name, func(t *testing.T) {
			source := donor(t, args...)
			servertest.Exec(t, servertest.Open(t, source, ""), "CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY)", "INSERT INTO d.t VALUES (1)")
			var b bytes.Buffer
			taken, err := take(t.Context(), source, &b)
			if err != nil {
				t.Fatal(err)
			}
			copied := recipient(t, b.Bytes())
			at, err := clone.Recovered(copied.DataDir())
			if err != nil {
				t.Fatal(err)
			}
			if !taken.Exact() || at.Position != taken.After.Position || !at.GTIDs.Equal(taken.After.GTIDs) {
				t.Errorf("recovered %+v, taken %+v", at, taken)
			}
			if (args != nil) != at.Position.IsZero() {
				t.Errorf("position %s", at.Position)
			}
			same(t, copied, source)
		})
	}
}

// TestWhatIsNotCommitted: an open transaction is not in the copy, one that an XA
// coordinator has prepared is, still prepared; and what is not InnoDB's is there,
// and empty.
func TestWhatIsNotCommitted(t *testing.T) {
	source := donor(t)
	db := servertest.Open(t, source, "")
	servertest.Exec(t, db, "CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY, b LONGTEXT) ENGINE=InnoDB", "CREATE TABLE d.m (a INT) ENGINE=MyISAM",
		"INSERT INTO d.t VALUES (1, 'committed')", "INSERT INTO d.m VALUES (1)")
	for _, statements := range [][]string{
		{"BEGIN", "UPDATE d.t SET b = 'open' WHERE a = 1", "INSERT INTO d.t VALUES (1000, REPEAT('open', 100000))"},
		{"XA START 'x'", "INSERT INTO d.t VALUES (2, 'prepared')", "XA END 'x'", "XA PREPARE 'x'"},
	} {
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for _, s := range statements {
			if _, err := conn.ExecContext(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
	}
	var b bytes.Buffer
	if _, err := take(t.Context(), source, &b); err != nil {
		t.Fatal(err)
	}
	copied := servertest.Open(t, recipient(t, b.Bytes()), "")
	rows := func() string {
		return ask(t, copied, "SELECT GROUP_CONCAT(a, b ORDER BY a) FROM d.t")
	}
	if got := rows(); got != "1committed" {
		t.Errorf("the copy has %q", got)
	}
	servertest.Exec(t, copied, "XA COMMIT 'x'")
	if got := rows(); got != "1committed,2prepared" {
		t.Errorf("with the prepared transaction committed the copy has %q", got)
	}
	if n := ask(t, copied, "SELECT COUNT(*) FROM d.m"); n != "0" {
		t.Errorf("%s rows of MyISAM", n)
	}
	servertest.Exec(t, copied, "INSERT INTO d.m VALUES (1)")
	checkTables(t, copied)
}
