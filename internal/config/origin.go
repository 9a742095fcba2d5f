package config

import (
	"fmt"
	"strings"

	"github.com/lifeboat-db/lifeboat/internal/fault"
)

// Origin is where a value comes from.
type Origin struct {
	Kind Kind   `json:"kind"`
	Name string `json:"name,omitempty"` // of the flag, with dashes, the variable or the file
	Line int    `json:"line,omitempty"` // of the file, from 1
}

// Kind is a kind of origin. A later one counts more.
type Kind string

// The kinds.
const (
	FromDefault Kind = "default"
	FromFile    Kind = "file"
	FromEnv     Kind = "environment"
	FromFlag    Kind = "flag"
)

func (o Origin) String() string {
	switch {
	case o.Kind == FromFile && o.Line > 0:
		return fmt.Sprintf("%s:%d", o.Name, o.Line)
	case o.Name != "":
		return o.Name
	}
	return string(FromDefault)
}

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	Origin Origin
	Key    string // path in the file; empty if it is about no key
	Text   string // what is wrong and what is wanted
}

func (p Problem) String() string {
	parts := []string{p.Key, p.Text}
	if p.Key == "" {
		parts = parts[1:]
	}
	if p.Origin.Kind != FromDefault && p.Origin != (Origin{}) {
		parts = append([]string{p.Origin.String()}, parts...)
	}
	return strings.Join(parts, ": ")
}

// Problems is the error of Load: all that is wrong, in the order of the keys.
type Problems []Problem

func (p Problems) Error() string {
	if len(p) == 1 {
		return "configuration: " + p[0].String()
	}
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = "\n  " + p[i].String()
	}
	return fmt.Sprintf("configuration: %d problems:%s", len(p), strings.Join(lines, ""))
}

// err gives them their class.
func (p Problems) err() error {
	if len(p) == 0 {
		return nil
	}
	return fault.New(fault.Usage, p, "")
}

// errWanted is the error of a text that is no value of its key: what would be.
type errWanted string

func (e errWanted) Error() string { return "want " + string(e) }
