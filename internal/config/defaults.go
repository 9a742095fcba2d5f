package config

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/lifeboat-db/lifeboat/internal/fault"
)

// WithDefaults completes a data source name from the [client] and [lifeboat]
// groups of an option file, as MySQL's own tools read it: user, password, and,
// if there is no data source name, socket or host and port. What the data
// source name says wins.
func WithDefaults(dsn, path string) (string, error) {
	opts, err := readDefaults(path)
	if err != nil {
		return "", fault.New(fault.Storage, fmt.Errorf("option file: %w", err), "check the name of the file and whether this user may read it")
	}
	address := dsn == "" || dsn == "/"
	if dsn == "" {
		dsn = "/"
	}
	cfg, err := mysql.ParseDSN(dsn)
	if err != nil {
		return "", fault.Usagef("data source name: %w", err)
	}
	orElse(&cfg.User, opts["user"])
	orElse(&cfg.Passwd, opts["password"])
	switch {
	case address && opts["socket"] != "":
		cfg.Net, cfg.Addr = "unix", opts["socket"]
	case address && opts["host"] != "":
		port := opts["port"]
		orElse(&port, "3306")
		cfg.Net, cfg.Addr = "tcp", net.JoinHostPort(opts["host"], port)
	}
	return cfg.FormatDSN(), nil
}

func orElse(text *string, otherwise string) {
	if *text == "" {
		*text = otherwise
	}
}

func readDefaults(path string) (map[string]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	opts := map[string]string{}
	client := false
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		line := strings.TrimSpace(sc.Text())
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
		case line[0] == '[':
			client = line == "[client]" || line == "[lifeboat]"
		case client:
			k, v, _ := strings.Cut(line, "=")
			opts[strings.ReplaceAll(strings.TrimSpace(k), "_", "-")] = unquote(strings.TrimSpace(v))
		}
	}
	return opts, sc.Err()
}

func unquote(s string) string {
	if len(s) >= 2 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0] {
		return s[1 : len(s)-1]
	}
	return s
}
