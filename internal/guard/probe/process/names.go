package process

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/lifeboat-db/lifeboat/internal/guard/fact"
)

// servers are programs that are servers, or that start and keep one; backups
// are programs whose work would be lost. Names may deny, they never clear.
var (
	servers = []string{"mysqld", "mariadbd", "mysqld_safe", "mariadbd-safe", "mysqld-debug", "mysqld_multi", "mariadbd-multi", "garbd"}
	backups = []string{"mariadb-backup", "mariabackup", "xtrabackup", "mysqlbackup", "mysqldump", "mariadb-dump", "mysqlpump", "mydumper", "myloader"}
)

// ports of the protocols: classic and X.
var ports = []uint16{3306, 33060}

// names makes facts of what is called like a server or a backup, and of who
// listens at a server's port.
func names(proc string, s *Snapshot) (facts []fact.Fact) {
	add := func(subject string, pids []int, format string, args ...any) {
		facts = append(facts, fact.Fact{Probe: NamesName, Kind: fact.ProcessName, Verdict: fact.Active,
			Subject: subject, PIDs: pids, Summary: fmt.Sprintf(format, args...)})
	}
	for _, p := range s.Processes {
		if name := called(p, servers); name != "" { //check:names-server
			add(name, []int{p.PID}, "process %d is called %s", p.PID, name)
		}
		if name := called(p, backups); name != "" { //check:names-backup
			add(name, []int{p.PID}, "process %d is called %s: a backup or load is running", p.PID, name)
		}
	}
	listening, err := listeners(proc, s)
	if err != nil { //check:names-ports-unread
		facts = append(facts, fact.Fact{Probe: NamesName, Kind: fact.ProcessName, Subject: "ports",
			Summary: fmt.Sprintf("listening ports cannot be read: %v", err)})
	}
	for _, l := range listening {
		add(fmt.Sprintf("port %d", l.port), l.pids, "somebody listens at port %d", l.port)
	}
	if len(facts) == 0 {
		facts = append(facts, fact.Fact{Probe: NamesName, Kind: fact.ProcessName, Verdict: fact.Clear,
			Summary: "nothing is called like a server, and nobody listens at a server's port; this alone proves nothing"})
	}
	return facts
}

// called returns the name of a list by which a process goes: its comm (15 bytes
// at most), its program, or what it calls itself.
func called(p Process, list []string) string {
	exe := filepath.Base(strings.TrimSuffix(p.Exe, deletedSuffix))
	for _, name := range list {
		if p.Comm == name[:min(len(name), 15)] || exe == name || filepath.Base(p.Argv0) == name {
			return name
		}
	}
	return ""
}

type listener struct {
	port uint16
	pids []int
}

// listeners looks into every network namespace that has a process.
func listeners(proc string, s *Snapshot) (list []listener, err error) {
	asked := map[string]bool{}
	for _, p := range s.Processes {
		if asked[p.NetNS] {
			continue
		}
		for _, file := range []string{"tcp", "tcp6"} {
			text, readErr := os.ReadFile(filepath.Join(proc, strconv.Itoa(p.PID), "net", file))
			switch {
			case gone(readErr):
				continue // the process, or IPv6
			case readErr != nil:
				err = readErr
				continue
			}
			asked[p.NetNS] = true
			for _, l := range parseTCP(text) {
				list = append(list, listener{l.port, owners(s, l.inode)})
			}
		}
	}
	return list, err
}

func owners(s *Snapshot, inode uint64) (pids []int) {
	for _, p := range s.Processes {
		if slices.Contains(p.Sockets, inode) {
			pids = append(pids, p.PID)
		}
	}
	return pids
}

type socket struct {
	port  uint16
	inode uint64
}

// parseTCP reads /proc/net/tcp or tcp6 (proc(5)): sockets that listen (state
// 0A) at a server's port. Lines that are not of this form say nothing.
func parseTCP(text []byte) (list []socket) {
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 10 || f[3] != "0A" {
			continue
		}
		_, hex, ok := strings.Cut(f[1], ":")
		port, err := strconv.ParseUint(hex, 16, 16)
		if !ok || err != nil || !slices.Contains(ports, uint16(port)) {
			continue
		}
		inode, err := strconv.ParseUint(f[9], 10, 64)
		if err == nil {
			list = append(list, socket{uint16(port), inode})
		}
	}
	return list
}
