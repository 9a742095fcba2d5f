package report_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/replay"
	"github.com/lifeboat-db/lifeboat/internal/report"
)

func at(text string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		panic(err)
	}
	return t
}

const (
	uuidA = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
	uuidB = "4e11fa47-71ca-11e1-9e33-c80aa9429562"
	set   = uuidA + ":1-1234584:1234586-1234590:1234600-8765432," + uuidB + ":1-77"
)

// restored is a restore that went well, with all there is to tell.
func restored() report.Input {
	begun := at("2026-11-25T03:04:53Z")
	return report.Input{
		Set: "shop", Repository: "offsite", Dir: "/srv/restored/shop", Host: "db7.example", Until: "2026-11-25T03:59:42+01:00",
		Begun: begun, Seconds: 431.7, PredictedSeconds: 402, Finished: true,
		Steps: []report.Step{
			{Name: "unpack the backup", Begun: begun.Add(400 * time.Millisecond), Seconds: 231.4, Bytes: 44023414784},
			{Name: "fetch the log", Begun: begun.Add(400 * time.Millisecond), Seconds: 38.25, Bytes: 2147483648},
			{Name: "start a private server", Begun: begun.Add(232 * time.Second), Seconds: 9.1},
			{Name: "replay the log", Begun: begun.Add(241200 * time.Millisecond), Seconds: 181.5, Bytes: 6442450944},
			{Name: "stop the server", Begun: begun.Add(423 * time.Second), Seconds: 8.6},
		},
		Backups: []report.Backup{
			{ID: "20261122T010000Z-0a1b2c", Kind: "full", Driver: "mariadb-backup", ServerVersion: "11.8.6-MariaDB-log", Finished: at("2026-11-22T01:31:04Z"), StoredBytes: 39728447488, DataBytes: 128849018880},
			{ID: "20261124T010000Z-77aa01", Kind: "incremental", Driver: "mariadb-backup", ServerVersion: "11.8.6-MariaDB-log", Finished: at("2026-11-24T01:04:41Z"), StoredBytes: 2147483648},
			{ID: "20261125T010000Z-c0ffee", Kind: "incremental", Driver: "mariadb-backup", ServerVersion: "11.8.6-MariaDB-log", Finished: at("2026-11-25T01:03:12Z"), StoredBytes: 2147483648},
		},
		Base: &report.State{Server: "mariadb-1", File: "bin.000040", Offset: 8812, At: at("2026-11-25T01:03:12Z")},
		Logs: []report.Log{{Server: "mariadb-1", Files: []string{"bin.000040", "bin.000041", "bin.000042"}, Bytes: 6442450944, StoredBytes: 2147483648}},
		Replay: &replay.Report{
			Target: "root:hunter2@unix(/srv/restored/shop.sock)/",
			Plan: &replay.Plan{
				From: binlog.Position{File: "bin.000040", Offset: 8812}, To: binlog.Position{File: "bin.000042", Offset: 734003221},
				First: at("2026-11-25T01:03:12.25Z"), Last: at("2026-11-25T02:59:41.512345Z"),
			},
			Finished: true, Finalized: true, Transactions: 1234567, RowChanges: 23456789, NetRows: 4567890, Barriers: 12, Bytes: 6442450944, Seconds: 181.4,
			Verified: proofs(), Notes: []string{"gtid_binlog_state left alone: the target's own binary log holds 0-9-3"},
			Lanes: []replay.LaneReport{{Table: "shop.sessions_of_customers_that_have_never_logged_in", Reason: "no key"}, {Table: "shop.audit", Reason: "partial row images (MINIMAL or NOBLOB)"}},
		},
		Reached:  &report.State{Server: "mariadb-1", File: "bin.000042", Offset: 734003221, GTIDs: set, At: at("2026-11-25T03:12:00Z")},
		Warnings: []string{"the backup has 2 tables of MyISAM: they were locked while they were copied"},
	}
}

func proofs() []replay.Check {
	return []replay.Check{
		{Name: "stop", Done: true, Text: "reached exactly: bin.000042:734003221"},
		{Name: "checksums", Done: true, Text: "CRC32 of every event read"},
		{Name: "continuity", Done: true, Text: "3 files, no gap"},
		{Name: "chunks", Done: true, Text: "every chunk committed with its checkpoint"},
		{Name: "strict", Done: true, Text: "every insert found no row, every update and delete found its row"},
		{Name: "read-back", Done: true, Text: "read back and compared: 4567890 rows"},
	}
}

// drilled is a drill that took too long, and has not proven all.
func drilled() report.Input {
	in := restored()
	in.Seconds, in.Steps[3].Seconds, in.Steps[4].Begun = 1031.7, 781.5, in.Begun.Add(1023*time.Second)
	in.Replay.Verified[5] = replay.Check{Name: "read-back", Text: "last image of every touched key (--verify)"}
	in.Drill = &report.Drill{
		Objective: 15 * time.Minute,
		Checks: []report.Check{
			{Name: "tables", Done: true, Text: "CHECK TABLE of 412 tables"},
			{Name: "query", Done: false, Text: "SELECT COUNT(*) FROM shop.orders: 0, and at least 1000000 were expected"},
		},
		History: drills(30),
	}
	return in
}

// drills are a history of one drill each day, the last one that of drilled.
func drills(n int) (list []report.Point) {
	random := rand.New(rand.NewPCG(1, 2))
	end := at("2026-11-25T03:04:53Z")
	for i := range n {
		age := n - 1 - i
		p := report.Point{Time: end.AddDate(0, 0, -age), Seconds: 380 + 200*float64(i)/float64(n) + 60*random.Float64(), Passed: true, Bytes: 40 << 30}
		switch {
		case i%97 == 17:
			p.Passed, p.Seconds = false, 95
		case age == 0:
			p.Passed, p.Seconds = false, 1031.7
		}
		list = append(list, p)
	}
	return list
}

// failed is a restore that broke off.
func failed() report.Input {
	in := restored()
	in.Finished, in.Reached, in.Replay, in.Seconds = false, nil, nil, 312.4
	in.Steps = in.Steps[:3]
	in.Steps[2].Seconds = 0
	in.Error = "restore: start a private server: mariadbd ended with status 1: [ERROR] InnoDB: Page [page id: space=4711, page number=77] log sequence number 81234567 is in the future! Current system log sequence number 81000000."
	return in
}

// huge has more of everything than anybody reads.
func huge() report.Input {
	in := drilled()
	in.Steps = nil
	for i := range 200 {
		in.Steps = append(in.Steps, report.Step{Name: fmt.Sprintf("step %d", i), Begun: in.Begun.Add(time.Duration(i) * 5 * time.Second), Seconds: 1 + float64(i*37%100)/10, Bytes: int64(i) << 20})
	}
	in.Drill.History = drills(10000)
	var set strings.Builder
	set.WriteString(in.Reached.GTIDs)
	for n := 100; set.Len() < 1<<20; n += 10 {
		fmt.Fprintf(&set, ":%d-%d", n, n+7)
	}
	in.Reached.GTIDs = set.String()
	for i := range 1000 {
		in.Warnings = append(in.Warnings, fmt.Sprintf("warning %d", i))
		in.Replay.Lanes = append(in.Replay.Lanes, replay.LaneReport{Table: fmt.Sprintf("shop.t%d", i), Reason: "no key"})
	}
	for i := range 300 {
		in.Logs[0].Files = append(in.Logs[0].Files, fmt.Sprintf("bin.%06d", 43+i))
	}
	return in
}
