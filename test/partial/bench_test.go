// Package partial_test leaves transactions and tables out of replays on real
// servers, and compares what comes back with a twin: the same log, executed one
// statement after the other by the vendor's tools, without them.
package partial_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/replay"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/internal/txn"
	"github.com/lifeboat-db/lifeboat/test/compare"
	"github.com/lifeboat-db/lifeboat/test/oracle"
	"github.com/lifeboat-db/lifeboat/test/reallog"
)

// bench is a source, a target and a twin. Each log begins with the same tables
// on all of them.
type bench struct {
	t      *testing.T
	d      server.Distribution
	source *reallog.Source
	target *server.Instance
	twin   *server.Instance
}

func newBench(t *testing.T, d server.Distribution) *bench {
	t.Helper()
	var args []string
	if d.Flavor == server.MySQL {
		args = []string{"--gtid-mode=ON", "--enforce-gtid-consistency=ON"}
	}
	return &bench{t: t, d: d, source: reallog.Start(t, d), target: servertest.Start(t, d, args...), twin: servertest.Start(t, d, args...)}
}

// unlogged executes statements on one connection that logs nothing.
func unlogged(t testing.TB, i *server.Instance, statements ...string) {
	t.Helper()
	servertest.Exec(t, servertest.Open(t, i, ""), append([]string{"SET SESSION sql_log_bin = 0", "SET SESSION foreign_key_checks = 0"}, statements...)...)
}

// reset makes a server as it was, and sets up.
func (b *bench) reset(i *server.Instance, setUp []string) {
	b.t.Helper()
	statements := []string{"DROP DATABASE IF EXISTS lifeboat"}
	for _, name := range servertest.Column(b.t, servertest.Open(b.t, i, ""), "SELECT schema_name FROM information_schema.schemata WHERE schema_name NOT IN ('mysql','sys','information_schema','performance_schema','test')") {
		statements = append(statements, "DROP DATABASE IF EXISTS `"+name+"`")
	}
	if b.d.Flavor == server.MySQL && i != b.source.Instance {
		statements = append(statements, "RESET BINARY LOGS AND GTIDS")
	}
	unlogged(b.t, i, append(statements, setUp...)...)
}

// log is what a source has written.
type log struct {
	file  string
	start []binlog.Position // of each transaction
	end   []binlog.Position
	id    []string // empty: there are no GTIDs
}

// record resets the source, sets it up without logging and returns the log of
// what it does then: one transaction for each element, whose statements are
// separated by lines.
func (b *bench) record(setUp, load []string) (l log) {
	b.t.Helper()
	b.reset(b.source.Instance, setUp)
	statements := []string{"SET SESSION binlog_format = 'ROW'", "SET SESSION binlog_row_image = 'FULL'"} // the connection is used again
	for _, transaction := range load {
		if lines := strings.Split(transaction, "\n"); len(lines) > 1 {
			statements = append(append(append(statements, "BEGIN"), lines...), "COMMIT")
		} else {
			statements = append(statements, transaction)
		}
	}
	l.file = b.source.Record(b.t, statements...)
	f, err := binlog.Open(l.file)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for sc := txn.NewScanner(f, 0, &binlog.Inflater{Limit: 1 << 24}); ; {
		t, ok, err := sc.Next()
		if err != nil {
			b.t.Fatal(err)
		}
		if !ok {
			return l
		}
		if sql, _ := t.Text(); t.Kind == txn.DDL && txn.Verb(sql) == "FLUSH" {
			continue
		}
		l.start, l.end, l.id = append(l.start, t.Position()), append(l.end, t.EndPosition()), append(l.id, "")
		if t.HasID {
			l.id[len(l.id)-1] = t.ID.String()
		}
	}
}

// name names a transaction: by GTID if it has one and the number is even.
func (l *log) name(n int) string {
	if l.id[n] != "" && n%2 == 0 {
		return l.id[n]
	}
	return l.start[n].String()
}

func (l *log) names(numbers []int) string {
	var list []string
	for _, n := range numbers {
		list = append(list, l.name(n))
	}
	return strings.Join(list, ",")
}

// replay replays the log into the target, which holds what the log begins with.
func (b *bench) replay(l log, o replay.Options) (*replay.Report, error) {
	return replay.Run(b.t.Context(), b.options(l, o))
}

func (b *bench) options(l log, o replay.Options) replay.Options {
	o.Target, o.Files, o.Workers = b.target.DSN(""), []string{l.file}, 3
	if o.From == "" {
		o.From = fmt.Sprintf("%s:4", filepath.Base(l.file))
	}
	return o
}

// serially applies the log to the twin without some transactions.
func (b *bench) serially(l log, without []int) error {
	var pieces []oracle.Piece
	from := int64(4)
	skip := map[int]bool{}
	for _, n := range without {
		skip[n] = true
	}
	for n := range l.start {
		if skip[n] && l.start[n].Offset > from && (n == 0 || !skip[n-1]) {
			pieces = append(pieces, oracle.Piece{File: l.file, From: from, To: l.start[n].Offset})
		}
		if skip[n] {
			from = l.end[n].Offset
		}
	}
	if last := l.end[len(l.end)-1].Offset; from < last {
		pieces = append(pieces, oracle.Piece{File: l.file, From: from, To: last})
	}
	return oracle.ReplayPieces(b.t.Context(), b.twin, pieces)
}

func (b *bench) state(i *server.Instance) compare.State {
	b.t.Helper()
	s, err := compare.Take(b.t.Context(), servertest.Open(b.t, i, ""))
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// same compares target and twin.
func (b *bench) same() {
	b.t.Helper()
	if diff := compare.Diff(b.state(b.twin), b.state(b.target), "serial", "lifeboat", compare.Ignore); diff != "" {
		b.t.Error(diff)
	}
}

// conflicts checks that an error refuses a transaction for a table.
func conflicts(t *testing.T, err error, l log, n int, table string) {
	t.Helper()
	if fault.ClassOf(err) != fault.Refused || err == nil || !strings.Contains(err.Error(), "conflict") {
		t.Errorf("it ended with %v (class %d), want a conflict", err, fault.ClassOf(err))
		return
	}
	if !strings.Contains(err.Error(), table) {
		t.Errorf("%v: names no %s", err, table)
	}
	if n >= 0 && !strings.Contains(err.Error(), "transaction at "+l.start[n].String()) {
		t.Errorf("%v: want %s", err, l.start[n])
	}
}

func number(variable string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(variable)); err == nil {
		return n
	}
	return otherwise
}
