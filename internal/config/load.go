package config

import (
	"errors"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"
)

// Sources are where values come from.
type Sources struct {
	Path    string            // of --config; empty: LIFEBOAT_CONFIG, else Path if it is there
	Flags   map[string]string // those that were given, by name without dashes
	Environ []string          // NAME=VALUE, as of os.Environ
}

// Loaded is a configuration that is valid, and knows where it is from.
type Loaded struct {
	Config
	File string // empty: none was read

	origins map[string]Origin // by path; what is missing is a default
	private bool              // nobody but its owner can read File
}

// Load reads the sources. The error is about all that is wrong: Problems, of
// class Usage.
func Load(s Sources) (*Loaded, error) {
	l := &loader{Loaded: Loaded{Config: Default(), origins: map[string]Origin{}}}
	l.file(s)
	l.environ(s.Environ)
	l.flags(s.Flags)
	if len(l.problems) == 0 { // else what follows from them would be told as well
		l.defaultNames()
		l.validate()
	}
	if err := l.problems.err(); err != nil {
		return nil, err
	}
	return &l.Loaded, nil
}

// loader collects values and what is wrong with them.
type loader struct {
	Loaded
	problems Problems
}

func (l *loader) wrong(o Origin, key, text string) {
	l.problems = append(l.problems, Problem{Origin: o, Key: key, Text: text})
}

// set gives a key a value.
func (l *loader) set(k key, text string, from Origin) {
	v := k.in(&l.Config)
	if err := setText(v, text); err != nil {
		l.wrong(from, k.path, "it is "+quote(k.path, text)+": "+err.Error())
	}
	l.origins[k.path] = from
}

// file reads the file, if there is one.
func (l *loader) file(s Sources) {
	path, asked := s.Path, Origin{Kind: FromFlag, Name: "--config"}
	if path == "" {
		path, asked = lookup(s.Environ, configVariable), Origin{Kind: FromEnv, Name: configVariable}
	}
	if path == "" {
		path, asked = Path, Origin{}
	}
	text, private, err := readFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && asked == (Origin{}):
	case err != nil:
		l.wrong(asked, "", err.Error())
	default:
		l.File, l.private = path, private
		l.parse(text)
	}
}

// flags takes the flags that were given.
func (l *loader) flags(given map[string]string) {
	for _, k := range keys(numbered) {
		if text, ok := given[k.name]; ok && !k.fileOnly() {
			l.set(k, text, Origin{Kind: FromFlag, Name: "--" + k.name})
		}
	}
}

// defaultNames names what has no name: server1, repo1.
func (l *loader) defaultNames() {
	for _, k := range keysIn(&l.Config) {
		if v := k.in(&l.Config); strings.HasSuffix(k.path, "].name") && v.String() == "" {
			v.SetString(strings.TrimSuffix(k.name, "-name"))
		}
	}
}

// Origin says where the value of a key is from.
func (l *Loaded) Origin(path string) Origin {
	if o, ok := l.origins[path]; ok {
		return o
	}
	return Origin{Kind: FromDefault}
}

// Value is a key's value, to be shown.
type Value struct {
	Key    string `json:"key"`
	Value  string `json:"value"` // without secrets
	Origin Origin `json:"origin"`
}

// Values are all keys and what holds for them.
func (l *Loaded) Values() (list []Value) {
	for _, k := range keysIn(&l.Config) {
		list = append(list, Value{Key: k.path, Value: show(k.path, textOf(k.in(&l.Config))), Origin: l.Origin(k.path)})
	}
	return list
}

// Need reports those of these keys that have no value: "set", "servers",
// "repositories".
func (l *Loaded) Need(words ...string) error {
	var p Problems
	for _, word := range words {
		f := fieldOf(reflect.TypeFor[Config](), word)
		if !reflect.ValueOf(l.Config).FieldByIndex(f.Index).IsZero() {
			continue
		}
		k := keys(1)[slices.IndexFunc(keys(1), func(k key) bool { return k.section() == word })]
		if isList(f.Type) {
			k.name = f.Tag.Get("member") + "1-…"
		}
		p = append(p, Problem{Key: word, Text: "it is missing: write it into " + l.where() + ", or give --" + k.name + " or " + k.variable()})
	}
	return p.err()
}

func (l *Loaded) where() string {
	if l.File == "" {
		return Path
	}
	return l.File
}

// maxFile is beyond which a file is no configuration, in bytes.
const maxFile = 1 << 20

// readFile reads a small file; private says that only its owner can read it.
func readFile(path string) (text []byte, private bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, false, err
	}
	text, err = readAll(f, path)
	return text, othersMay(path, info.Mode()) == 0, err
}
