package mysqld

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/go-sql-driver/mysql"

	"github.com/lifeboat-db/lifeboat/internal/dbconn"
)

// Sentinels of what a server could not be asked for. All mean UNKNOWN.
var (
	ErrHung        = errors.New("the server does not answer within the time given")
	ErrConnections = errors.New("the server has no connection left for us")
	ErrAccess      = errors.New("the server refuses the account")
	ErrPeer        = errors.New("another process than expected listens at the socket")
	ErrHidden      = errors.New("the list of sessions is not complete")
	ErrProtocol    = errors.New("what listens there does not speak the protocol of MySQL's clients")
	ErrVersion     = errors.New("a version of the server that is not known here")
)

// Timeout is how long one Ask may take in all.
const Timeout = 2 * time.Second

// Target is a server to ask.
type Target struct {
	// Socket is the path of the Unix socket; one through /proc/self/fd works.
	Socket   string
	User     string
	Password string
	// PIDs are the processes one of which must be who listens; none: anybody.
	PIDs []int
	// Timeout of everything; 0 is Timeout.
	Timeout time.Duration
}

// link makes connections and remembers who answered them.
type link struct {
	target Target
	mu     sync.Mutex
	pid    int
}

// dial connects and looks who listens, before anything is sent. The kernel
// notes the process that called listen(2) (unix(7), SO_PEERCRED); 0 is one
// that our PID namespace does not see.
func (l *link) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", l.target.Socket)
	if err != nil {
		return nil, err
	}
	pid, err := peer(conn.(*net.UnixConn))
	if err == nil {
		err = l.accept(pid)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

func (l *link) accept(pid int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if pid <= 0 { //check:mysqld-peer-visible
		return fmt.Errorf("%w: it is not visible from this PID namespace", ErrPeer)
	}
	if len(l.target.PIDs) > 0 && !slices.Contains(l.target.PIDs, pid) { //check:mysqld-peer-expected
		return fmt.Errorf("%w: process %d, not one of %v", ErrPeer, pid, l.target.PIDs)
	}
	if l.pid != 0 && l.pid != pid { //check:mysqld-peer-same
		return fmt.Errorf("%w: process %d a moment ago, now %d", ErrPeer, l.pid, pid)
	}
	l.pid = pid
	return nil
}

func peer(conn *net.UnixConn) (pid int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var sockErr error
	if err := raw.Control(func(fd uintptr) {
		cred, sockErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if sockErr != nil {
		return 0, os.NewSyscallError("getsockopt SO_PEERCRED", sockErr)
	}
	return int(cred.Pid), nil
}

// config is that of both connections. A server's accounts may demand TLS on
// the socket too; who answers is known by other means than its certificate.
func (l *link) config(tls bool) (*mysql.Config, error) {
	cfg, err := dbconn.Config("unix(x)/")
	if err != nil {
		return nil, err
	}
	cfg.User, cfg.Passwd, cfg.Addr = l.target.User, l.target.Password, l.target.Socket
	cfg.DialFunc = l.dial
	cfg.Timeout = l.timeout()
	// The context ends first; then the error is its own.
	cfg.ReadTimeout, cfg.WriteTimeout = 2*l.timeout(), 2*l.timeout()
	if tls {
		cfg.TLSConfig = "skip-verify"
	}
	return cfg, nil
}

func (l *link) timeout() time.Duration {
	if l.target.Timeout > 0 {
		return l.target.Timeout
	}
	return Timeout
}

// explain adds the sentinel that an error stands for.
func explain(ctx context.Context, err error) error {
	var timeout net.Error
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil, errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("%w (a stopped process, a server without threads, a lock): %w", ErrHung, err)
	}
	switch dbconn.Number(err) {
	case 1040, 1203, 1226: // ER_CON_COUNT_ERROR, ER_TOO_MANY_USER_CONNECTIONS, ER_USER_LIMIT_REACHED
		return fmt.Errorf("%w: %w", ErrConnections, err)
	case 1044, 1045, 1698, 3159, 4151:
		return fmt.Errorf("%w: %w", ErrAccess, err)
	}
	return err
}
