package replay

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/lifeboat-db/lifeboat/internal/checkpoint"
	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
)

// setting is a global server variable that a replay changes for its duration.
// What it was before stands in the checkpoint schema before it is changed, so
// a run that dies leaves enough behind to put it back. (A server that dies
// forgets SET GLOBAL by itself.)
type setting struct {
	name  string
	value string
	// least: the value is a size, and a larger one is left alone. (A redo log
	// smaller than what is written stalls in checkpoints; resizing takes MariaDB
	// about a second, so it is not made larger than the log needs.)
	least bool
	// keep: stays until --finalize, not only until the run ends.
	keep bool
	// must: without it the result would be wrong.
	must bool
}

// smallLog is how much log is too little to resize the redo log for.
const smallLog = 64 << 20

// settingsFor are the settings for a replay of logBytes of log.
func settingsFor(srv dbconn.Server, logBytes int64) []setting {
	redo := strconv.FormatInt(min(2<<30, logBytes&^(1<<20-1)), 10)
	if logBytes < smallLog {
		redo = "0"
	}
	s := []setting{
		// The source's events have left their changes in the log; on the target
		// they would change rows a second time.
		{name: "event_scheduler", value: "OFF", keep: true, must: true},
		// A crash may lose the last second of commits, checkpoint and data alike.
		{name: "innodb_flush_log_at_trx_commit", value: "2"},
	}
	if srv.Flavor == gtid.MariaDB {
		return append(s,
			// Triggers must not fire for row events: their effects are in the log.
			setting{name: "slave_run_triggers_for_rbr", value: "NO", keep: true, must: true},
			setting{name: "innodb_log_file_size", value: redo, least: true},
		)
	}
	return append(s, setting{name: "innodb_redo_log_capacity", value: redo, least: true})
}

// changeSettings sets what the server is not set to already, and returns notes
// about what could not be set.
func changeSettings(ctx context.Context, q dbconn.Querier, settings []setting) (notes []string, err error) {
	for _, s := range settings {
		note, err := changeSetting(ctx, q, s)
		if err != nil {
			return nil, err
		}
		if note != "" {
			notes = append(notes, note)
		}
	}
	return notes, nil
}

func changeSetting(ctx context.Context, q dbconn.Querier, s setting) (note string, err error) {
	old, err := dbconn.Variable(ctx, q, s.name)
	if errors.Is(err, dbconn.ErrNoVariable) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if strings.EqualFold(old, s.value) || old == "DISABLED" || s.least && atLeast(old, s.value) {
		return "", nil
	}
	if err := checkpoint.Remember(ctx, q, s.name, old); err != nil {
		return "", err
	}
	err = setGlobal(ctx, q, s.name, s.value)
	switch {
	case err == nil:
		return "", nil
	case s.must:
		return "", fmt.Errorf("set %s to %s for the time of the replay: %w", s.name, s.value, err)
	default:
		return fmt.Sprintf("%s stayed at %s: %v", s.name, old, err), nil
	}
}

func atLeast(have, want string) bool {
	h, err1 := strconv.ParseInt(have, 10, 64)
	w, err2 := strconv.ParseInt(want, 10, 64)
	return err1 == nil && err2 == nil && h >= w
}

func setGlobal(ctx context.Context, q dbconn.Querier, name, value string) error {
	if _, err := strconv.ParseFloat(value, 64); err != nil {
		value = "'" + strings.ReplaceAll(value, "'", "''") + "'"
	}
	_, err := q.ExecContext(ctx, "SET GLOBAL "+name+" = "+value)
	return err
}

// restoreSettings puts variables back: at the end of a run those that only
// make it faster, on finalize all.
func restoreSettings(ctx context.Context, q dbconn.Querier, settings []setting, all bool) error {
	old, err := checkpoint.Remembered(ctx, q)
	if err != nil {
		return fmt.Errorf("restore settings: %w", err)
	}
	var errs []error
	for _, s := range settings {
		value, ok := old[s.name]
		if !ok || s.keep && !all {
			continue
		}
		if now, err := dbconn.Variable(ctx, q, s.name); err == nil && strings.EqualFold(now, value) {
			continue // it could not be changed either
		}
		if err := setGlobal(ctx, q, s.name, value); err != nil {
			errs = append(errs, fmt.Errorf("restore %s to %s: %w", s.name, value, err))
		}
	}
	return errors.Join(errs...)
}
