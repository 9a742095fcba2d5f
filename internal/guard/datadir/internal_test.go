package datadir

import (
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
)

func TestAnonymous(t *testing.T) {
	var w walked
	if err := w.event(binlog.Event{Type: binlog.AnonymousGTID, Body: make([]byte, 42)}); err == nil {
		t.Error("a transaction without GTID was counted")
	}
	if err := w.event(binlog.Event{Type: binlog.GTIDEvent, Body: make([]byte, 3)}); err == nil {
		t.Error("an event that is cut off was counted")
	}
}
