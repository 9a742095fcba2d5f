package strictjson

import (
	"strings"
	"testing"
	"time"
)

type value struct {
	A string    `json:"a"`
	N int       `json:"n"`
	T time.Time `json:"t,omitzero"`
	L []string  `json:"l,omitempty"`
}

func TestDecode(t *testing.T) {
	for _, text := range []string{
		`{"a":"x","n":1}`, " {\n\"a\": \"x\", \"n\": 1 }\n", `{"a":"<&>","n":1,"t":"2026-01-02T03:04:05Z","l":["x"]}`,
	} {
		var v value
		if err := Decode([]byte(text), &v); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{
		``, `null`, `[]`, `"x"`, `{}`, `{"a":"x"}`, `{"a":"x","n":1}{}`, `{"a":"x","n":1} x`, `{"n":1,"a":"x"}`,
		`{"a":"y","a":"x","n":1}`, `{"A":"x","n":1}`, `{"a":"x","n":1,"b":2}`, `{"a":"x","n":1.0}`, `{"a":"x","n":1e0}`,
		`{"a":"x","n":01}`, `{"a":"\u0078","n":1}`, `{"a":"x","n":1,"l":[]}`, `{"a":"x","n":1,"l":null}`,
		`{"a":"x","n":1,"t":"2026-01-02 03:04:05"}`, `{"a":"` + strings.Repeat("x", MaxSize) + `","n":1}`,
	} {
		var v value
		if err := Decode([]byte(text), &v); err == nil {
			t.Errorf("%.60s is read as %+v", text, v)
		}
	}
}

// FuzzDecode: what is accepted is accepted again as what it is written as.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"a":"x","n":1}`))
	f.Add([]byte(`{"a":"x","a":"y","n":1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var v, again value
		if Decode(text, &v) != nil {
			return
		}
		written, err := Encode(v)
		if err != nil {
			t.Fatal(err)
		}
		if err := Decode(written, &again); err != nil {
			t.Fatalf("%s: %v", written, err)
		}
	})
}
