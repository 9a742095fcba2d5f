package history

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/lifeboat-db/lifeboat/internal/server"
)

// class says which expressions make sense on a column.
type class int

const (
	plain class = iota
	integer
	number // not an integer
	text
	document // JSON
	moment   // DATETIME(6) and its like
)

// kind is a column type together with the literals that go into it.
type kind struct {
	sql   string
	class class
	value func(r random) string
}

// double reports whether a value becomes a DOUBLE in a user variable.
func (k kind) double() bool { return k.sql == "FLOAT" || k.sql == "DOUBLE" }

// words collide in one collation or another: in case, in accents, in trailing
// spaces, in expansions; some differ only beyond the BMP.
var words = []string{
	"a", "A", "á", "Á", "a ", "A  ", "ä", "ae", "ß", "ss", "SS", "s", "", " ", "b", "B", "o", "ö", "Ø",
	"i", "I", "ı", "İ", "z", "ž", "æ", "Æ", "日本", "に", "ニ", "😀", "😁", "ch", "Ch", "h", "co-op", "coop", "resume", "résumé",
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func word(r random) string { return quote(pick(r, words)) }

// asciiWord is for columns whose character set has little else.
func asciiWord(r random) string {
	return quote(pick(r, []string{"a", "A", "a ", "b", "B", "ab", "aB", "", "x", "X ", "yz", "Yz", "é", "ß"}))
}

func intIn(low, high int64) func(random) string {
	return func(r random) string {
		switch {
		case r.chance(8):
			return strconv.FormatInt(low, 10)
		case r.chance(8):
			return strconv.FormatInt(high, 10)
		case r.chance(60):
			return strconv.Itoa(r.IntN(100))
		}
		return strconv.FormatInt(low+r.Int64N(high/2-low/2), 10)
	}
}

func unsigned64(r random) string {
	if r.chance(30) {
		return strconv.FormatUint(1<<64-1-r.Uint64N(4), 10)
	}
	return strconv.FormatUint(r.Uint64N(1<<uint(r.between(1, 63))), 10)
}

// smallKey is the domain of integer keys: small, so that keys meet again.
func smallKey(r random) string { return strconv.Itoa(r.between(1, 60)) }

func decimal(digits, fraction int) func(random) string {
	return func(r random) string {
		whole := r.Int64N(pow10(min(r.between(1, digits-fraction), 18)))
		sign := ""
		if r.chance(40) {
			sign = "-"
		}
		return fmt.Sprintf("%s%d.%0*d", sign, whole, fraction, r.Int64N(pow10(min(fraction, 18))))
	}
}

func pow10(n int) int64 {
	p := int64(1)
	for range n {
		p *= 10
	}
	return p
}

func float(r random) string {
	switch r.IntN(6) {
	case 0:
		return "0"
	case 1:
		return "-0e0"
	case 2:
		return fmt.Sprintf("%de%d", r.between(-9, 9), r.between(-30, 30))
	case 3:
		return "1.5"
	}
	return strconv.FormatFloat((r.Float64()-0.5)*1000, 'g', -1, 64)
}

func bytesOf(low, high int) func(random) string {
	return func(r random) string {
		n := r.between(low, high)
		if n == 0 {
			return "''"
		}
		if r.chance(30) { // trailing zeros and spaces
			return "X'" + r.hex(max(n-2, 0)) + pick(r, []string{"00", "20", "0000", "ff"}) + "'"
		}
		return "X'" + r.hex(n) + "'"
	}
}

// long returns an expression, not a literal: a history keeps its statements.
func long(limit int) func(random) string {
	return func(r random) string {
		if r.chance(70) {
			return word(r)
		}
		return fmt.Sprintf("REPEAT('%s', %d)", r.hex(20), r.IntN(limit/40)+1)
	}
}

func date(r random) string {
	switch r.IntN(12) {
	case 0:
		return "'0000-00-00'"
	case 1:
		return "'2024-02-00'"
	case 2:
		return "'9999-12-31'"
	case 3:
		return "'1000-01-01'"
	}
	return fmt.Sprintf("'20%02d-%02d-%02d'", r.between(20, 30), r.between(1, 12), r.between(1, 28))
}

func clock(r random) string {
	return fmt.Sprintf("%02d:%02d:%02d.%06d", r.IntN(24), r.IntN(60), r.IntN(60), r.IntN(1000000))
}

func datetime(r random) string {
	switch r.IntN(12) {
	case 0:
		return "'0000-00-00 00:00:00'"
	case 1:
		return "'9999-12-31 23:59:59.999999'"
	}
	return fmt.Sprintf("'20%02d-%02d-%02d %s'", r.between(20, 30), r.between(1, 12), r.between(1, 28), clock(r))
}

func timestamp(r random) string {
	if r.chance(10) {
		return "'0000-00-00 00:00:00'"
	}
	return fmt.Sprintf("'20%02d-%02d-%02d %s'", r.between(20, 30), r.between(1, 12), r.between(1, 28), clock(r))
}

func timeOfDay(r random) string {
	return fmt.Sprintf("'%s%d:%02d:%02d.%06d'", pick(r, []string{"", "-", ""}), r.IntN(839), r.IntN(60), r.IntN(60), r.IntN(1000000))
}

func year(r random) string {
	return pick(r, []string{"0", "1901", "2155", "2014", "'00'", "70"})
}

func point(r random) string {
	return fmt.Sprintf("ST_GeomFromText('POINT(%d %d.5)')", r.between(-100, 100), r.between(-80, 80))
}

func jsonDocument(r random) string {
	switch r.IntN(6) {
	case 0:
		return "'[]'"
	case 1:
		return `'"text"'`
	case 2:
		return fmt.Sprintf(`'[%d, null, true, {"k": %d.25}]'`, r.IntN(1000), r.IntN(100))
	}
	return fmt.Sprintf(`'{"a": %d, "b": "%s", "c": [%d, 2, 3], "d": {"e": "%s"}}'`,
		r.IntN(1000), r.hex(r.between(1, 40)), r.IntN(10), pick(r, words))
}

func enumValue(r random) string { return pick(r, []string{"'red'", "'green'", "'blue'", "1", "''"}) }

func setValue(r random) string {
	return pick(r, []string{"''", "'a'", "'a,b'", "'c,d'", "'a,b,c,d'", "5"})
}

func bits(n int) func(random) string {
	return func(r random) string { return "0x" + r.hex((n+7)/8) }
}

// extras are the kinds of columns that are no keys.
func extras(f server.Flavor, on Set) []kind {
	kinds := []kind{
		{"TINYINT", integer, intIn(-128, 127)},
		{"SMALLINT UNSIGNED", integer, intIn(0, 65535)},
		{"MEDIUMINT", integer, intIn(-1<<23, 1<<23-1)},
		{"MEDIUMINT UNSIGNED", integer, intIn(0, 1<<24-1)},
		{"INT", integer, intIn(-1<<31, 1<<31-1)},
		{"INT UNSIGNED", integer, intIn(0, 1<<32-1)},
		{"BIGINT", integer, intIn(-1<<62, 1<<62)},
		{"BIGINT UNSIGNED", integer, unsigned64},
		{"DECIMAL(10,2)", number, decimal(10, 2)},
		{"DECIMAL(38,18)", number, decimal(38, 18)},
		{"FLOAT", number, float},
		{"DOUBLE", number, float},
		{"VARCHAR(40)", text, word},
		{"VARCHAR(300)", text, long(600)},
		{"CHAR(12)", text, word},
		{"VARBINARY(40)", plain, bytesOf(0, 40)},
		{"BINARY(8)", plain, bytesOf(1, 8)},
	}
	if on[LargeValues] {
		kinds = append(kinds,
			kind{"MEDIUMBLOB", plain, large}, kind{"LONGTEXT", text, large},
			kind{"TEXT", text, long(30000)}, kind{"BLOB", plain, bytesOf(0, 300)},
			kind{"TINYBLOB", plain, bytesOf(0, 200)})
	}
	if on[Temporal] {
		kinds = append(kinds,
			kind{"DATE", plain, date}, kind{"TIME", plain, timeOfDay}, kind{"TIME(3)", plain, timeOfDay},
			kind{"DATETIME", moment, datetime}, kind{"DATETIME(6)", moment, datetime},
			kind{"TIMESTAMP NULL", moment, timestamp}, kind{"TIMESTAMP(6) NULL", moment, timestamp},
			kind{"TIMESTAMP(4) NULL DEFAULT CURRENT_TIMESTAMP(4) ON UPDATE CURRENT_TIMESTAMP(4)", moment, timestamp},
			kind{"YEAR", plain, year})
	}
	if on[Bits] {
		kinds = append(kinds,
			kind{"BIT(1)", plain, bits(1)}, kind{"BIT(13)", plain, bits(13)}, kind{"BIT(64)", plain, bits(64)},
			kind{"ENUM('red','green','blue')", plain, enumValue}, kind{"SET('a','b','c','d')", plain, setValue})
	}
	if on[Spatial] {
		kinds = append(kinds, kind{"POINT", plain, point}, kind{"GEOMETRY", plain, point})
	}
	if on[JSON] {
		kinds = append(kinds, kind{"JSON", document, jsonDocument})
	}
	if on[Charsets] {
		kinds = append(kinds,
			kind{"VARCHAR(30) CHARACTER SET latin1", text, asciiWord},
			kind{"VARCHAR(30) CHARACTER SET utf16", text, word},
			kind{"CHAR(10) CHARACTER SET utf8mb3", text, word},
			kind{"CHAR(10) CHARACTER SET ucs2", text, word},
			kind{"TEXT CHARACTER SET sjis", text, asciiWord},
			kind{"VARCHAR(30) CHARACTER SET gbk", text, asciiWord},
			kind{"ENUM('ä','ö') CHARACTER SET latin1", plain, func(r random) string { return pick(r, []string{"'ä'", "'ö'", "2"}) }})
	}
	if on[Charsets] && f == server.MariaDB {
		kinds = append(kinds,
			kind{"UUID", plain, func(r random) string {
				h := r.hex(16)
				return quote(h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:])
			}},
			kind{"INET6", plain, func(r random) string { return quote("2001:db8::" + r.hex(2)) }},
			kind{"VARCHAR(200) COMPRESSED", text, long(400)},
			kind{"BLOB COMPRESSED", plain, long(20000)})
	}
	return kinds
}

func large(r random) string {
	switch {
	case r.chance(50):
		return word(r)
	case r.chance(10): // does not compress
		return "X'" + r.hex(r.between(1000, 9000)) + "'"
	case r.chance(15):
		return fmt.Sprintf("REPEAT('%s', %d)", r.hex(16), r.between(1, 200000/32))
	}
	return fmt.Sprintf("REPEAT('%s', %d)", r.hex(8), r.between(1, 500))
}
