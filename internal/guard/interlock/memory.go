package interlock

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/lifeboat-db/lifeboat/internal/atomicfile"
	"github.com/lifeboat-db/lifeboat/internal/guard/strictjson"
)

// memory is what a machine remembers of its set's etcd, in a file of strict
// JSON: a cluster that was exchanged or set back is noticed by it.
type memory struct {
	Cluster string `json:"cluster"` // id, 16 hexadecimal digits
	Epoch   int64  `json:"epoch"`   // the highest of a manifest
	Token   int64  `json:"token"`   // the highest confirmed in this cluster
	// Seen is a revision that this cluster has had, and soon the highest: it is
	// written from time to time.
	Seen int64 `json:"seen,omitzero"`
	// Back: it was set back, and no manifest says that people know of it. Its
	// revision grows past what was seen, and what it has lost stays lost.
	Back bool `json:"back,omitzero"`
}

func loadMemory(path string) (m memory, err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return memory{}, nil
	}
	if err != nil {
		return memory{}, err
	}
	if err := strictjson.Decode(text, &m); err != nil { //check:interlock-memory-damaged
		return memory{}, fmt.Errorf("%s: %w: nobody knows which tokens have been used; remove it and publish a manifest with a higher epoch", path, err)
	}
	return m, nil
}

// save replaces the file; without an error it is on disk.
func (m memory) save(path string) error {
	text, err := strictjson.Encode(m)
	if err != nil {
		return err
	}
	return atomicfile.Replace(path, text)
}
