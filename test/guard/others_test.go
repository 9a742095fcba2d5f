package guard

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/lifeboat-db/lifeboat/internal/guard/interlock"
	"github.com/lifeboat-db/lifeboat/internal/guard/mysqld"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/test/topology"
)

// A set of three needs two machines more. They must not be processes of the
// world whose guard is tested, so they run outside of it: the same program, as
// TestOthers, listens at a socket, and starts a source and a replica, whose
// health it publishes, for each connection.
const (
	others  = "LIFEBOAT_TEST_OTHERS"  // inside: where to find them
	outside = "LIFEBOAT_TEST_OUTSIDE" // for the other machines: where to listen
)

// Members of a set beside the machine under test, by the letter of their id.
const (
	sourceID  = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	replicaID = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

// keyOf is the guard's key of a member, and of the person who makes manifests.
func keyOf(id string) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte(fmt.Sprintf("%-32.32s", id)))
}

func publicLine(key ed25519.PrivateKey) string {
	p, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		panic(err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(p)))
}

// startOthers starts the other machines and returns their socket.
func startOthers() (socket string, end func(), err error) {
	dir, err := os.MkdirTemp("", "others")
	if err != nil {
		return "", nil, err
	}
	socket = filepath.Join(dir, "s")
	cmd := exec.CommandContext(context.Background(), os.Args[0], "-test.run=^TestOthers$", "-test.timeout=1h")
	cmd.Env = append(os.Environ(), outside+"="+socket)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	return socket, func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	}, nil
}

// call is what the world asks of the other machines.
type call struct {
	Distribution string
	Endpoints    []string // of etcd
	Prefix       string
	Do           string // later: "kill-replica", "silence-replica"
}

type answer struct {
	Error               string
	Source, ReplicaPort int
}

// TestOthers is the other machines; it ends with the tests that it serves.
func TestOthers(t *testing.T) {
	path := os.Getenv(outside)
	if path == "" {
		t.Skip("started by TestMain, outside of the world of the other tests")
	}
	l, err := net.Listen("unix", path) //nolint:noctx // ended by its process
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ {
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Run(fmt.Sprint(n), func(t *testing.T) { serveSet(t, conn) })
	}
}

func serveSet(t *testing.T, conn net.Conn) {
	defer func() { _ = conn.Close() }()
	in, out := json.NewDecoder(bufio.NewReader(conn)), json.NewEncoder(conn)
	var c call
	if err := in.Decode(&c); err != nil {
		return
	}
	var d server.Distribution
	for _, one := range servertest.All(t) {
		if one.Name == c.Distribution {
			d = one
		}
	}
	source, replica := topology.Pair(t, d)
	silent := make(chan struct{})
	go publish(t.Context(), t, c, sourceID, source, nil)
	go publish(t.Context(), t, c, replicaID, replica, silent)
	_ = out.Encode(answer{Source: source.Port(), ReplicaPort: replica.Port()})
	for in.Decode(&c) == nil {
		var err error
		switch c.Do {
		case "kill-replica":
			err = replica.Kill()
		case "silence-replica":
			close(silent)
		default:
			err = errors.New("unknown")
		}
		a := answer{}
		if err != nil {
			a.Error = err.Error()
		}
		_ = out.Encode(a)
	}
}

// publish is the guard of another machine, as far as its set sees it.
func publish(ctx context.Context, t *testing.T, c call, id string, n *topology.Node, silent chan struct{}) {
	client, err := interlock.Open(interlock.Options{
		Endpoints: c.Endpoints, Prefix: c.Prefix, Set: setName, Machine: id, BootID: "boot", Key: keyOf(id),
		Keys: manifestKeys(t), StateFile: filepath.Join(t.TempDir(), "interlock"),
	})
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { _ = client.Close() }()
	for {
		observed := time.Now()
		state := interlock.State{Role: interlock.Down, Lag: -1}
		if said, err := mysqld.Ask(ctx, mysqld.Target{Socket: n.Socket(), User: "root"}); err == nil {
			state = interlock.FromServer(said)
		}
		_ = client.Publish(ctx, state, observed) // there may be no manifest yet, or no etcd any more
		select {
		case <-ctx.Done():
			return
		case <-silent:
			return
		case <-time.After(300 * time.Millisecond):
		}
	}
}
