package backup

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/backup/clone"
	"github.com/lifeboat-db/lifeboat/internal/fault"
)

// cloner is the driver of MySQL's clone plugin, see package clone. There are no
// increments. Of which state the copy is shows when a server has recovered it:
// the manifest has one that is not later, one that is not earlier, and Inexact
// unless they are the same. They are of a server without GTIDs.
type cloner struct{}

func (cloner) Name() string { return Clone }

// Check wants the plugin and the privileges. What the copy would leave out,
// tables of other engines, is refused.
func (cloner) Check(ctx context.Context, s Source) error {
	return withServer(ctx, s.DSN, func(db *sql.DB) error {
		server, err := identify(ctx, db)
		if err != nil {
			return err
		}
		if err := clone.Supports(server.Server); err != nil {
			return err
		}
		var active int
		err = db.QueryRowContext(ctx, "SELECT COUNT(*) FROM information_schema.plugins WHERE plugin_name = 'clone' AND plugin_status = 'ACTIVE'").Scan(&active)
		if err != nil {
			return denied(err)
		}
		if active == 0 {
			return fault.New(fault.Storage, errors.New("the server has no active clone plugin"), "INSTALL PLUGIN clone SONAME 'mysql_clone.so', or choose the driver dump")
		}
		if err := checkGrants(ctx, db, "BACKUP_ADMIN", "REPLICATION CLIENT"); err != nil {
			return err
		}
		holds, err := clone.Holds(ctx, db)
		if err == nil && holds {
			err = checkGrants(ctx, db, "RELOAD")
		}
		if err != nil {
			return err
		}
		return refuseAny(ctx, db, `SELECT CONCAT(table_schema, '.', table_name, ' (', engine, ')') FROM information_schema.tables
WHERE table_type = 'BASE TABLE' AND table_schema NOT IN `+vendorSchemas+` AND engine <> 'InnoDB' ORDER BY 1`,
			"tables of other engines than InnoDB, which a clone leaves out", "convert them, or use the driver dump")
	})
}

func (cloner) Take(ctx context.Context, s Source, parent *Manifest, w io.Writer) (Taken, error) {
	if parent != nil {
		return Taken{}, fault.Usagef("a clone has no increments")
	}
	t, err := clone.Take(ctx, clone.Options{DSN: s.DSN}, w)
	if err != nil {
		return Taken{}, cloneError(err)
	}
	taken := Taken{File: t.After.Position.File, Offset: t.After.Position.Offset, GTIDs: t.After.GTIDs.String(),
		Until:   &Until{File: t.Until.Position.File, Offset: t.Until.Position.Offset, GTIDs: t.Until.GTIDs.String(), ByPosition: t.Settings["gtid_mode"] != "ON"},
		Inexact: !t.Exact(), DataBytes: t.Bytes, Tool: "clone plugin of " + t.Version, Settings: map[string]string{dataFiles: t.Settings[dataFiles]}}
	if t.Held > 0 {
		taken.Tool += fmt.Sprintf("; commits waited for %s", t.Held.Round(time.Millisecond))
	}
	return taken, nil
}

// dataFiles is the setting without which, beside those of every backup, a server cannot
// start on a clone.
const dataFiles = "innodb_data_file_path"

func cloneError(err error) error {
	switch {
	case errors.Is(err, clone.ErrDenied), errors.Is(err, clone.ErrNoPlugin):
		return fault.New(fault.Storage, err, "check what the account may do, and that the plugin is there")
	case errors.Is(err, clone.ErrBusy):
		return fault.New(fault.Busy, err, "try again later")
	case errors.Is(err, clone.ErrUnsupported):
		return fault.New(fault.Failed, err, "use the driver dump")
	default:
		return err
	}
}

func (cloner) Unpack(ctx context.Context, chain []Stream, dir string, _ UnpackOptions) error {
	if len(chain) != 1 {
		return fmt.Errorf("a chain of %d clones", len(chain))
	}
	return fault.FromOS(clone.Unpack(ctx, chain[0], dir))
}
