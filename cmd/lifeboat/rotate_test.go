package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/repository/store/storetest"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// gate stands before an S3 server and knows one access key.
type gate struct {
	mu    sync.Mutex
	valid string
	left  int // requests until the key is valid no more; negative: it stays
}

func (g *gate) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	g.mu.Lock()
	if g.left--; g.left == 0 {
		g.valid = "none"
	}
	ok := strings.Contains(r.Header.Get("Authorization"), "Credential="+g.valid+"/")
	g.mu.Unlock()
	if !ok {
		storetest.Refuse(w, http.StatusForbidden, "InvalidAccessKeyId")
		return
	}
	next.ServeHTTP(w, r)
}

func (g *gate) set(key string, left int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.valid, g.left = key, left
}

// rotating is a site whose repository is behind a gate.
type rotating struct {
	*site
	gate   *gate
	option string // the file with the password
}

func newRotating(t *testing.T, d server.Distribution) *rotating {
	t.Helper()
	s3 := storetest.Fake(t)
	r := &rotating{site: &site{t: t, i: servertest.Start(t, d, "--log-bin=bin", "--server-id=7", "--binlog-format=ROW"), dir: t.TempDir()}, gate: &gate{}}
	s3.Break(r.gate.serve)
	r.option = r.place("db1.cnf")
	r.exec("CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY AUTO_INCREMENT, b TEXT)", "CREATE USER lifeboat@localhost IDENTIFIED BY 'first'", "GRANT ALL ON *.* TO lifeboat@localhost")
	r.keys("first")
	r.gate.set("first", -1)
	r.password("first")
	r.config = file(t, "lifeboat.yaml", fmt.Sprintf(`version: 1
set: orders
servers:
  - name: db1
    dsn: "@unix(%s)/"
    defaults_file: %s
repositories:
  - name: far
    url: s3://%s/orders
    endpoint: %s
    path_style: true
    access_key_file: %s
    secret_key_file: %s
archive: {flush: 20ms, max_wait: 200ms}
backup: {driver: dump}
`, r.i.Socket(), r.option, storetest.Bucket, s3.Endpoint, r.place("access"), r.place("secret")))
	return r
}

func (r *rotating) write(name, text string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text+"\n"), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rotating) keys(key string) {
	r.t.Helper()
	r.write("secret", "the secret of "+key)
	r.write("access", key)
}

func (r *rotating) password(word string) {
	r.t.Helper()
	r.write("db1.cnf", "[client]\nuser=lifeboat\npassword="+word)
}

// TestRotated: a running archive goes on with an access key and a password that
// are put into their files after the old ones were refused; a backup, a
// verification and a restore that lose their key say so, end with 8, and go on
// when they are started again with a new one.
func TestRotated(t *testing.T) {
	d := servertest.Of(t, server.MariaDB)
	r := newRotating(t, d)
	lifeboat(t, 0, r.args("repository", "create"))
	run := r.start()
	r.traffic(5)
	r.caughtUp()

	r.gate.set("second", -1)
	r.traffic(5)
	run.says("check the access key")
	r.keys("second")
	r.caughtUp()

	r.exec("ALTER USER lifeboat@localhost IDENTIFIED BY 'second'", "KILL USER lifeboat@localhost")
	run.says("Access denied")
	r.password("second")
	r.traffic(5)
	r.caughtUp()

	if !long {
		return
	}
	// Each loses its key after some requests: where that is depends on nothing but
	// their number.
	refused := func(args []string, left int) {
		t.Helper()
		r.gate.set("second", left)
		lifeboat(t, 8, args, "check the access key")
		r.gate.set("third", -1)
		r.keys("third")
		defer func() {
			r.gate.set("second", -1)
			r.keys("second")
		}()
		lifeboat(t, 0, args)
	}
	run.signal(syscall.SIGTERM)
	run.ends(0)
	mysqld, err := d.Tool("mysqld")
	if err != nil {
		t.Fatal(err)
	}
	var tools []string
	for name, path := range d.Tools() {
		tools = append(tools, "--tool", name+"="+path)
	}
	refused(append(r.args("backup"), tools...), 2)
	run = r.start()
	r.traffic(5)
	r.caughtUp()
	run.signal(syscall.SIGTERM)
	run.ends(0)
	refused(r.args("verify", "--state", r.place("state")), 8)
	restore := append(r.args("restore", "--dir", r.place("new"), "--mysqld", mysqld), tools...)
	refused(restore, 25)
	i := servertest.StartWith(t, d, server.Options{DataDir: r.place("new"), SkipNetworking: true})
	var n int
	if err := servertest.Open(t, i, "").QueryRowContext(t.Context(), "SELECT COUNT(*) FROM d.t").Scan(&n); err != nil || n != 20 {
		t.Errorf("%d rows came back, of 20: %v", n, err)
	}
}
