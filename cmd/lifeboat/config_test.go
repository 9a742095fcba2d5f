package main

import (
	"strings"
	"testing"
)

// config example is what config check accepts, once its files are there.
func TestConfigExampleAndCheck(t *testing.T) {
	example := lifeboat(t, 0, []string{"config", "example"}, "version: 1").out
	path := file(t, "lifeboat.yaml", example)
	lifeboat(t, 8, []string{"config", "check", "--config", path}, "/etc/lifeboat/db1.cnf", "no such file", path+":18")
	option := file(t, "db1.cnf", "[client]\nuser=lifeboat\npassword=geheim\n")
	text := strings.ReplaceAll(example, "/etc/lifeboat/db1.cnf", option)
	text = strings.ReplaceAll(text, "/etc/lifeboat/s3.access", file(t, "access", "id"))
	text = strings.ReplaceAll(text, "/etc/lifeboat/s3.secret", file(t, "secret", "geheim"))
	path = file(t, "lifeboat.yaml", text)
	r := lifeboat(t, 0, []string{"config", "check", "--config", path, "--archive-flush", "2s"}, "archive.flush", "--archive-flush", "servers[0].defaults_file")
	if strings.Contains(r.out, "geheim") {
		t.Errorf("a password is shown:\n%s", r.out)
	}
}

func TestConfigCheckJSON(t *testing.T) {
	path := file(t, "lifeboat.yaml", "version: 1\nset: orders\nservers:\n  - dsn: u:geheim@unix(/s)/\n")
	cmd := command(t, "config", "check", "--json")
	cmd.Env = append(cmd.Env, "LIFEBOAT_CONFIG="+path, "LIFEBOAT_ARCHIVE_FLUSH=3s")
	r := finish(t, cmd)
	c := report[checked](t, r)
	if r.code != 0 || c.SchemaVersion != 1 || c.File != path || strings.Contains(r.out, "geheim") {
		t.Errorf("%d: %s", r.code, r.out)
	}
	found := false
	for _, v := range c.Values {
		found = found || v.Key == "archive.flush" && v.Value == "3s" && v.Origin.Name == "LIFEBOAT_ARCHIVE_FLUSH"
	}
	if !found {
		t.Errorf("no archive.flush with its origin: %s", r.out)
	}
}

// Whatever is wrong with a configuration is usage: 2, in every command.
func TestConfigErrors(t *testing.T) {
	path := file(t, "lifeboat.yaml", "version: 1\narchive: {flush: soon}\n")
	for _, args := range [][]string{{"config", "check"}, {"archive", "run"}, {"archive", "status"}, {"repository", "create"}} {
		lifeboat(t, 2, append(args, "--config", path), path+":2: archive.flush: it is \"soon\": want a time")
		lifeboat(t, 2, append(args, "--config", path+"x"), "--config", "no such file")
		lifeboat(t, 2, append(args, "--archive-flsh", "1s"), "unknown flag")
	}
	lifeboat(t, 2, []string{"archive", "run"}, "set: it is missing", "servers: it is missing", "repositories: it is missing")
	lifeboat(t, 2, []string{"archive", "runn"}, "unknown command")
	lifeboat(t, 2, []string{"archive", "run", "--set", "s", "--server1-dsn", "u@unix(/s)/", "--repo1-url", "/r", "--archive-purge", "never"}, "--archive-purge", "server or hold")
	r := report[struct {
		checked
		Error string
	}](t, lifeboat(t, 2, []string{"config", "check", "--json", "--config", path}))
	if !strings.Contains(r.Error, "archive.flush") {
		t.Errorf("its JSON says %q", r.Error)
	}
}
