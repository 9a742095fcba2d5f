package threeway_test

import (
	"context"

	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/test/oracle"
)

// way is one way to replay.
type way struct {
	name   string
	args   []string // further options of the target's mysqld
	replay func(ctx context.Context, target *server.Instance, w world) (said string, err error)
}

// serial is the vendor's own way. It would run the target's events.
var serial = way{
	name: "serial",
	args: []string{"--event-scheduler=OFF"},
	replay: func(ctx context.Context, target *server.Instance, w world) (string, error) {
		return "", oracle.Replay(ctx, target, w.files, w.position)
	},
}

// ways are all ways to replay; without the serial one if it is known to fail.
func ways(beyondSerial bool) (list []way) {
	if !beyondSerial {
		list = append(list, serial)
	}
	return append(list, lifeboats()...)
}
