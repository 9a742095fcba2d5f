package config

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/lifeboat-db/lifeboat/internal/units"
)

// Size is a number of bytes. It is written 8MiB, 8M, 8m or 8388608: units are
// powers of 1024.
type Size int64

const sizeUnits = "KMGT"

func parseSize(text string) (Size, error) {
	n, err := units.ParseBytes(text)
	if err != nil || strings.ContainsAny(text, " \t\n") {
		return 0, errWanted("a size such as 512KiB or 8MiB")
	}
	return Size(n), nil
}

// String is the shortest way to write it that is exact.
func (s Size) String() string {
	n, unit := int64(s), -1
	for n != 0 && n%1024 == 0 && unit+1 < len(sizeUnits) {
		n, unit = n/1024, unit+1
	}
	if unit < 0 {
		return strconv.FormatInt(n, 10)
	}
	return fmt.Sprintf("%d%ciB", n, sizeUnits[unit])
}
