package clone_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// ddl is what happens to tables in each state of the clone. The donor tells files
// that come, go and get other names, in no order of time.
var ddl = map[uint32][]string{
	fileCopy: {
		"CREATE TABLE made_in_file (a INT PRIMARY KEY, b LONGTEXT)", "INSERT INTO made_in_file VALUES (1, REPEAT('m', 300000))",
		"DROP TABLE drop_in_file", "TRUNCATE TABLE truncate_in_file", "INSERT INTO truncate_in_file VALUES (7, 'new')",
		"RENAME TABLE swap_a TO swap_c, swap_b TO swap_a, swap_c TO swap_b",
		"ALTER TABLE alter_in_file ADD COLUMN c INT DEFAULT 5, ALGORITHM=COPY",
		"CREATE TABLE came_and_went (a INT)", "DROP TABLE came_and_went",
		"CREATE TABLESPACE made ADD DATAFILE 'made.ibd'", "CREATE TABLE in_made (a INT) TABLESPACE made", "INSERT INTO in_made VALUES (1)",
		"CREATE UNDO TABLESPACE undo_made ADD DATAFILE 'undo_made.ibu'",
		"CREATE TABLE compressed_in_file (a INT PRIMARY KEY, b LONGTEXT) ROW_FORMAT=COMPRESSED", "INSERT INTO compressed_in_file VALUES (1, REPEAT('z', 100000))",
		"ALTER TABLE parts DROP PARTITION p0",
	},
	pageCopy: {
		"CREATE TABLE made_in_page (a INT PRIMARY KEY, b LONGTEXT)", "INSERT INTO made_in_page VALUES (1, REPEAT('q', 300000))",
		"DROP TABLE drop_in_page", "TRUNCATE TABLE truncate_in_page", "INSERT INTO truncate_in_page VALUES (8, 'new')",
		"RENAME TABLE rename_in_page TO renamed_in_page", "RENAME TABLE swap_a TO swap_c, swap_b TO swap_a, swap_c TO swap_b",
		"ALTER TABLE alter_in_page ADD COLUMN c INT DEFAULT 5, ALGORITHM=COPY",
		"CREATE TABLE compressed_in_page (a INT PRIMARY KEY, b LONGTEXT) ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=4", "INSERT INTO compressed_in_page VALUES (1, REPEAT('z', 100000))",
		"CREATE DATABASE made_in_page", "CREATE TABLE made_in_page.t (a INT)",
		"DROP DATABASE dropped_in_page",
	},
	redoCopy: { // behind the point of the copy
		"CREATE TABLE made_in_redo (a INT)", "DROP TABLE drop_in_redo", "RENAME TABLE rename_in_redo TO renamed_in_redo",
	},
}

// TestConcurrentDDL: DDL goes on during a clone, and the copy has what it had done
// by its moment, and nothing of what it did afterwards.
func TestConcurrentDDL(t *testing.T) {
	source := donor(t)
	db := servertest.Open(t, source, "")
	servertest.Exec(t, db, "CREATE DATABASE d", "CREATE DATABASE dropped_in_page", "CREATE TABLE dropped_in_page.t (a INT)", "USE d",
		"CREATE TABLE parts (a INT PRIMARY KEY) PARTITION BY RANGE (a) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN MAXVALUE)", "INSERT INTO parts VALUES (1), (11)")
	for _, name := range []string{"drop_in_file", "drop_in_page", "drop_in_redo", "truncate_in_file", "truncate_in_page", "swap_a", "swap_b", "alter_in_file", "alter_in_page", "rename_in_page", "rename_in_redo"} {
		servertest.Exec(t, db, fmt.Sprintf("CREATE TABLE d.%s (a INT PRIMARY KEY, b LONGTEXT)", name), fmt.Sprintf("INSERT INTO d.%s VALUES (1, REPEAT('%[1]s', 3000))", name))
	}
	var b bytes.Buffer
	var before string
	var done chan error
	if _, err := take(t.Context(), source, &tap{w: &b, begin: func(state uint32) {
		if state == redoCopy {
			before = contents(t, db)
		}
		done = make(chan error, 1)
		go func() { done <- commit(db, append([]string{"USE d"}, ddl[state]...)) }()
		// As much of it as possible comes before the data. Not all has to: DDL of a
		// file waits while the donor sends a piece of that, and nobody reads now.
		for until := time.Now().Add(2 * time.Second); len(done) == 0 && time.Now().Before(until); {
			time.Sleep(time.Millisecond)
		}
	}, end: func(state uint32) {
		if done == nil {
			return // INIT has no beginning
		}
		if err := <-done; err != nil {
			t.Errorf("state %d: %v", state, err)
		}
	}}); err != nil {
		t.Fatal(err)
	}
	copied := recipient(t, b.Bytes())
	copyDB := servertest.Open(t, copied, "")
	checkTables(t, copyDB)
	if after := contents(t, copyDB); after != before {
		t.Errorf("the copy is not what the source was:\n%s\nwant\n%s", after, before)
	}
	if _, err := copyDB.ExecContext(t.Context(), "CREATE TABLE d.drop_in_file (a INT)"); err != nil {
		t.Errorf("a file of a table that is gone is in the way: %v", err)
	}
}
