package report

import (
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/units"
)

func TestUnits(t *testing.T) {
	for _, c := range []struct{ have, want string }{
		{span(0), "0 s"}, {span(0.0001), "1 ms"}, {span(0.25), "250 ms"}, {span(0.9999), "1.0 s"}, {span(59.94), "59.9 s"}, {span(59.96), "1 min"},
		{span(60), "1 min"}, {span(75.4), "1 min 15 s"}, {span(3599.7), "1 h"}, {span(3661), "1 h 01 min"}, {span(47 * 3600), "47 h"}, {span(100 * 3600), "4 d 04 h"},
		{size(0), "0 B"}, {size(1023), "1023 B"}, {size(1536), "1.5 KiB"}, {size(41 << 30), "41.0 GiB"}, {size(120 << 30), "120 GiB"},
		{rate(0, 1), ""}, {rate(1<<20, 0), ""}, {rate(1<<30, 1), "1,024 MiB/s"}, {rate(3<<20, 2), "1.5 MiB/s"}, {rate(1<<20, 1000), "0.001 MiB/s"},
		{units.Count(-1234567), "-1,234,567"}, {units.Count(999), "999"}, {counted(1, "drill"), "1 drill"}, {counted(2000, "drill"), "2,000 drills"},
		{percent(0, 5), "0 %"}, {percent(1, 1e6), "1 %"}, {percent(999999, 1e6), "99 %"}, {percent(5, 5), "100 %"}, {percent(5, 0), ""},
		{iso(time.Date(2026, 11, 25, 4, 0, 0, 500e6, time.FixedZone("", 3600))), "2026-11-25T03:00:00.5Z"}, {iso(time.Time{}), ""},
		{cut("äöü", 2), "äö…"}, {cut("äöü", 3), "äöü"},
	} {
		if have := strings.ReplaceAll(c.have, nbsp, " "); have != c.want {
			t.Errorf("have %q, want %q", have, c.want)
		}
	}
}

func TestGTIDs(t *testing.T) {
	const a, b = "3e11fa47-71ca-11e1-9e33-c80aa9429562", "4e11fa47-71ca-11e1-9e33-c80aa9429562"
	for set, want := range map[string]gtids{
		"":                                  {},
		"0-1-17":                            {Short: "0-1-17"},
		"0-1-17,1-2-3":                      {Short: "0-1-17, 1-2-3"},
		"0-1-17,1-2-3,4-5-6,7-8-9":          {"0-1-17, 1-2-3 and 2 more", "0-1-17,1-2-3,4-5-6,7-8-9", "24 B"},
		a + ":1-5":                          {"3e11fa47…:1-5", a + ":1-5", "40 B"},
		a + ":1-5:7:9-10,\n" + b + ":tag:1": {"3e11fa47…:…9-10, 4e11fa47…:…1", a + ":1-5:7:9-10," + b + ":tag:1", "90 B"},
	} {
		have := newGTIDs(set)
		have.Size = strings.ReplaceAll(have.Size, nbsp, " ")
		if have != want {
			t.Errorf("%q: have %+v, want %+v", set, have, want)
		}
	}
	if n := len(newGTIDs(strings.Repeat("x", 1<<20)).Short); n > 200 {
		t.Errorf("%d bytes are shown", n)
	}
}
