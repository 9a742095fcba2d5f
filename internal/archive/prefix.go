package archive

import (
	"fmt"
	"hash/crc64"
	"strconv"
)

// prefix is the checksum of a file's bytes from the first one on, see
// Summary.Prefix. It goes on from its text, so that an archive needs no bytes of
// what it has stored.
type prefix struct {
	known bool
	sum   uint64
}

var ecma = crc64.MakeTable(crc64.ECMA)

// parsePrefix takes a text; one that says nothing stays unknown.
func parsePrefix(text string) prefix {
	sum, err := strconv.ParseUint(text, 16, 64)
	return prefix{known: err == nil && len(text) == 16, sum: sum}
}

func (p *prefix) add(data []byte) { p.sum = crc64.Update(p.sum, ecma, data) }

func (p *prefix) String() string {
	if !p.known {
		return ""
	}
	return fmt.Sprintf("%016x", p.sum)
}
