package demo

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// Text as people write it: umlauts, other scripts, signs beyond the Basic
// Multilingual Plane, quotes.
var (
	people = []string{
		"Jürgen Müller", "Zoë O'Brien", "山田太郎", "김민준", "Владимир Петров", "José Ñandú",
		"Åsa Öström", "王小明", "Łukasz Żółć", "Ελένη", "ياسمين", "Ana 🐙", "नेहा शर्मा", "Grace Hopper",
	}
	cities = []string{"Zürich", "東京", "Reykjavík", "Αθήνα", "São Paulo", "Łódź", "서울", "Köln", "القاهرة", "Dún Laoghaire"}
	goods  = []string{"Käse", "Brötchen", "お茶", "寿司", "Crème brûlée", "Smörgås", "김치", "Борщ", "🍎 Äpfel", "🥖 Baguette", "Jalapeño", "Plain \\ rice"}
	prose1 = []string{"frisch", "美味しい", "très bon", "очень вкусно", "🙂", "it's good", "hyvää", "sehr gut 👍🏽", "맛있다", "100 % \"bio\""}
)

// raw is text that goes into a statement as it is.
type raw string

// values writes a row for an INSERT.
func values(cells ...any) string {
	var list []string
	for _, c := range cells {
		switch c := c.(type) {
		case raw:
			list = append(list, string(c))
		case string:
			list = append(list, quote(c))
		case int:
			list = append(list, strconv.Itoa(c))
		default:
			panic(fmt.Sprintf("demo: value of type %T", c))
		}
	}
	return "(" + strings.Join(list, ", ") + ")"
}

var escapes = strings.NewReplacer(`\`, `\\`, `'`, `''`)

func quote(s string) string { return "'" + escapes.Replace(s) + "'" }

func one(r *rand.Rand, of []string) string { return of[r.IntN(len(of))] }

func person(r *rand.Rand) string { return one(r, people) }

func city(r *rand.Rand) string { return one(r, cities) }

// money is an amount up to a limit, with cents.
func money(r *rand.Rand, most int) raw {
	return raw(fmt.Sprintf("%d.%02d", r.IntN(most), 1+r.IntN(99)))
}

func day(r *rand.Rand) string { return fmt.Sprintf("2013-%02d-%02d", 1+r.IntN(12), 1+r.IntN(28)) }

// prose is a text of up to a few hundred characters, often short.
func prose(r *rand.Rand) string {
	words := make([]string, 1+r.IntN(8))
	for n := range words {
		words[n] = one(r, prose1)
	}
	return strings.Join(words, " ")
}

// sku is the key of a product.
func sku(n int) string { return fmt.Sprintf("%s %04d", goods[n%len(goods)], n) }

func page(r *rand.Rand) string { return fmt.Sprintf("/%s/%d", one(r, cities), r.IntN(4)) }

// token is the key of a session: 16 bytes, different for each maker and
// number, spread over the whole table.
func token(maker, n int) raw {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], (uint64(maker)<<40|uint64(n))*0x9E3779B97F4A7C15) // odd: one to one
	binary.BigEndian.PutUint64(b[8:], uint64(n))
	return raw(fmt.Sprintf("x'%x'", b))
}

func settings(r *rand.Rand) string {
	return fmt.Sprintf(`{"theme": "%s", "size": %d, "tags": ["🌍", "ü"]}`, one(r, []string{"hell", "夜"}), r.IntN(30))
}
