package bench

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/server"
)

// datasetRecipe is raised when what a data set holds changes.
const datasetRecipe = 1

// spec is what a data set is made from. A data set in the cache is taken when
// its spec is equal.
type spec struct {
	Recipe       int    `json:"recipe"`
	Distribution string `json:"distribution"`
	Version      string `json:"version"`
	Workload     string `json:"workload"`
	Transactions int    `json:"transactions"`
	Tables       int    `json:"tables"`
	TableSize    int    `json:"table_size"`
	LogFileSize  int    `json:"log_file_size"`
}

// dataset is a starting state, the logs that follow it, and the end state.
type dataset struct {
	dir    string
	logDir string // below dir; empty: logs

	Spec      spec              `json:"spec"`
	Logs      []string          `json:"logs"`     // file names, oldest first
	Bytes     int64             `json:"bytes"`    // of all logs
	Position  string            `json:"position"` // FILE:POS of the backup; FILE is Logs[0]
	StartGTID string            `json:"start_gtid"`
	EndGTID   string            `json:"end_gtid"`
	Committed uint64            `json:"committed"` // transactions in the logs
	Checksums map[string]string `json:"checksums"` // table to CHECKSUM TABLE at the end
}

func (c ReplayConfig) spec(d server.Distribution) spec {
	n := c.Transactions
	if n == 0 {
		n = published(d.Flavor, c.Workload)
	}
	return spec{datasetRecipe, d.Name, d.Version, c.Workload, n, c.Tables, c.TableSize, c.LogFileSize}
}

// name is the directory's: short for the published table sizes.
func (s spec) name() string {
	name := fmt.Sprintf("%s-%s-%d", s.Distribution, s.Workload, s.Transactions)
	if p := DefaultReplay(); s.Tables != p.Tables || s.TableSize != p.TableSize {
		name += fmt.Sprintf("-%dx%d", s.Tables, s.TableSize)
	}
	return name
}

func (ds *dataset) start() string { return filepath.Join(ds.dir, "start") }

func (ds *dataset) logPaths() []string {
	var paths []string
	for _, name := range ds.Logs {
		paths = append(paths, filepath.Join(ds.dir, cmp.Or(ds.logDir, "logs"), name))
	}
	return paths
}

// openDataset returns the data set of the configuration for a server, making
// it if the cache has none.
func (c ReplayConfig) openDataset(ctx context.Context, d server.Distribution) (*dataset, error) {
	s := c.spec(d)
	dir := filepath.Join(c.dataDir(), s.name())
	ds, err := loadDataset(dir)
	if err == nil && ds.Spec == s {
		return ds, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	c.logf("%s: making the data set %s", d.Name, s.name())
	if err := c.makeDataset(ctx, d, s, dir); err != nil {
		return nil, fmt.Errorf("make data set %s: %w", s.name(), err)
	}
	return loadDataset(dir)
}

func loadDataset(dir string) (*dataset, error) {
	text, err := os.ReadFile(filepath.Join(dir, "dataset.json"))
	if err != nil {
		return nil, err
	}
	ds := &dataset{dir: dir}
	if err := json.Unmarshal(text, ds); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, "dataset.json"), err)
	}
	return ds, nil
}

// makeDataset works in a directory of its own and moves it into place when it
// is complete: two benches may make the same one, and one of them wins.
func (c ReplayConfig) makeDataset(ctx context.Context, d server.Distribution, s spec, dir string) error {
	program, err := findSysbench(c.Cache)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	building, err := os.MkdirTemp(filepath.Dir(dir), ".new-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(building) }()
	g := generator{
		dist: d, spec: s, dir: building, logf: c.logf,
		sysbench: sysbench{program, s.Tables, s.TableSize},
	}
	if err := g.run(ctx); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Rename(building, dir)
}

// generator runs the source server whose data directory and log become a data
// set. Its binary logs are outside of the data directory, so that the backup
// has none.
type generator struct {
	dist     server.Distribution
	spec     spec
	dir      string
	sysbench sysbench
	logf     func(string, ...any)
}

func (g generator) run(ctx context.Context) (err error) {
	if err := os.Mkdir(filepath.Join(g.dir, "logs"), 0o755); err != nil {
		return err
	}
	base := filepath.Join(g.dir, "logs", "binlog")
	source, err := server.Start(ctx, g.dist, server.Options{
		DataDir:        filepath.Join(g.dir, "source"),
		Args:           sourceSettings(g.dist.Flavor, base, g.spec.LogFileSize),
		SkipNetworking: true,
	})
	if err != nil {
		return err
	}
	// After a clean stop there is nothing left to kill.
	defer func() { err = errors.Join(err, source.Kill(), source.Stop(context.WithoutCancel(ctx))) }()
	if err := g.backup(ctx, source); err != nil {
		return err
	}
	ds := dataset{dir: g.dir, Spec: g.spec}
	if err := g.record(ctx, source, &ds); err != nil {
		return err
	}
	if err := source.Stop(ctx); err != nil {
		return err
	}
	return g.finish(&ds)
}

// backup fills the tables and takes the cold copy.
func (g generator) backup(ctx context.Context, source *server.Instance) error {
	g.logf("\tfill %d tables with %d rows each", g.spec.Tables, g.spec.TableSize)
	err := withDB(source, func(db *sql.DB) error {
		_, err := db.ExecContext(ctx, "CREATE DATABASE "+schemaName)
		return err
	})
	if err != nil {
		return err
	}
	if err := g.sysbench.prepare(ctx, source); err != nil {
		return err
	}
	if err := source.Shutdown(ctx); err != nil {
		return err
	}
	return server.Copy(ctx, source.DataDir(), filepath.Join(g.dir, "start"))
}

// record runs the workload. A server that starts begins a new log file, so the
// logs to replay are whole files.
func (g generator) record(ctx context.Context, source *server.Instance, ds *dataset) error {
	if err := source.Restart(ctx); err != nil {
		return err
	}
	return withDB(source, func(db *sql.DB) error {
		before, err := readPosition(ctx, db, g.dist.Flavor)
		if err != nil {
			return err
		}
		g.logf("\trun %d transactions of %s", g.spec.Transactions, g.spec.Workload)
		if err := g.sysbench.work(ctx, source, findWorkload(g.spec.Workload), g.spec.Transactions); err != nil {
			return err
		}
		after, err := readPosition(ctx, db, g.dist.Flavor)
		if err != nil {
			return err
		}
		ds.Position, ds.StartGTID, ds.EndGTID = fmt.Sprintf("%s:%d", before.file, before.offset), before.gtid, after.gtid
		if ds.Committed, err = countBetween(g.dist.Flavor, before.gtid, after.gtid); err != nil {
			return err
		}
		if ds.Logs, err = logsFrom(ctx, source, before.file); err != nil {
			return err
		}
		ds.Checksums, err = checksums(ctx, db)
		return err
	})
}

// logsFrom lists the binary logs from one on.
func logsFrom(ctx context.Context, source *server.Instance, first string) ([]string, error) {
	paths, err := source.BinaryLogs(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, path := range paths {
		names = append(names, filepath.Base(path))
	}
	n := slices.Index(names, first)
	if n < 0 {
		return nil, fmt.Errorf("the binary log %s is not among %v", first, names)
	}
	return names[n:], nil
}

// finish removes what the data set does not need and describes the rest.
func (g generator) finish(ds *dataset) error {
	if err := os.RemoveAll(filepath.Join(g.dir, "source")); err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(g.dir, "logs"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !slices.Contains(ds.Logs, e.Name()) {
			if err := os.Remove(filepath.Join(g.dir, "logs", e.Name())); err != nil {
				return err
			}
		}
	}
	if ds.Bytes, err = totalSize(ds.logPaths()); err != nil {
		return err
	}
	text, err := json.MarshalIndent(ds, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(g.dir, "dataset.json"), append(text, '\n'), 0o644)
}

func totalSize(paths []string) (int64, error) {
	var sum int64
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return 0, err
		}
		sum += info.Size()
	}
	return sum, nil
}

// countBetween counts the transactions of one source between two moments.
func countBetween(f server.Flavor, before, after string) (uint64, error) {
	flavor := gtid.MySQL
	if f == server.MariaDB {
		flavor = gtid.MariaDB
	}
	start, err := gtid.ParseSet(flavor, before)
	if err != nil {
		return 0, err
	}
	end, err := gtid.ParseSet(flavor, after)
	if err != nil {
		return 0, err
	}
	return end.Count() - start.Count(), nil
}
