// Package rawconn logs in to a server and gives the connection away: for
// protocols that database/sql's drivers do not speak. Login and encryption are
// go-mysql's.
package rawconn

import (
	"context"
	"net"
	"time"

	"github.com/go-mysql-org/go-mysql/client"

	"github.com/lifeboat-db/lifeboat/internal/dbconn"
)

// Login connects and logs in as a data source name of the Go driver says.
// Beside the time to connect, the server may take patience for it; the
// connection has that as its deadline until another one is set. What wrap makes
// of the connection lies below encryption; nil: it stays as it is.
func Login(ctx context.Context, dsn string, patience time.Duration, wrap func(net.Conn) net.Conn) (*client.Conn, error) {
	cfg, err := dbconn.Config(dsn)
	if err != nil {
		return nil, err
	}
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		d := net.Dialer{Timeout: cfg.Timeout}
		conn, err := d.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		err = conn.SetDeadline(time.Now().Add(cfg.Timeout + patience))
		if wrap != nil {
			conn = wrap(conn)
		}
		return conn, err
	}
	var options []client.Option
	if cfg.TLS != nil {
		options = append(options, func(c *client.Conn) error {
			c.SetTLSConfig(cfg.TLS)
			return nil
		})
	}
	return client.ConnectWithDialer(ctx, cfg.Net, cfg.Addr, cfg.User, cfg.Passwd, "", dial, options...)
}
