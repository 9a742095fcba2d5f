package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// writeJSON writes a report as one JSON object on a line. What has failed is its
// last member, "error", and is returned; a report that is not there is empty.
func writeJSON(out io.Writer, report any, failed error) error {
	text, err := json.Marshal(report)
	if err == nil && failed != nil {
		text, err = withError(text, failed)
	}
	if err == nil {
		_, err = out.Write(append(text, '\n'))
	}
	return errors.Join(failed, err)
}

func withError(object []byte, failed error) ([]byte, error) {
	member, err := json.Marshal(map[string]string{"error": failed.Error()})
	if err != nil || bytes.Equal(object, []byte("null")) || bytes.Equal(object, []byte("{}")) {
		return member, err
	}
	return append(append(bytes.TrimSuffix(object, []byte("}")), ','), member[1:]...), nil
}
