package backup

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
)

// scratch is a directory of mode 0700 for the time of one backup, with the
// option file of the tools. A password stands there, never on a command line,
// which everybody on the host can see.
type scratch struct {
	dir      string
	defaults string
}

// newScratch makes it. The caller removes it.
func newScratch(s Source, flavor gtid.Flavor) (scratch, error) {
	dir, err := os.MkdirTemp(s.Dir, "lifeboat-backup-*")
	if err != nil {
		return scratch{}, fault.Errorf(fault.Storage, "scratch directory: %w", err)
	}
	c := scratch{dir: dir, defaults: s.DefaultsFile}
	if c.defaults == "" {
		c.defaults = filepath.Join(dir, "client.cnf")
		err = writeDefaults(c.defaults, s.DSN, flavor)
	}
	if err != nil {
		return scratch{}, errors.Join(fmt.Errorf("option file: %w", err), c.remove())
	}
	return c, nil
}

// env is the environment of the tools. With an option file of ours nothing else
// says how to connect: neither variables, nor the login path file, which
// MySQL's tools read beside any option file.
func (c scratch) env() []string {
	if filepath.Dir(c.defaults) != c.dir {
		return nil
	}
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "MYSQL_") || strings.HasPrefix(v, "MARIADB_") })
	return append(env, "MYSQL_TEST_LOGIN_FILE="+filepath.Join(c.dir, "none"))
}

func (c scratch) remove() error { return os.RemoveAll(c.dir) }

// writeDefaults makes an option file of mode 0600.
func writeDefaults(path, dsn string, flavor gtid.Flavor) error {
	cfg, err := dbconn.Config(dsn)
	if err != nil {
		return err
	}
	text, err := defaults(cfg, flavor)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// defaults are a connection's settings as an option file: the group [client],
// which all tools of both vendors read.
func defaults(cfg *mysql.Config, flavor gtid.Flavor) (string, error) {
	lines := []string{"[client]", "user=" + quote(cfg.User), "password=" + quote(cfg.Passwd)}
	switch cfg.Net {
	case "unix":
		lines = append(lines, "protocol=socket", "socket="+quote(cfg.Addr))
	case "tcp":
		host, port, err := net.SplitHostPort(cfg.Addr)
		if err != nil {
			return "", err
		}
		lines = append(lines, "protocol=tcp", "host="+quote(host), "port="+port)
	default:
		return "", fault.Usagef("network %q: the tools know unix and tcp", cfg.Net)
	}
	encryption, err := tlsOptions(cfg.TLSConfig, flavor)
	return strings.Join(append(lines, encryption...), "\n") + "\n", err
}

// tlsOptions are what a DSN's tls parameter means to the vendors' clients.
func tlsOptions(setting string, flavor gtid.Flavor) ([]string, error) {
	maria := map[string][]string{
		"": {"skip-ssl"}, "false": {"skip-ssl"}, "preferred": {"skip-ssl-verify-server-cert"},
		"skip-verify": {"ssl", "skip-ssl-verify-server-cert"}, "true": {"ssl", "ssl-verify-server-cert"},
	}
	oracle := map[string][]string{
		"": {"ssl-mode=DISABLED", "loose-get-server-public-key"}, "false": {"ssl-mode=DISABLED", "loose-get-server-public-key"},
		"preferred": {"ssl-mode=PREFERRED"}, "skip-verify": {"ssl-mode=REQUIRED"}, "true": {"ssl-mode=VERIFY_IDENTITY"},
	}
	known := oracle
	if flavor == gtid.MariaDB {
		known = maria
	}
	lines, ok := known[strings.ToLower(setting)]
	if !ok {
		return nil, fault.New(fault.Usage, fmt.Errorf("tls=%s cannot be told to the tools", setting), "give an option file for them")
	}
	return lines, nil
}

// quote quotes a value of an option file: what my_default.c of both vendors
// takes back (MySQL 9.7 mysys/my_default.cc, MariaDB 10.11 mysys/my_default.c:
// search_default_file_with_ext).
func quote(value string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`, "\r", `\r`, "\b", `\b`).Replace(value) + `"`
}
