package demo

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/replay"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/ui"
	"github.com/lifeboat-db/lifeboat/internal/units"
)

// targetArgs make a server to recover into. It writes no log of its own, which
// helps mysqlbinlog | mysql more than Lifeboat.
func (d *demo) targetArgs() []string { return append(d.settings(), "--server-id=2") }

// restoreInto copies the backup to a new data directory and starts a server
// on it.
func (d *demo) restoreInto(ctx context.Context, dataDir string) (*server.Instance, error) {
	if err := server.Copy(ctx, d.path("backup"), d.path(dataDir)); err != nil {
		return nil, err
	}
	return d.start(ctx, dataDir, d.targetArgs())
}

func (d *demo) restore(ctx context.Context) error {
	began := time.Now()
	return d.screen.step("Restoring the backup into a new server", func() (_ string, err error) {
		d.target, err = d.restoreInto(ctx, "restored")
		d.rep.Restore.Seconds = time.Since(began).Seconds()
		return "Restored the backup into a new server. It is as old as the backup now.", err
	})
}

// replay is what the demo is about.
func (d *demo) replay(ctx context.Context) error {
	p := replay.NewProgress()
	line := func() string { return ui.Line(p.Snapshot(), time.Now()) }
	return d.screen.stepLive(line, func() (string, error) {
		rep, err := replay.Run(ctx, replay.Options{
			Target: d.target.DSN(""), Files: d.archive, From: d.backup.position,
			Workers: d.opt.Workers, Verify: true, Finalize: true, Progress: p,
		})
		d.rep.Replay = rep
		return fmt.Sprintf("Replayed the logs: %s transactions with %s row changes came down to %s rows to write.%s",
			units.Count(rep.Transactions), units.Count(rep.RowChanges), units.Count(rep.NetRows), readBack(rep)), err
	})
}

// readBack says what the replay has checked by itself. Tables without a key and
// with cascades it cannot read back.
func readBack(rep *replay.Report) string {
	for _, c := range rep.Verified {
		if c.Name == "read-back" && c.Done {
			return " Most of them were read back from the server and compared."
		}
	}
	return ""
}

// compare is the proof.
func (d *demo) compare(ctx context.Context) error {
	if d.opt.sabotage != nil {
		if err := withDB(d.target, schemaName, func(db *sql.DB) error { return d.opt.sabotage(ctx, db) }); err != nil {
			return err
		}
	}
	return d.screen.step("Comparing all tables", func() (string, error) {
		after, err := takeState(ctx, d.target)
		if err != nil {
			return "", err
		}
		d.rep.Tables = Compare(d.before, after)
		d.rep.Equal = unequal(d.rep.Tables) == 0
		return "Compared all tables with the checksums taken before the disaster.", nil
	})
}
