package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/lifeboat-db/lifeboat/internal/fault"
)

// targetFromDefaults builds a data source name from the [client] group of an
// option file, as MySQL's own tools read it. Parts that the DSN given on the
// command line names win.
func targetFromDefaults(path, dsn string) (string, error) {
	opts, err := readDefaults(path)
	if err != nil {
		return "", &fault.Error{Class: fault.Storage, Err: fmt.Errorf("--defaults-file: %w", err), Hint: "check the name of the file and whether this user may read it"}
	}
	if dsn == "" {
		dsn = "/"
	}
	cfg, err := mysql.ParseDSN(dsn)
	if err != nil {
		return "", &fault.Error{Class: fault.Usage, Err: fmt.Errorf("--target %w", err)}
	}
	if cfg.User == "" {
		cfg.User = opts["user"]
	}
	if cfg.Passwd == "" {
		cfg.Passwd = opts["password"]
	}
	if dsn == "/" && opts["socket"] != "" {
		cfg.Net, cfg.Addr = "unix", opts["socket"]
	} else if dsn == "/" && opts["host"] != "" {
		port := opts["port"]
		if port == "" {
			port = "3306"
		}
		cfg.Net, cfg.Addr = "tcp", opts["host"]+":"+port
	}
	return cfg.FormatDSN(), nil
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
