package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/lifeboat-db/lifeboat/internal/atomicfile"
)

// Initialising a data directory takes a server several seconds; copying one
// takes a fraction of one. So each distribution's fresh data directory is
// built once and kept in the cache:
//
//	CACHE/templates/NAME-VERSION.RECIPE/    a data directory, complete; of one with
//	                                        options of birth these follow
//	CACHE/templates/.NAME-VERSION.RECIPE.new/   one being built, and .dense/, of
//	                                            which it is made
//
// In it root@localhost and root@127.0.0.1 have all rights and no password,
// and there is no other user and no database of the user's.

// templateRecipe is raised when a template's contents change.
const templateRecipe = 3

// template returns the distribution's fresh data directory, building it if it
// is not there. Processes that need the same one wait for one of them.
func template(ctx context.Context, d Distribution, options []string) (string, error) {
	base := filepath.Join(d.cache, "templates")
	if err := os.MkdirAll(base, 0o755); err != nil {
		return "", err
	}
	name := d.Name + "-" + d.Version + "." + strconv.Itoa(templateRecipe) + strings.Join(options, "")
	lock, err := openLocked(filepath.Join(base, "."+name+".lock"), syscall.LOCK_EX)
	if err != nil {
		return "", err
	}
	defer func() { _ = lock.Close() }()

	final := filepath.Join(base, name)
	if _, err := os.Stat(final); err == nil {
		return final, nil
	}
	building, dense := filepath.Join(base, "."+name+".new"), filepath.Join(base, "."+name+".dense")
	for _, left := range []string{building, dense} {
		if err := os.RemoveAll(left); err != nil {
			return "", err
		}
	}
	if err := initialize(ctx, d, dense, options); err != nil {
		return "", fmt.Errorf("initialize a data directory: %w", err)
	}
	// Most of it is zeros, up to nine tenths: as holes they cost no copy anything.
	if err := run(ctx, "cp", []string{"-a", "--sparse=always", "--", dense + "/.", building}, nil); err != nil {
		return "", err
	}
	if err := atomicfile.SyncTree(building); err != nil { // what has its name is whole, whatever happens to the machine
		return "", err
	}
	return final, errors.Join(os.Rename(building, final), os.RemoveAll(dense))
}

// birth are those of a server's options that a data directory has for its life, but
// for defaults, in a form of their own.
func birth(args []string) (options []string) {
	for _, o := range []struct{ name, usual string }{{"--lower-case-table-names", "0"}, {"--innodb-page-size", "16384"}} {
		last := o.usual
		for _, arg := range args {
			name, value, _ := strings.Cut(arg, "=")
			if strings.Replace(strings.ReplaceAll(name, "_", "-"), "--loose-", "--", 1) == o.name {
				last = value
			}
		}
		if last != o.usual {
			options = append(options, o.name+"="+last)
		}
	}
	return options
}

func initialize(ctx context.Context, d Distribution, dir string, options []string) error {
	if d.Flavor == MariaDB {
		return initializeMariaDB(ctx, d, dir, options)
	}
	return initializeMySQL(ctx, d, dir, options)
}

func initializeMySQL(ctx context.Context, d Distribution, dir string, options []string) error {
	init, err := os.CreateTemp("", "lb*.sql")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(init.Name()) }()
	// With skip-name-resolve a connection to the loopback port comes from
	// 127.0.0.1, which is not localhost.
	_, err = init.WriteString("CREATE USER root@'127.0.0.1';\n" +
		"GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;\n" +
		"GRANT PROXY ON ''@'' TO root@'127.0.0.1' WITH GRANT OPTION;\n")
	if err := errors.Join(err, init.Close()); err != nil {
		return err
	}
	// The redo log grows when a server starts on the copy; until then it is
	// a hundred megabytes less to copy.
	args := append(defaults(d), "--skip-log-bin", "--initialize-insecure",
		"--loose-innodb-redo-log-capacity=8M", "--init-file="+init.Name(), "--datadir="+dir)
	if err := run(ctx, d.mysqld, append(args, options...), nil); err != nil {
		return err
	}
	return forgetIdentity(dir)
}

// initializeMariaDB does what mariadb-install-db does, which itself is no use
// here: it runs programs of its prefix without our loader.
func initializeMariaDB(ctx context.Context, d Distribution, dir string, options []string) error {
	share, err := shareDir(ctx, d)
	if err != nil {
		return err
	}
	script, err := bootstrapScript(share)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(dir, "mysql"), 0o750); err != nil {
		return err
	}
	args := append(defaults(d), "--skip-log-bin", "--bootstrap", "--datadir="+dir,
		"--log-warnings=0", "--enforce-storage-engine=", "--max-allowed-packet=8M",
		"--net-buffer-length=16K")
	return run(ctx, d.mysqld, append(args, options...), script)
}

// bootstrapScript is the text that makes the system tables. The first
// variable asks for a root that needs no Unix user of the same name.
func bootstrapScript(share string) (io.Reader, error) {
	parts := []io.Reader{strings.NewReader(
		"create database if not exists mysql;\nuse mysql;\nSET @auth_root_socket=NULL;\n")}
	for _, names := range [][]string{
		{"mysql_system_tables.sql", "mariadb_system_tables.sql"},
		{"mysql_performance_tables.sql", "mariadb_performance_tables.sql"},
		{"mysql_system_tables_data.sql", "mariadb_system_tables_data.sql"},
		{"fill_help_tables.sql"},
		{"maria_add_gis_sp_bootstrap.sql"},
		{"mysql_sys_schema.sql", "mariadb_sys_schema.sql"},
	} {
		text, err := readFirst(share, names)
		if err != nil {
			return nil, err
		}
		parts = append(parts, bytes.NewReader(text), strings.NewReader("\n"))
	}
	return io.MultiReader(parts...), nil
}

func readFirst(dir string, names []string) (text []byte, err error) {
	for _, name := range names {
		if text, err = os.ReadFile(filepath.Join(dir, name)); err == nil {
			return text, nil
		}
	}
	return nil, err
}

// shareDir asks the server where its SQL scripts are: beside its messages.
func shareDir(ctx context.Context, d Distribution) (string, error) {
	out, err := exec.CommandContext(ctx, d.mysqld, "--no-defaults", "--verbose", "--help").Output()
	if err != nil {
		return "", fmt.Errorf("%s --verbose --help: %w", d.mysqld, err)
	}
	for line := range strings.Lines(string(out)) {
		// The help text has the same name with two dashes before it.
		if dir, ok := strings.CutPrefix(line, "lc-messages-dir "); ok {
			return strings.TrimSpace(dir), nil
		}
	}
	return "", fmt.Errorf("%s --verbose --help names no lc-messages-dir", d.mysqld)
}

// run runs a program to its end; an error has the end of what it printed.
func run(ctx context.Context, program string, args []string, stdin io.Reader) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdin = stdin
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", program, context.Cause(ctx)) // not: signal: killed
	}
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", program, err, lastLines(out, 20))
	}
	return nil
}

// lastLines returns the last n lines of text, indented so that they stand out
// in an error.
func lastLines(text []byte, n int) string {
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	lines = lines[max(0, len(lines)-n):]
	return "\t" + strings.Join(lines, "\n\t")
}
