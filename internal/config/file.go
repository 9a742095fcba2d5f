package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// parse takes the file's values.
func (l *loader) parse(text []byte) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc, more yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		l.noVersion(0)
		return
	case err != nil:
		l.syntax(err)
		return
	}
	switch err := dec.Decode(&more); {
	case err == nil:
		l.wrong(l.line(more.Line), "", "a second document begins there: want one")
		return
	case !errors.Is(err, io.EOF):
		l.syntax(err)
		return
	}
	root := doc.Content[0]
	l.mapping(root, reflect.TypeFor[Config](), key{})
	if _, ok := l.origins["version"]; !ok {
		l.noVersion(root.Line)
	}
}

func (l *loader) noVersion(line int) {
	l.wrong(l.line(line), "version", fmt.Sprintf("it is missing: write \"version: %d\"", Version))
}

func (l *loader) line(n int) Origin { return Origin{Kind: FromFile, Name: l.File, Line: n} }

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// syntax puts the parser's line where that of all other problems is.
func (l *loader) syntax(err error) {
	text := err.Error()
	n := 0
	if found := yamlLine.FindStringSubmatch(text); found != nil {
		n, _ = strconv.Atoi(found[1]) // it may not say one: 0
		text = text[len(found[0]):]
	}
	l.wrong(l.line(n), "", "not YAML: "+text)
}

// mapping takes the keys of a struct.
func (l *loader) mapping(n *yaml.Node, t reflect.Type, at key) {
	if n = follow(n); isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		l.wrong(l.line(n.Line), at.path, "it is "+nameOf(n)+": want keys and values, such as "+words(t)[0])
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		word, value := n.Content[i], n.Content[i+1]
		f := fieldOf(t, word.Value)
		switch {
		case f == nil:
			l.wrong(l.line(word.Line), joined(at.path, word.Value), "no such key; the nearest is "+nearest(word.Value, words(t)))
		case seen[word.Value]:
			l.wrong(l.line(word.Line), joined(at.path, word.Value), "it is there twice")
		default:
			l.field(value, f, at)
		}
		seen[word.Value] = true
	}
}

func joined(path, word string) string {
	if path == "" {
		return word
	}
	return path + "." + word
}

// field takes the value of a struct's field.
func (l *loader) field(n *yaml.Node, f *reflect.StructField, at key) {
	n = follow(n)
	word := f.Tag.Get("key")
	switch {
	case isList(f.Type):
		l.members(n, f, at)
	case f.Type.Kind() == reflect.Struct:
		l.mapping(n, f.Type, at.into(f.Index[0], leaf, word, word))
	case f.Type.Kind() == reflect.Slice:
		l.texts(n, at.into(f.Index[0], leaf, word, word))
	default:
		l.scalar(n, at.into(f.Index[0], leaf, word, word))
	}
}

// members takes a list of structs.
func (l *loader) members(n *yaml.Node, f *reflect.StructField, at key) {
	word := f.Tag.Get("key")
	if isNull(n) {
		return
	}
	if n.Kind != yaml.SequenceNode {
		l.wrong(l.line(n.Line), joined(at.path, word), "it is "+nameOf(n)+": want a list, each member with a dash")
		return
	}
	for i, member := range n.Content {
		k := at.into(f.Index[0], i, fmt.Sprintf("%s[%d]", word, i), f.Tag.Get("member")+strconv.Itoa(i+1))
		k.in(&l.Config) // also one without any key is a member
		l.origins[k.path] = l.line(member.Line)
		l.mapping(member, f.Type.Elem(), k)
	}
}

// texts takes a list of texts.
func (l *loader) texts(n *yaml.Node, k key) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.SequenceNode {
		l.wrong(l.line(n.Line), k.path, "it is "+nameOf(n)+": want a list, as in [a, b]")
		return
	}
	list := make([]string, len(n.Content))
	for i, member := range n.Content {
		member = follow(member)
		if member.Kind != yaml.ScalarNode || isNull(member) {
			l.wrong(l.line(member.Line), fmt.Sprintf("%s[%d]", k.path, i), "it is "+nameOf(member)+": want a text")
		}
		list[i] = member.Value
	}
	k.in(&l.Config).Set(reflect.ValueOf(list))
	l.origins[k.path] = l.line(n.Line)
}

// scalar takes a single value, as the text that stands there.
func (l *loader) scalar(n *yaml.Node, k key) {
	if n.Kind != yaml.ScalarNode || isNull(n) {
		l.wrong(l.line(n.Line), k.path, "it is "+nameOf(n)+": want a single value")
		return
	}
	l.set(k, n.Value, l.line(n.Line))
}

func follow(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// nameOf says what a node is.
func nameOf(n *yaml.Node) string {
	switch {
	case isNull(n):
		return "empty"
	case n.Kind == yaml.MappingNode:
		return "keys and values"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	}
	return "a single value"
}
