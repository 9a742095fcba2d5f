package report

import (
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"

	"github.com/lifeboat-db/lifeboat/internal/units"
)

// nbsp keeps a number and its unit on one line.
const nbsp = "\u00a0"

// size writes bytes with a binary unit.
func size(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	v, i := float64(n), 0
	for v >= 1024 && i < len(units)-1 {
		v /= 1024
		i++
	}
	switch {
	case i == 0:
		return fmt.Sprintf("%d"+nbsp+"B", n)
	case v >= 100:
		return fmt.Sprintf("%.0f"+nbsp+"%s", v, units[i])
	default:
		return fmt.Sprintf("%.1f"+nbsp+"%s", v, units[i])
	}
}

// rate writes bytes per second, always in MiB/s so that rates can be compared;
// nothing if there is none.
func rate(bytes int64, seconds float64) string {
	seconds = finite(seconds)
	if bytes <= 0 || seconds <= 0 {
		return ""
	}
	v := float64(bytes) / (1 << 20) / seconds
	switch {
	case v >= 100:
		return units.Count(int64(v+0.5)) + nbsp + "MiB/s"
	case v >= 0.1:
		return fmt.Sprintf("%.1f"+nbsp+"MiB/s", v)
	default:
		return fmt.Sprintf("%.2g"+nbsp+"MiB/s", v)
	}
}

// counted writes a number with what is counted.
func counted(n int64, one string) string {
	if n != 1 {
		one += "s"
	}
	return units.Count(n) + nbsp + one
}

// span writes seconds in two units at most.
func span(seconds float64) string {
	s := finite(seconds)
	whole := int64(s + 0.5)
	switch {
	case s == 0:
		return "0" + nbsp + "s"
	case s < 0.9995:
		return fmt.Sprintf("%d"+nbsp+"ms", max(1, int64(s*1000+0.5)))
	case s < 59.95:
		return fmt.Sprintf("%.1f"+nbsp+"s", s)
	case whole < 3600:
		return two(whole/60, "min", whole%60, "s")
	case whole < 48*3600:
		return two(whole/3600, "h", whole/60%60, "min")
	default:
		return two(whole/86400, "d", whole/3600%24, "h")
	}
}

// two writes a number of two units; the second one is left out if it is 0.
func two(a int64, unitA string, b int64, unitB string) string {
	if b == 0 {
		return units.Count(a) + nbsp + unitA
	}
	return fmt.Sprintf("%s%s%s%s%02d%s%s", units.Count(a), nbsp, unitA, nbsp, b, nbsp, unitB)
}

// finite is a number of seconds that can be drawn.
func finite(s float64) float64 {
	const most = 1e10 // three centuries
	if math.IsNaN(s) || s < 0 {
		return 0
	}
	return min(s, most)
}

// percent is part of whole; 0 and 100 only if it is none or all.
func percent(part, whole float64) string {
	if whole <= 0 {
		return ""
	}
	n := int64(part*100/whole + 0.5)
	switch {
	case n == 0 && part > 0:
		n = 1
	case n == 100 && part < whole:
		n = 99
	}
	return units.Count(n) + nbsp + "%"
}

// iso writes a time, in UTC; nothing if there is none.
func iso(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Truncate(time.Microsecond).Format("2006-01-02T15:04:05.999999Z07:00")
}

// isoSecond is iso without the fraction.
func isoSecond(t time.Time) string { return iso(t.Truncate(time.Second)) }

// clean replaces what is not seen but does something: names, GTIDs and errors
// are somebody else's. Lines and tabs become blanks.
func clean(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == '\n' || c == '\t' || c == '\r':
			return ' '
		case unicode.IsPrint(c):
			return c
		default:
			return unicode.ReplacementChar
		}
	}, s)
}

// cut shortens a text to n characters.
func cut(s string, n int) string {
	i := 0
	for at := range s {
		if i == n {
			return s[:at] + "…"
		}
		i++
	}
	return s
}

// joined puts what is not empty behind each other.
func joined(separator string, parts ...string) string {
	var there []string
	for _, p := range parts {
		if p != "" {
			there = append(there, p)
		}
	}
	return strings.Join(there, separator)
}
