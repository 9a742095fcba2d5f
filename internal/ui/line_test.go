package ui

import (
	"strings"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/restore"
)

// TestSeveralErrors: an error of several lines is told on one, readably.
func TestSeveralErrors(t *testing.T) {
	text := Info(&restore.Info{Backups: []restore.BackupInfo{{ID: "b", Problem: "the log was never archived\nlog of mariadb-1: the logs have parted"}}})
	if !strings.Contains(text, "b: the log was never archived; log of mariadb-1: the logs have parted\n") {
		t.Errorf("%s", text)
	}
}
