package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/lifeboat-db/lifeboat/internal/server"
)

// schemaName is the database sysbench works in.
const schemaName = "sbtest"

// workload is what the source server does after the backup.
type workload struct {
	name   string
	script string // of sysbench
	random string // how rows are chosen
}

var workloads = []workload{
	// Per transaction: one update of an indexed and one of a plain column,
	// one delete and one insert of the same key.
	{"write_only", "oltp_write_only", "special"},
	// A few rows get most of the updates.
	{"hot", "oltp_update_non_index", "pareto"},
	// Nothing to compact: every row is new.
	{"insert", "oltp_insert", "special"},
}

// Workloads lists the names of all workloads.
func Workloads() []string {
	var names []string
	for _, w := range workloads {
		names = append(names, w.name)
	}
	return names
}

func findWorkload(name string) workload {
	for _, w := range workloads {
		if w.name == name {
			return w
		}
	}
	return workload{}
}

// published is the number of transactions in the published comparison. A
// serial replay of MySQL's takes a quarter of an hour.
func published(flavor server.Flavor, workload string) int {
	if flavor == server.MariaDB && workload == "write_only" {
		return 100_000
	}
	return 300_000
}

// sysbench is the program and what it has to be told about the tables.
type sysbench struct {
	program   string
	tables    int
	tableSize int
}

// findSysbench takes the one in the cache before one of the machine's own.
func findSysbench(cache string) (string, error) {
	path := filepath.Join(cache, "servers", "sysbench", "bin", "sysbench")
	_, err := os.Stat(path)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return path, err
	}
	if path, err := exec.LookPath("sysbench"); err == nil {
		return path, nil
	}
	return "", errors.New("no sysbench: run `scripts/servers sysbench`")
}

// plugins tells the client library of a sysbench in the cache where its
// plugins are: it looks for them where its package would have been installed,
// and cannot log in to MySQL without caching_sha2_password.
func (s sysbench) plugins() []string {
	prefix := filepath.Dir(filepath.Dir(s.program))
	found, err := filepath.Glob(filepath.Join(prefix, "root", "usr", "lib", "*", "libmariadb3", "plugin"))
	if err != nil || len(found) == 0 {
		return nil
	}
	return []string{"MARIADB_PLUGIN_DIR=" + found[0]}
}

// prepare fills the tables. sysbench prepare succeeds even when it could not
// connect, so its work is looked at.
func (s sysbench) prepare(ctx context.Context, i *server.Instance) error {
	if _, err := s.run(ctx, i, "oltp_write_only", "prepare", "--threads=2"); err != nil {
		return err
	}
	return withDB(i, func(db *sql.DB) error {
		for n := 1; n <= s.tables; n++ {
			table := schemaName + ".sbtest" + strconv.Itoa(n)
			var rows int
			if err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+table).Scan(&rows); err != nil {
				return fmt.Errorf("sysbench prepare: %w", err)
			}
			if rows != s.tableSize {
				return fmt.Errorf("sysbench prepare: %s has %d rows, want %d", table, rows, s.tableSize)
			}
		}
		return nil
	})
}

func (s sysbench) work(ctx context.Context, i *server.Instance, w workload, transactions int) error {
	_, err := s.run(ctx, i, w.script, "run", "--threads=8", "--time=0",
		"--events="+strconv.Itoa(transactions), "--rand-type="+w.random)
	return err
}

// pace is how fast a workload went.
type pace struct {
	Transactions float64 `json:"transactions_per_second"`
	P95          float64 `json:"p95_milliseconds"` // of a transaction
}

// timed runs a workload for a time, as fast as it goes.
func (s sysbench) timed(ctx context.Context, i *server.Instance, w workload, seconds int) (p pace, err error) {
	out, err := s.run(ctx, i, w.script, "run", "--threads=8", "--events=0",
		"--time="+strconv.Itoa(seconds), "--rand-type="+w.random)
	if err != nil {
		return p, err
	}
	rate := regexp.MustCompile(`transactions: +\d+ +\(([0-9.]+) per sec`).FindSubmatch(out)
	p95 := regexp.MustCompile(`95th percentile: +([0-9.]+)`).FindSubmatch(out)
	if rate == nil || p95 == nil {
		return p, fmt.Errorf("sysbench does not say how fast it was:\n%s", lastLines(out, 30))
	}
	p.Transactions, err = strconv.ParseFloat(string(rate[1]), 64)
	if err != nil {
		return p, err
	}
	p.P95, err = strconv.ParseFloat(string(p95[1]), 64)
	return p, err
}

// command is sysbench's, whose last option is the command's name.
func (s sysbench) command(ctx context.Context, i *server.Instance, script, command string, options ...string) *exec.Cmd {
	args := append([]string{script, "--db-driver=mysql",
		"--mysql-socket=" + i.Socket(), "--mysql-user=root", "--mysql-db=" + schemaName,
		"--tables=" + strconv.Itoa(s.tables), "--table-size=" + strconv.Itoa(s.tableSize)}, options...)
	cmd := exec.CommandContext(ctx, s.program, append(args, command)...)
	cmd.Env = append(cmd.Environ(), s.plugins()...)
	return cmd
}

func (s sysbench) run(ctx context.Context, i *server.Instance, script, command string, options ...string) ([]byte, error) {
	cmd := s.command(ctx, i, script, command, options...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("sysbench %s %s: %w\n%s", script, command, err, lastLines(out, 15))
	}
	return out, nil
}
