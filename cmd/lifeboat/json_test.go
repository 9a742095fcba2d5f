package main

import (
	"bytes"
	"errors"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/replay"
)

// TestWriteJSON: a report is one line, and what has failed is in it and returned.
func TestWriteJSON(t *testing.T) {
	failed := errors.New(`"a" < b`)
	for _, c := range []struct {
		report any
		failed error
		want   string
	}{
		{struct {
			A int `json:"a"`
		}{1}, nil, `{"a":1}`},
		{struct {
			A int `json:"a"`
		}{1}, failed, `{"a":1,"error":"\"a\" \u003c b"}`},
		{struct{}{}, failed, `{"error":"\"a\" \u003c b"}`},
		{(*replay.Report)(nil), failed, `{"error":"\"a\" \u003c b"}`},
	} {
		var out bytes.Buffer
		if err := writeJSON(&out, c.report, c.failed); !errors.Is(err, c.failed) || (err == nil) != (c.failed == nil) || out.String() != c.want+"\n" {
			t.Errorf("%v: %s %v, want %s", c.report, out.String(), err, c.want)
		}
	}
	if err := writeJSON(&bytes.Buffer{}, func() {}, failed); !errors.Is(err, failed) || err.Error() == failed.Error() {
		t.Errorf("what cannot be written: %v", err)
	}
}
