// Package strictjson reads JSON that must say exactly one thing.
//
// encoding/json takes the last of two members of the same name, folds the case
// of names, skips unknown members and ignores nothing but what follows. What
// is signed must not be read in two ways. So a text is accepted only if it is
// the very text that its own value is written as, spaces aside: two members of
// a name, another case, an unknown member, an unusual number or time all make
// another text.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// MaxSize bounds what is read.
const MaxSize = 1 << 20

// ErrForm is that a text is JSON of some kind, but not the one form.
var ErrForm = errors.New("not in the one accepted form (member twice, unknown, misspelt, or out of order)")

// Encode writes the one form of a value.
func Encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// Decode reads the one form of a value; spaces between its parts may differ.
func Decode(text []byte, v any) error {
	if len(text) > MaxSize { //check:json-size
		return fmt.Errorf("%d bytes, at most %d", len(text), MaxSize)
	}
	if err := json.Unmarshal(text, v); err != nil {
		return err
	}
	want, err := Encode(v)
	if err != nil {
		return err
	}
	var got bytes.Buffer
	if err := json.Compact(&got, text); err != nil {
		return err
	}
	if !bytes.Equal(got.Bytes(), want) { //check:json-one-form
		return ErrForm
	}
	return nil
}
