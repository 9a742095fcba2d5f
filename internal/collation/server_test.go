package collation

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// each runs a test on every installed server, all at once.
func each(t *testing.T, test func(t *testing.T, d server.Distribution, db *sql.DB)) {
	t.Helper()
	for _, d := range servertest.All(t) {
		t.Run(d.Name, func(t *testing.T) {
			t.Parallel()
			db := servertest.Open(t, servertest.Start(t, d), "")
			test(t, d, db)
		})
	}
}

func randomness(t *testing.T) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// pairOf is a collation with its character set.
type pairOf struct{ charset, name string }

// important are the collations that are tested every time.
var important = strings.Fields(`
	utf8mb4_0900_ai_ci utf8mb4_0900_as_ci utf8mb4_0900_as_cs utf8mb4_0900_bin utf8mb4_bin
	utf8mb4_general_ci utf8mb4_unicode_ci utf8mb4_unicode_520_ci
	utf8mb4_da_0900_ai_ci utf8mb4_de_pb_0900_ai_ci utf8mb4_es_trad_0900_as_cs utf8mb4_hu_0900_ai_ci
	utf8mb4_ja_0900_as_cs_ks utf8mb4_zh_0900_as_cs utf8mb4_lt_0900_as_cs utf8mb4_spanish2_ci utf8mb4_german2_ci
	utf8mb4_uca1400_ai_ci utf8mb4_uca1400_ai_cs utf8mb4_uca1400_as_ci utf8mb4_uca1400_as_cs
	utf8mb4_uca1400_nopad_ai_ci utf8mb4_uca1400_nopad_as_cs utf8mb4_uca1400_nopad_ai_cs utf8mb4_uca1400_danish_as_ci
	utf8mb4_general_nopad_ci utf8mb4_unicode_nopad_ci utf8mb4_unicode_520_nopad_ci utf8mb4_nopad_bin
	utf8mb3_general_ci utf8mb3_unicode_ci utf8mb3_bin utf8mb3_general_mysql500_ci utf8mb3_thai_520_w2
	latin1_swedish_ci latin1_german2_ci latin1_general_cs latin1_bin latin1_swedish_nopad_ci
	latin2_czech_cs cp1250_czech_cs ascii_general_ci
	gbk_chinese_ci sjis_japanese_ci cp932_japanese_ci ujis_japanese_ci euckr_korean_ci gb18030_unicode_520_ci
	ucs2_general_ci utf16_unicode_ci utf16le_general_ci utf32_unicode_520_ci binary`)

// listed are all collations of the server by the names that columns have.
func listed(t *testing.T, d server.Distribution, db *sql.DB) []pairOf {
	t.Helper()
	name := "COLLATION_NAME"
	if d.Flavor == server.MariaDB {
		name = "FULL_COLLATION_NAME"
	}
	rows, err := db.QueryContext(t.Context(),
		"SELECT CHARACTER_SET_NAME, "+name+" FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY ORDER BY 2")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var all []pairOf
	for rows.Next() {
		var p pairOf
		if err := rows.Scan(&p.charset, &p.name); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if err := rows.Err(); err != nil || len(all) < 200 {
		t.Fatalf("%d collations, %v", len(all), err)
	}
	return all
}

// chosen are the collations to test: all in long tests, otherwise the important
// ones and some others.
func chosen(t *testing.T, d server.Distribution, db *sql.DB, r *rand.Rand, others int) []pairOf {
	all := listed(t, d, db)
	if long {
		return all
	}
	some := slices.DeleteFunc(slices.Clone(all), func(p pairOf) bool { return !slices.Contains(important, p.name) })
	for range others {
		some = append(some, all[r.IntN(len(all))])
	}
	return some
}

// TestKeysAreEqualWhenTheServerSaysSo is the point of the package.
func TestKeysAreEqualWhenTheServerSaysSo(t *testing.T) {
	each(t, func(t *testing.T, d server.Distribution, db *sql.DB) {
		r := randomness(t)
		var unsupported []string
		for _, p := range chosen(t, d, db, r, 30) {
			c, err := Learn(t.Context(), db, p.charset, p.name)
			if errors.Is(err, ErrUnsupported) && unusable[strings.Replace(p.name, "_nopad", "", 1)] != "" {
				unsupported = append(unsupported, p.name)
				continue
			}
			if err != nil {
				t.Error(err)
				continue
			}
			if err := c.Check(t.Context(), db, r, 400); err != nil {
				t.Errorf("%s: %v", p.name, err)
			}
		}
		t.Logf("unsupported: %v", unsupported)
	})
}

// TestEveryCharacter compares each character of the character set with its
// neighbours in the order of the keys: what has one key is equal, and what is
// next to it is not.
func TestEveryCharacter(t *testing.T) {
	each(t, func(t *testing.T, d server.Distribution, db *sql.DB) {
		r := randomness(t)
		all := withoutTwins(chosen(t, d, db, r, 0))
		if !long {
			r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			all = all[:2]
		}
		for _, p := range all {
			c, err := Learn(t.Context(), db, p.charset, p.name)
			if errors.Is(err, ErrUnsupported) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := everyCharacter(t.Context(), db, c); err != nil {
				t.Errorf("%s: %v", p.name, err)
			}
		}
	})
}

// withoutTwins drops the collations of other Unicode encodings that exist for
// utf8mb4 as well: the weights are the same.
func withoutTwins(all []pairOf) []pairOf {
	return slices.DeleteFunc(slices.Clone(all), func(p pairOf) bool {
		twin := pairOf{"utf8mb4", "utf8mb4" + strings.TrimPrefix(p.name, p.charset)}
		return p != twin && slices.Contains([]string{"utf8mb3", "ucs2", "utf16", "utf32"}, p.charset) && slices.Contains(all, twin)
	})
}

func everyCharacter(ctx context.Context, db *sql.DB, c *Collation) error {
	if c.charset == "binary" {
		return nil
	}
	c.LimitCache(1 << 30)
	raws, err := characters(ctx, db, c)
	if err != nil {
		return err
	}
	if err := c.Resolve(ctx, db, raws); err != nil {
		return err
	}
	key := func(raw []byte) []byte {
		k, _ := c.AppendKey(nil, raw)
		return k
	}
	slices.SortFunc(raws, func(a, b []byte) int { return bytes.Compare(key(a), key(b)) })
	for i := 1; i < len(raws); i += maxColumns {
		end := min(i+maxColumns, len(raws))
		if err := c.checkPairs(ctx, db, raws[i-1:end-1], raws[i:end]); err != nil {
			return err
		}
	}
	return nil
}

// characters are those of the first two planes and of ideographs and tags, once each.
func characters(ctx context.Context, db *sql.DB, c *Collation) ([][]byte, error) {
	var texts []string
	for _, span := range [][2]rune{{0, 0xD7FF}, {0xE000, 0xFFFF}, {0x10000, 0x11FFF}, {0x1D400, 0x1F9FF}, {0x2F800, 0x2FA1F}, {0xE0000, 0xE01EF}} {
		for u := span[0]; u <= span[1]; u++ {
			texts = append(texts, string(u))
		}
	}
	seen := map[string]bool{}
	var raws [][]byte
	for part := range slices.Chunk(texts, maxColumns) {
		some, err := c.convert(ctx, db, part)
		if err != nil {
			return nil, err
		}
		for _, raw := range some {
			if !seen[string(raw)] {
				seen[string(raw)] = true
				raws = append(raws, raw)
			}
		}
	}
	return raws, nil
}

// TestUniqueIndexesAgree inserts strings into a column with a unique index: the
// first of each key goes in, the others do not.
func TestUniqueIndexesAgree(t *testing.T) {
	each(t, func(t *testing.T, d server.Distribution, db *sql.DB) {
		r := randomness(t)
		servertest.Exec(t, db, "CREATE DATABASE d")
		for _, p := range chosen(t, d, db, r, 0) {
			c, err := Learn(t.Context(), db, p.charset, p.name)
			if errors.Is(err, ErrUnsupported) || p.charset == "binary" || p.charset == "ascii" {
				continue // a column of ASCII takes no byte above 0x7F
			}
			if err != nil {
				t.Fatal(err)
			}
			s, err := c.sampler(t.Context(), db, r)
			if err != nil {
				t.Fatal(err)
			}
			var values [][]byte
			for range 150 {
				a, b := s.pair()
				values = append(values, a, b)
			}
			checkIndex(t, db, "VARCHAR", c, values)
			char, err := c.Char(indexLength)
			if errors.Is(err, ErrUnsupported) {
				continue
			}
			for i := range values {
				values[i] = withoutSpaces(c, values[i])
			}
			checkIndex(t, db, "CHAR", char, values)
		}
	})
}

const indexLength = 60

// withoutSpaces is what a row image has of a CHAR value.
func withoutSpaces(c *Collation, raw []byte) []byte {
	trimmer := Collation{padded: true, space: c.space}
	return trimmer.trim(raw)
}

func checkIndex(t *testing.T, db *sql.DB, typ string, c *Collation, values [][]byte) {
	t.Helper()
	var b strings.Builder
	for i, v := range values {
		fmt.Fprintf(&b, ",(%d,_%s X'%x')", i, c.charset, v)
	}
	servertest.Exec(t, db, "USE d", "DROP TABLE IF EXISTS t",
		fmt.Sprintf("CREATE TABLE t (id INT PRIMARY KEY, c %s(%d) CHARACTER SET %s COLLATE %s UNIQUE)", typ, indexLength, c.charset, c.name),
		"INSERT IGNORE INTO t VALUES "+b.String()[1:])
	in := ids(t, db)
	if err := c.Resolve(t.Context(), db, values); err != nil {
		t.Fatal(err)
	}
	first := map[string]int{}
	for i, v := range values {
		key, known := c.AppendKey(nil, v)
		j, dup := first[string(key)]
		if !dup {
			first[string(key)] = i
		}
		if !known || dup == in[i] {
			t.Errorf("%s in a %s index: %x inserted: %v, but equal to %x: %v", c.name, typ, v, in[i], values[j], dup)
			return
		}
	}
}

func ids(t *testing.T, db *sql.DB) map[int]bool {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "SELECT id FROM d.t")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	in := map[int]bool{}
	for rows.Next() {
		var id int
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		in[id] = true
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return in
}

// TestWhatResolveRefuses and what it does about the other values.
func TestWhatResolveRefuses(t *testing.T) {
	each(t, func(t *testing.T, d server.Distribution, db *sql.DB) {
		ctx := t.Context()
		for _, p := range []struct {
			pairOf
			invalid [][]byte
		}{
			{pairOf{"utf8mb4", "utf8mb4_general_ci"}, [][]byte{[]byte("a\xff"), []byte("\xc3"), bytes.Repeat([]byte("é"), MaxValue)}},
			{pairOf{"utf8mb3", "utf8mb3_unicode_ci"}, [][]byte{[]byte("😀"), []byte("\x80")}},
			{pairOf{"utf16", "utf16_general_ci"}, [][]byte{{0xD8, 0}, {0}}},
			{pairOf{"ucs2", "ucs2_general_ci"}, [][]byte{{'a'}}},
			{pairOf{"sjis", "sjis_japanese_ci"}, [][]byte{{0x81}}},
		} {
			c, err := Learn(ctx, db, p.charset, p.name)
			if err != nil {
				t.Fatal(err)
			}
			good, err := c.convert(ctx, db, []string{"か", "カ", "abc", "д", "Д"})
			if err != nil {
				t.Fatal(err)
			}
			raws := slices.Concat(good, p.invalid, good)
			if err := c.Resolve(ctx, db, raws); !errors.Is(err, ErrUnsupported) {
				t.Errorf("%s: %v", p.name, err)
			}
			for _, raw := range good {
				if _, known := c.AppendKey(nil, raw); !known {
					t.Errorf("%s: %x is not resolved", p.name, raw)
				}
			}
			for _, raw := range p.invalid {
				if _, known := c.AppendKey(nil, raw); known {
					t.Errorf("%s: %s has a key", p.name, short(raw))
				}
			}
			if err := c.Resolve(ctx, db, good); err != nil {
				t.Errorf("%s: without the bad ones: %v", p.name, err)
			}
		}
		if _, err := Learn(ctx, db, "utf8mb4", "no_such_ci"); err == nil || errors.Is(err, ErrUnsupported) {
			t.Errorf("a collation that is not there: %v", err)
		}
		if _, err := Learn(ctx, db, "utf8mb4", "x' OR '1"); err == nil {
			t.Error("a name that is none")
		}
		if _, err := Learn(ctx, db, "tis620", "tis620_thai_ci"); !errors.Is(err, ErrUnsupported) {
			t.Errorf("tis620_thai_ci: %v", err)
		}
	})
}

// TestErrorsOfTheConnectionAreNotTheValues: nobody may take them for ErrUnsupported.
func TestErrorsOfTheConnectionAreNotTheValues(t *testing.T) {
	db := servertest.Open(t, servertest.Start(t, servertest.All(t)[0]), "")
	c, err := Learn(t.Context(), db, "utf8mb4", "utf8mb4_general_ci")
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Resolve(t.Context(), db, [][]byte{[]byte("é")}); err == nil || errors.Is(err, ErrUnsupported) {
		t.Errorf("got %v", err)
	}
	if err := c.Resolve(t.Context(), db, [][]byte{[]byte("ascii")}); err != nil {
		t.Errorf("nothing to ask: %v", err)
	}
}

// TestManyGoroutinesShareACollation is for the race detector.
func TestManyGoroutinesShareACollation(t *testing.T) {
	db := servertest.Open(t, servertest.Start(t, servertest.All(t)[0]), "")
	c, err := Learn(t.Context(), db, "utf8mb4", "utf8mb4_general_ci")
	if err != nil {
		t.Fatal(err)
	}
	c.LimitCache(100_000)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 500 {
				raw := fmt.Appendf(nil, "é%d", (i*g)%300)
				if _, known := c.AppendKey(nil, raw); known {
					continue
				}
				if err := c.Resolve(t.Context(), db, [][]byte{raw}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
