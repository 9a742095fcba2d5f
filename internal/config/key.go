package config

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// numbered is how many members of each list flags and variables can name. A
// file may have more.
const numbered = 4

// key is something that can be set: one leaf of Config.
type key struct {
	path  string // servers[0].dsn
	name  string // of the flag, without its dashes: server1-dsn
	hint  string
	steps []step
}

// step leads from a struct into one of its fields, and there into the member of
// a list, if it is one of structs.
type step struct{ field, member int }

// leaf is the member of a field that is no list of structs.
const leaf = -1

// section is the first word of the path.
func (k key) section() string {
	word, _, _ := strings.Cut(k.path, ".")
	word, _, _ = strings.Cut(word, "[")
	return word
}

// later tells keys of second and later members of lists.
func (k key) later() bool {
	return slices.ContainsFunc(k.steps, func(s step) bool { return s.member > 0 })
}

// variable is the name of the environment's variable.
func (k key) variable() string {
	return prefix + strings.ToUpper(strings.ReplaceAll(k.name, "-", "_"))
}

// fileOnly tells the key that flags and variables do not have: the version is
// that of the file's format.
func (k key) fileOnly() bool { return k.path == "version" }

// in finds the key's value. Lists grow until it is there.
func (k key) in(c *Config) reflect.Value {
	v := reflect.ValueOf(c).Elem()
	for _, s := range k.steps {
		v = v.Field(s.field)
		if s.member == leaf {
			continue
		}
		for v.Len() <= s.member {
			v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
		}
		v = v.Index(s.member)
	}
	return v
}

// keys lists all keys, with n members of each list of structs.
func keys(n int) []key {
	return keysOf(reflect.TypeFor[Config](), key{}, func(string) int { return n })
}

// keysIn lists the keys that a configuration has.
func keysIn(c *Config) []key {
	return keysOf(reflect.TypeFor[Config](), key{}, func(list string) int {
		return reflect.ValueOf(*c).FieldByIndex(fieldOf(reflect.TypeFor[Config](), list).Index).Len()
	})
}

func keysOf(t reflect.Type, at key, members func(list string) int) (list []key) {
	for i := range t.NumField() {
		f := t.Field(i)
		word := f.Tag.Get("key")
		switch {
		case isList(f.Type):
			for m := range members(word) {
				list = append(list, keysOf(f.Type.Elem(), at.into(i, m, fmt.Sprintf("%s[%d]", word, m), f.Tag.Get("member")+strconv.Itoa(m+1)), members)...)
			}
		case f.Type.Kind() == reflect.Struct:
			list = append(list, keysOf(f.Type, at.into(i, leaf, word, word), members)...)
		default:
			k := at.into(i, leaf, word, word)
			k.hint = f.Tag.Get("hint")
			list = append(list, k)
		}
	}
	return list
}

// into goes one step down. No two keys share the steps' memory.
func (k key) into(field, member int, word, name string) key {
	next := key{path: word, name: strings.ReplaceAll(name, "_", "-"), steps: append(slices.Clone(k.steps), step{field, member})}
	if k.path != "" {
		next.path, next.name = k.path+"."+next.path, k.name+"-"+next.name
	}
	return next
}

func isList(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct
}

// fieldOf finds a struct's field by its key.
func fieldOf(t reflect.Type, word string) *reflect.StructField {
	for i := range t.NumField() {
		if f := t.Field(i); f.Tag.Get("key") == word {
			return &f
		}
	}
	return nil
}

// words are the keys of a struct's fields.
func words(t reflect.Type) (list []string) {
	for i := range t.NumField() {
		list = append(list, t.Field(i).Tag.Get("key"))
	}
	return list
}

// setText sets a leaf to what a text says; the error is errWanted.
func setText(v reflect.Value, text string) (err error) {
	switch p := v.Addr().Interface().(type) {
	case *string:
		*p = text
	case *bool:
		*p = text == "true"
		if text != "true" && text != "false" {
			err = errWanted("true or false")
		}
	case *int:
		if *p, err = strconv.Atoi(text); err != nil {
			err = errWanted("a whole number")
		}
	case *time.Duration:
		if *p, err = time.ParseDuration(text); err != nil {
			err = errWanted("a time such as 500ms, 30m or 24h")
		}
	case *Size:
		*p, err = parseSize(text)
	case *[]string:
		*p = splitList(text)
	}
	return err
}

func splitList(text string) (list []string) {
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}

// textOf is what setText would take.
func textOf(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case []string:
		return strings.Join(x, ",")
	case time.Duration:
		return durationText(x)
	default:
		return fmt.Sprint(x)
	}
}

// durationText leaves out the zeros of time.Duration.String: 24h, not 24h0m0s.
func durationText(d time.Duration) string {
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-2]
		}
	}
	return text
}

// nearest is the candidate that differs least from a text.
func nearest(text string, candidates []string) string {
	return slices.MinFunc(candidates, func(a, b string) int { return cmp.Compare(distance(text, a), distance(text, b)) })
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := before
			if a[i] != b[j] {
				cost++
			}
			before = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
