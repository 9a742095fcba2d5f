package main

import (
	"reflect"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/replay"
	html "github.com/lifeboat-db/lifeboat/internal/report"
	"github.com/lifeboat-db/lifeboat/internal/restore"
)

// Nothing that a report holds is lost on its way to the page.
func TestPage(t *testing.T) {
	at := time.Date(2026, 11, 25, 3, 0, 0, 0, time.UTC)
	r := &restore.Report{
		Set: "s", Dir: "/d", Begun: at, Seconds: 12, Finished: true, Resumed: true, Forward: true,
		Steps: []restore.Step{{Name: "unpack the backup", Begun: at, Seconds: 3, Bytes: 4}},
		Plan: &restore.Plan{
			Repository: "r", Until: "bin.1:4", Seconds: 10, Warnings: []string{"w"},
			Backups: []backup.Manifest{{ID: "i", Kind: backup.Full, Driver: "dump", ServerVersion: "11.8", Finished: at, StoredBytes: 5, DataBytes: 6}},
			Base:    restore.Base{Server: "m", File: "bin.1", Offset: 1, At: at},
			Legs:    []*restore.Leg{{Server: "m", Names: []string{"bin.1"}, Bytes: 7, Stored: 8}},
		},
		Replay:  &replay.Report{Transactions: 9},
		Reached: &restore.Base{Server: "m", File: "bin.1", Offset: 4, GTIDs: "0-1-2", At: at},
	}
	want := html.Input{
		Set: "s", Repository: "r", Dir: "/d", Until: "bin.1:4", Begun: at, Seconds: 12, PredictedSeconds: 10, Finished: true, Resumed: true, Forward: true,
		Steps:   []html.Step{{Name: "unpack the backup", Begun: at, Seconds: 3, Bytes: 4}},
		Backups: []html.Backup{{ID: "i", Kind: "full", Driver: "dump", ServerVersion: "11.8", Finished: at, StoredBytes: 5, DataBytes: 6}},
		Base:    &html.State{Server: "m", File: "bin.1", Offset: 1, At: at},
		Logs:    []html.Log{{Server: "m", Files: []string{"bin.1"}, Bytes: 7, StoredBytes: 8}},
		Replay:  r.Replay, Reached: &html.State{Server: "m", File: "bin.1", Offset: 4, GTIDs: "0-1-2", At: at}, Warnings: []string{"w"},
	}
	if have := pageOf(r); !reflect.DeepEqual(have, want) {
		t.Errorf("have %+v\nwant %+v", have, want)
	}
	if have := pageOf(&restore.Report{}); !reflect.DeepEqual(have, html.Input{}) {
		t.Errorf("of nothing: %+v", have)
	}
}
