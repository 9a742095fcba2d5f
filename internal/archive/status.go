package archive

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository"
)

// StatusVersion is the version of Status as JSON.
const StatusVersion = 1

// Status is what is archived of a set, and how far the live servers are ahead.
type Status struct {
	SchemaVersion int            `json:"schema_version"`
	Set           string         `json:"set"`
	Time          time.Time      `json:"time"`
	Servers       []ServerStatus `json:"servers"`
	Repositories  []PlaceStatus  `json:"repositories"`
}

// ServerStatus is what a live server says.
type ServerStatus struct {
	Name  string `json:"name"`
	ID    string `json:"id,omitempty"`    // under which its log is kept
	End   string `json:"end,omitempty"`   // FILE:OFFSET of its log
	Error string `json:"error,omitempty"` // why it does not answer
	// Warning is what is wrong with its own expiry of its log.
	Warning string `json:"warning,omitempty"`
	source  Source
	dsn     string
}

// PlaceStatus is what a repository holds.
type PlaceStatus struct {
	Name    string      `json:"name"`
	Logs    []LogStatus `json:"logs"`
	Refused []Refusal   `json:"refused,omitempty"` // live servers that are no members of the set
	Error   string      `json:"error,omitempty"`   // why it cannot be read
	err     error
	backups []Backup
}

// Refusal says why a repository refuses a server.
type Refusal struct {
	Server string `json:"server"` // name of the configuration
	Why    string `json:"why"`
}

// LogStatus is one server's log in a repository.
type LogStatus struct {
	Server   string    `json:"server"`         // uuid, or mariadb-ID
	Name     string    `json:"name,omitempty"` // of the configuration, if the server answers
	Files    int       `json:"files"`          // of the log
	Bytes    int64     `json:"bytes"`          // of the log
	Stored   int64     `json:"stored_bytes"`   // in the repository
	First    time.Time `json:"first_commit,omitzero"`
	Last     time.Time `json:"last_commit,omitzero"`
	Archived time.Time `json:"archived,omitzero"` // when the last of it was
	End      string    `json:"end,omitempty"`     // FILE:OFFSET
	Reached  string    `json:"reached"`           // GTIDs
	// Stranger: the server is no member of the set, and nothing leads on by it.
	Stranger bool  `json:"stranger,omitempty"`
	Gaps     []Gap `json:"gaps"`
	// Alarm is why the live server's log does not go on from what is archived: it was
	// begun anew (RESET MASTER), switched off, or has lost its end, or what comes next
	// is gone. How much is not archived nobody knows then.
	Alarm       string `json:"alarm,omitempty"`
	BehindBytes *int64 `json:"behind_bytes,omitempty"` // of the live server's log; absent: it does not answer, or Alarm
	// LagSeconds is 0 if nothing is behind, else at most the age of the last
	// commit that is archived; absent: as BehindBytes, or nobody knows, since that commit's time is none or, by a clock that is wrong or by
	// SET timestamp, has not come yet.
	LagSeconds *float64 `json:"lag_seconds,omitempty"`
}

// Look reads all places at once, and then asks all servers at once: so no log ends
// before what is archived of it. What does not answer has an Error in it. hold is
// RunOptions.Hold. backups lists a repository's; nil: there are none.
func Look(ctx context.Context, set string, servers []Server, places []Place, hold bool, backups Lister) *Status {
	s := &Status{SchemaVersion: StatusVersion, Set: set, Servers: make([]ServerStatus, len(servers)), Repositories: make([]PlaceStatus, len(places))}
	logs := make([][]Log, len(places))
	var all sync.WaitGroup
	for i, place := range places {
		all.Go(func() {
			p := &s.Repositories[i]
			p.Name = place.Name
			logs[i], p.err = lookPlace(ctx, set, servers, place, backups, p)
		})
	}
	all.Wait()
	for i, server := range servers {
		all.Go(func() { s.Servers[i] = lookServer(ctx, server, hold) })
	}
	all.Wait()
	s.Time = time.Now().UTC()
	for i := range s.Repositories {
		p := &s.Repositories[i]
		if p.err != nil {
			p.Error = p.err.Error()
			continue
		}
		all.Go(func() { p.Logs = s.describe(ctx, logs[i], p.backups) })
	}
	all.Wait()
	return s
}

func lookServer(ctx context.Context, server Server, hold bool) ServerStatus {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	s := ServerStatus{Name: server.Name}
	source, err := server.ask(ctx)
	if err == nil {
		s.dsn, err = server.dsn()
	}
	if err != nil {
		s.Error = err.Error()
		return s
	}
	s.ID, s.source, s.Warning = source.Server, source, source.expiry.warning(hold)
	if !source.End.IsZero() {
		s.End = source.End.String()
	}
	return s
}

// Lister lists the backups of a set in a repository.
type Lister func(ctx context.Context, r *repository.Repository, set string) ([]Backup, error)

func lookPlace(ctx context.Context, set string, servers []Server, place Place, backups Lister, p *PlaceStatus) (logs []Log, err error) {
	r, err := place.Open(ctx)
	if err != nil {
		return nil, err
	}
	if logs, err = Load(ctx, r, set); err != nil {
		return nil, err
	}
	// On S3 listing them is a request for each thousand of their parts.
	if backups != nil && slices.ContainsFunc(logs, func(l Log) bool { return len(l.Gaps()) > 0 }) {
		if p.backups, err = backups(ctx, r, set); err != nil {
			return nil, err
		}
	}
	for _, server := range servers {
		dsn, err := server.dsn()
		if err == nil {
			short, cancel := context.WithTimeout(ctx, askTime)
			err = Admit(short, Admission{Repository: r, Set: set, DSN: dsn, LookOnly: true})
			cancel()
		}
		if fault.ClassOf(err) == fault.Refused { // all else shows elsewhere
			p.Refused = append(p.Refused, Refusal{Server: server.Name, Why: err.Error()})
		}
	}
	return logs, nil
}

// describe tells what a place's logs are. A live server of which nothing is
// there has an empty one.
func (s *Status) describe(ctx context.Context, logs []Log, backups []Backup) []LogStatus {
	out := []LogStatus{}
	for _, l := range logs {
		out = append(out, s.log(ctx, l, backups))
	}
	for _, live := range s.Servers {
		if live.ID != "" && !slices.ContainsFunc(logs, func(l Log) bool { return l.Server == live.ID }) {
			out = append(out, s.log(ctx, Log{Server: live.ID}, nil))
		}
	}
	return out
}

func (s *Status) log(ctx context.Context, l Log, backups []Backup) LogStatus {
	st := LogStatus{Server: l.Server, Files: len(l.Files), Reached: l.Reached(), Stranger: l.Stranger, Gaps: append([]Gap{}, l.Gaps()...)}
	bridge(st.Gaps, backups)
	for _, f := range l.Files {
		st.Bytes += f.End - f.Start
		st.Stored += f.Stored
	}
	st.First, st.Last, st.Archived = l.first(), l.last(), l.archived()
	if tip := l.tip(); !tip.IsZero() {
		st.End = tip.String()
	}
	if i := slices.IndexFunc(s.Servers, func(live ServerStatus) bool { return live.ID == l.Server }); i >= 0 {
		st.Name = s.Servers[i].Name
		if st.Alarm = s.Servers[i].source.alarm(ctx, s.Servers[i].dsn, l); st.Alarm == "" {
			st.compare(l.tip(), s.Servers[i].source.files, s.Time)
		}
	}
	return st
}

// compare says how far a live server is ahead.
func (st *LogStatus) compare(tip binlog.Position, files []sourceFile, now time.Time) {
	behind := behindBytes(tip, files)
	lag := 0.0
	if behind > 0 && !st.Last.IsZero() {
		lag = max(0, now.Sub(st.Last).Seconds())
	}
	st.BehindBytes, st.LagSeconds = &behind, &lag
	if behind > 0 && (st.Last.IsZero() || st.Last.After(now)) {
		st.LagSeconds = nil // nothing says how old what is missing is
	}
}

// behindBytes is how much of a server's log comes behind what is archived.
func behindBytes(tip binlog.Position, files []sourceFile) (behind int64) {
	for _, f := range files {
		switch c := cmp.Compare(binlog.Number(f.Name), binlog.Number(tip.File)); {
		case tip.IsZero() || c > 0:
			behind += f.Size - firstOffset
		case c == 0:
			behind += max(0, f.Size-tip.Offset)
		}
	}
	return behind
}

// Err is what a command ends with: fault.Storage if a repository cannot be
// read, else fault.Refused if one refuses a server, else fault.Gap if a log has
// one behind which no backup was taken, or has an Alarm.
func (s *Status) Err() error {
	for _, p := range s.Repositories {
		if p.err != nil {
			return storage(p.err)
		}
	}
	for _, p := range s.Repositories {
		for _, r := range p.Refused {
			return fault.Errorf(fault.Refused, "archive: server %s: %s", r.Server, r.Why)
		}
	}
	for _, p := range s.Repositories {
		for _, l := range p.Logs {
			if gaps := open(l.Gaps); len(gaps) > 0 {
				return fault.New(fault.Gap, fmt.Errorf("archive: repository %s: the log of %s has %d gaps, the first one after %s: %s",
					p.Name, cmp.Or(l.Name, l.Server), len(gaps), gaps[0].After, gaps[0].Why),
					"take a full backup now: from then on nothing needs what is missing, but for a restore to a moment before it")
			}
			if l.Alarm != "" {
				return fault.New(fault.Gap, fmt.Errorf("archive: repository %s: the log of %s does not go on: %s", p.Name, cmp.Or(l.Name, l.Server), l.Alarm),
					"see that archive run runs: it archives the new log; and take a full backup, since none leads on to it")
			}
		}
	}
	return nil
}
