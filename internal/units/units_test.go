package units

import (
	"testing"
	"time"
)

func TestParseBytes(t *testing.T) {
	for s, want := range map[string]int64{"0": 0, "512": 512, "1k": 1 << 10, "512M": 512 << 20, "2GiB": 2 << 30, "1 TB": 1 << 40} {
		if got, err := ParseBytes(s); err != nil || got != want {
			t.Errorf("%q: got %d, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "x", "-1", "1.5G", "9999999999T", "MiB"} {
		if n, err := ParseBytes(s); err == nil {
			t.Errorf("%q: got %d, want an error", s, n)
		}
	}
}

func TestWords(t *testing.T) {
	for _, c := range []struct{ have, want string }{
		{Bytes(1023), "1023 B"}, {Bytes(1536), "1.5 KiB"}, {Bytes(5 << 40), "5.0 TiB"}, {Bytes(1 << 52), "4096.0 TiB"},
		{Count(0), "0"}, {Count(1234567), "1,234,567"}, {Count(-123), "-123"},
		{Duration(0), "0 ms"}, {Duration(90 * time.Second), "1 min 30 s"}, {Duration(25 * time.Hour), "25 h 00 min"},
	} {
		if c.have != c.want {
			t.Errorf("have %q, want %q", c.have, c.want)
		}
	}
}
