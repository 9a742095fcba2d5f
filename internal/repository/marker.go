package repository

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/lifeboat-db/lifeboat/internal/fault"
)

// markerName is the object that makes a place a repository.
const markerName = "repository.json"

const markerFormat = "lifeboat repository"

// marker is what it holds.
type marker struct {
	Format     string    `json:"format"`
	Version    int       `json:"version"`
	ID         string    `json:"id"` // 16 random bytes, hex
	Created    time.Time `json:"created"`
	Recipients []string  `json:"recipients,omitempty"` // age1…; none: not encrypted
	SHA256     string    `json:"sha256"`               // of the text with noSum in its place
}

// noSum stands for a marker's hash while it is computed.
var noSum = strings.Repeat("0", 2*sha256.Size)

func newMarker(recipients []string) marker {
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails (Go 1.24)
	return marker{
		Format: markerFormat, Version: Version, ID: hex.EncodeToString(id),
		Created: time.Now().UTC().Truncate(time.Second), Recipients: recipients,
	}
}

// parseMarker looks at format and version first: what else a newer version has
// is not known.
func parseMarker(text []byte) (marker, error) {
	var m marker
	if err := json.Unmarshal(text, &m); err != nil || m.Format != markerFormat {
		return marker{}, damaged("not the marker of a repository")
	}
	if err := checkVersion(m.Version); err != nil {
		return marker{}, err
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&m); err != nil {
		return marker{}, damaged("%w", err)
	}
	if !isHex(m.ID, 32) || m.Created.IsZero() {
		return marker{}, damaged("no id, or no time")
	}
	// Its name has no hash, so any other text is one that somebody has changed.
	if written, err := m.encode(); err != nil || !bytes.Equal(written, text) {
		return marker{}, damaged("its bytes are not those that its sha256 is of")
	}
	return m, nil
}

// parseRecipients reads public keys, one a text.
func parseRecipients(texts []string) (list []age.Recipient, err error) {
	for _, text := range texts {
		r, err := age.ParseRecipients(strings.NewReader(text))
		if err != nil || len(r) != 1 || text != strings.TrimSpace(text) {
			return nil, fault.New(fault.Storage, fmt.Errorf("recipient %.200q: not the public key of an age identity", text), "age-keygen -y FILE tells it: age1…")
		}
		list = append(list, r[0])
	}
	return list, tryRecipients(list)
}

// tryRecipients finds keys that cannot be used together, such as those that
// are safe from quantum computers and those that are not.
func tryRecipients(list []age.Recipient) error {
	if len(list) == 0 {
		return nil
	}
	if _, err := age.Encrypt(new(bytes.Buffer), list...); err != nil {
		return fault.Errorf(fault.Storage, "recipients: %w", err)
	}
	return nil
}

var errRecipients = errors.New("its recipients are not those that are configured")

// checkRecipients compares the marker's keys with those that are configured:
// whoever can write to the place must not be able to name himself.
func checkRecipients(marked, configured []string) error {
	if len(configured) == 0 || slices.Equal(slices.Sorted(slices.Values(marked)), slices.Sorted(slices.Values(configured))) {
		return nil
	}
	return fault.New(fault.Storage, fmt.Errorf("%w: it has %s", errRecipients, listOf(marked)), "correct the configuration, or find out who has changed "+markerName)
}

func listOf(recipients []string) string {
	if len(recipients) == 0 {
		return "none"
	}
	return strings.Join(recipients, ", ")
}

// encode writes it, with its hash, for people, too.
func (m marker) encode() ([]byte, error) {
	m.SHA256 = noSum
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, err
	}
	text = append(text, '\n')
	return bytes.Replace(text, []byte(noSum), []byte(hexSum(text)), 1), nil
}
