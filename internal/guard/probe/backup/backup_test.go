package backup

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/guard/fact"
	"github.com/lifeboat-db/lifeboat/internal/guard/probe"
)

const good = `{"schema_version": 1, "server_uuid": "u", "last_full": "2026-01-31T02:00:00Z", "last_verified": "2026-01-31T04:00:00Z",
	"archived_until": "2026-01-31T10:00:00Z", "repository": "r"}`

func TestLook(t *testing.T) {
	for name, test := range map[string]struct {
		from, to string
		change   func(*Probe)
		want     fact.Verdict
	}{
		"good":             {want: fact.Clear},
		"any age":          {from: "2026-01-31T02", to: "2020-01-31T02", change: func(p *Probe) { p.MaxAge = 0 }, want: fact.Clear},
		"old full":         {from: "2026-01-31T02", to: "2026-01-29T02", want: fact.Active},
		"old verification": {from: "2026-01-31T04", to: "2026-01-29T04", want: fact.Active},
		"old archive":      {from: "2026-01-31T10", to: "2026-01-29T10", want: fact.Active},
		"future":           {from: "2026-01-31T10", to: "2027-01-31T10", want: fact.Unknown},
		"another server":   {from: `"u"`, to: `"v"`, want: fact.Active},
		"whose?":           {change: func(p *Probe) { p.ServerUUID = "" }, want: fact.Unknown},
		"missing file":     {change: func(p *Probe) { p.File += "x" }, want: fact.Unknown},
		"schema":           {from: `_version": 1`, to: `_version": 2`, want: fact.Unknown},
		"no repository":    {from: `"r"`, to: `""`, want: fact.Unknown},
		"no server":        {from: `"u"`, to: `""`, change: func(p *Probe) { p.ServerUUID = "" }, want: fact.Unknown},
		"never verified":   {from: `"last_verified": "2026-01-31T04:00:00Z",`, want: fact.Unknown, change: func(p *Probe) { p.MaxAge = 0 }},
		"more fields":      {from: `{`, to: `{"x": 1, `, want: fact.Unknown},
		"two values":       {from: `"r"}`, to: `"r"}{}`, want: fact.Unknown},
		"cut off":          {from: `"r"}`, want: fact.Unknown},
		"large":            {from: `"r"}`, to: `"r"}` + strings.Repeat(" ", maxFile), want: fact.Unknown},
	} {
		p := Probe{File: filepath.Join(t.TempDir(), "s"), ServerUUID: "u", MaxAge: 24 * time.Hour, Now: func() time.Time { return time.Date(2026, 1, 31, 10, 0, 30, 0, time.UTC) }}
		if err := os.WriteFile(p.File, []byte(strings.Replace(good, test.from, test.to, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		if test.change != nil {
			test.change(&p)
		}
		if facts := p.Look(t.Context(), probe.Question{}); len(facts) != 1 || facts[0].Verdict != test.want || facts[0].Kind != fact.Backup {
			t.Errorf("%s: %v, want %s", name, facts, test.want)
		}
	}
	if facts := (Probe{}).Look(t.Context(), probe.Question{}); len(facts) != 1 || facts[0].Verdict != fact.Clear || !strings.Contains(facts[0].Summary, "nothing claimed") {
		t.Error(facts)
	}
}

// TestMissing: a status that leaves anything out is none.
func TestMissing(t *testing.T) {
	var all map[string]any
	if err := json.Unmarshal([]byte(good), &all); err != nil {
		t.Fatal(err)
	}
	for field := range all {
		less := maps.Clone(all)
		delete(less, field)
		text, err := json.Marshal(less)
		if err != nil {
			t.Fatal(err)
		}
		if s, err := Parse(text); err == nil {
			t.Errorf("without %s: %+v", field, s)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := Parse(data); err == nil && (s.SchemaVersion != 1 || s.ServerUUID == "" || s.LastVerified.IsZero()) {
			t.Errorf("%q: %+v", data, s)
		}
	})
}
