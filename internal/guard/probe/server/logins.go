package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lifeboat-db/lifeboat/internal/guard/fact"
)

// logins completes the configured accounts.
func (p Probe) logins() ([]Login, error) {
	if len(p.Logins) == 0 {
		return []Login{{User: "root"}}, nil
	}
	list := slices.Clone(p.Logins)
	for i := range list {
		if err := list[i].complete(); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func (l *Login) complete() error {
	if l.DefaultsFile != "" {
		f, err := os.Open(l.DefaultsFile)
		if err != nil {
			return fmt.Errorf("account to ask servers with: %w", err)
		}
		defer func() { _ = f.Close() }()
		from, err := parseDefaults(io.LimitReader(f, 1<<20))
		if err != nil {
			return fmt.Errorf("account to ask servers with: %s: %w", l.DefaultsFile, err)
		}
		for _, v := range []struct{ to, from *string }{{&l.User, &from.User}, {&l.Password, &from.Password}, {&l.Socket, &from.Socket}} {
			if *v.to == "" {
				*v.to = *v.from
			}
		}
	}
	if l.User == "" {
		l.User = "root"
	}
	return nil
}

// parseDefaults reads user, password and socket of the [client] section of an
// option file. Of its escapes (mysys/my_default.c) only quotes are known; a
// backslash in a value is an error rather than another password.
func parseDefaults(r io.Reader) (l Login, err error) {
	section := ""
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' || line[0] == ';' || line[0] == '!' {
			continue
		}
		if line[0] == '[' {
			section = strings.TrimSpace(strings.Trim(line, "[]"))
			continue
		}
		name, value, _ := strings.Cut(line, "=")
		into := map[string]*string{"user": &l.User, "password": &l.Password, "socket": &l.Socket}[strings.TrimSpace(name)]
		if section != "client" || into == nil {
			continue
		}
		if *into, err = optionValue(value); err != nil {
			return Login{}, err
		}
	}
	return l, lines.Err()
}

func optionValue(v string) (string, error) {
	v = strings.TrimSpace(v)
	if strings.ContainsRune(v, '\\') {
		return "", errors.New("a value with a backslash is not understood")
	}
	if len(v) >= 2 && (v[0] == '\'' || v[0] == '"') && v[len(v)-1] == v[0] {
		return v[1 : len(v)-1], nil
	}
	if i := strings.Index(v, "#"); i >= 0 {
		v = strings.TrimSpace(v[:i])
	}
	return v, nil
}

// configured looks who listens at configured sockets. A process that nobody
// has found before is suspect as well; a socket that nobody answers at is fine.
func configured(logins []Login, known []suspect) (more []suspect, facts []fact.Fact) {
	for _, l := range logins {
		if l.Socket == "" {
			continue
		}
		pid, err := who(l.Socket)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			continue
		}
		if err != nil || pid <= 1 {
			facts = append(facts, unproven(l.Socket, fmt.Sprintf("configured socket %s: who listens is not known (process %d): %v", l.Socket, pid, err)))
			continue
		}
		same := func(s suspect) bool { return s.pid == pid }
		if !slices.ContainsFunc(known, same) && !slices.ContainsFunc(more, same) { //check:server-configured-unseen
			more = append(more, suspect{pid: pid, strong: true, subject: l.Socket, seen: startTime(pid)})
		}
	}
	return more, facts
}

// who connects and asks the kernel who listens.
func who(path string) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err = errors.Join(err, credErr); err != nil {
		return 0, err
	}
	return int(cred.Pid), nil
}
