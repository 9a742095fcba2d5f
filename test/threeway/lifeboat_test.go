package threeway_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/lifeboat-db/lifeboat/internal/replay"
	"github.com/lifeboat-db/lifeboat/internal/server"
)

// lifeboats are the ways to replay with Lifeboat. The target's event scheduler
// is on: a replay must see to it itself that no event fires.
func lifeboats() []way {
	return []way{
		lifeboat("one worker", replay.Options{Workers: 1}),
		lifeboat("eight workers", replay.Options{Workers: 8, Memory: 16 << 20, ChunkBytes: 2 << 10, Verify: true}),
	}
}

func lifeboat(name string, o replay.Options) way {
	return way{
		name: name,
		args: []string{"--event-scheduler=ON"},
		replay: func(ctx context.Context, target *server.Instance, w world) (string, error) {
			o.Target, o.Files = target.DSN(""), w.files
			o.From = fmt.Sprintf("%s:%d", filepath.Base(w.files[0]), w.position)
			report, err := replay.Run(ctx, o)
			if err != nil {
				return said(report), err
			}
			if !report.Finished {
				return said(report), errors.New("not finished, and no error")
			}
			return said(report), nil
		},
	}
}

func said(r *replay.Report) string {
	return fmt.Sprintf("%d transactions, %d row changes, %d net rows, %d windows, %d barriers, verbatim %v",
		r.Transactions, r.RowChanges, r.NetRows, r.Windows, r.Barriers, r.Lanes)
}
