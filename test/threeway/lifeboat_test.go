package threeway_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

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
		args: []string{"--event-scheduler=OFF"},
		replay: func(ctx context.Context, target *server.Instance, w world) (string, error) {
			if err := switchOnEvents(ctx, target); err != nil {
				return "", err
			}
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

// switchOnEvents starts the target's event scheduler at a moment from which on
// no event of the cases is due for a while: one that fires before the replay
// begins has changed the target. They fire at multiples of three seconds, and
// one second later.
func switchOnEvents(ctx context.Context, target *server.Instance) error {
	const period = 3 * time.Second
	at := time.Duration(time.Now().UnixNano()) % period
	time.Sleep((1200*time.Millisecond - at + period) % period)
	db, err := target.Open("")
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, "SET GLOBAL event_scheduler = ON")
	return errors.Join(err, db.Close())
}

func said(r *replay.Report) string {
	return fmt.Sprintf("%d transactions, %d row changes, %d net rows, %d windows, %d barriers, verbatim %v",
		r.Transactions, r.RowChanges, r.NetRows, r.Windows, r.Barriers, r.Lanes)
}
