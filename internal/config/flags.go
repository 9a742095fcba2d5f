package config

import (
	"slices"

	"github.com/spf13/pflag"
)

// Flags are a command's flags of the configuration's keys.
type Flags struct {
	set  *pflag.FlagSet
	path string
}

// AddFlags gives a command --config and a flag for every key. --help shows
// those of the sections that matter to it, such as "archive", and of each list
// the first member.
func AddFlags(set *pflag.FlagSet, sections ...string) *Flags {
	f := &Flags{set: set}
	set.StringVar(&f.path, "config", "", "configuration file (default: "+Path+" if it is there; also LIFEBOAT_CONFIG)")
	initial := Default()
	for _, k := range keys(numbered) {
		if k.fileOnly() {
			continue
		}
		v := k.in(&initial)
		flag := set.VarPF(&flagValue{text: textOf(v), kind: kindOf(v.Interface())}, k.name, "", k.hint)
		flag.Hidden = k.later() || !slices.Contains(sections, k.section())
		if flag.Value.Type() == "bool" {
			flag.NoOptDefVal = "true"
		}
	}
	return f
}

// Sources are these flags, when they have been parsed, and an environment.
func (f *Flags) Sources(environ []string) Sources {
	s := Sources{Path: f.path, Flags: map[string]string{}, Environ: environ}
	f.set.Visit(func(flag *pflag.Flag) {
		if v, ok := flag.Value.(*flagValue); ok {
			s.Flags[flag.Name] = v.text
		}
	})
	return s
}

// flagValue keeps a flag's text: Load says what is wrong with it. A list that
// is given twice is both lists.
type flagValue struct {
	text, kind string
	given      bool
}

func (v *flagValue) String() string { return v.text }

func (v *flagValue) Type() string { return v.kind }

func (v *flagValue) Set(text string) error {
	if v.given && v.kind == kindList {
		text = v.text + "," + text
	}
	v.text, v.given = text, true
	return nil
}

const kindList = "list"

// kindOf is what --help calls the type of a value.
func kindOf(v any) string {
	switch v.(type) {
	case bool:
		return "bool"
	case int:
		return "number"
	case Size:
		return "size"
	case []string:
		return kindList
	case string:
		return "text"
	}
	return "time"
}
