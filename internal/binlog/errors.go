package binlog

import (
	"errors"
	"fmt"
)

// Sentinels that callers decide on. All arrive wrapped in a *PosError.
var (
	ErrNotBinlog   = errors.New("not a binary log: the magic number is missing")
	ErrEncrypted   = errors.New("the binary log is encrypted")
	ErrRelayLog    = errors.New("this is a relay log, not a binary log")
	ErrChecksum    = errors.New("checksum mismatch: the bytes are not what the server wrote")
	ErrCorrupt     = errors.New("corrupt event")
	ErrTruncated   = errors.New("the file ends inside an event")
	ErrUnknown     = errors.New("event type not known and not marked ignorable")
	ErrUnsupported = errors.New("event not supported")
)

// PosError is an error with the place in the log where it happened.
type PosError struct {
	Pos Position
	Err error
}

func (e *PosError) Error() string { return fmt.Sprintf("%s: %v", e.Pos, e.Err) }

// Unwrap gives the cause.
func (e *PosError) Unwrap() error { return e.Err }

// At wraps err with a position, unless it has one already.
func At(p Position, err error) error {
	var pe *PosError
	if err == nil || errors.As(err, &pe) {
		return err
	}
	return &PosError{Pos: p, Err: err}
}

// Position is a place between two events of a named file.
type Position struct {
	File   string // base name, e.g. binlog.000042
	Offset int64
}

func (p Position) String() string { return fmt.Sprintf("%s:%d", p.File, p.Offset) }

// IsZero reports whether p names no place.
func (p Position) IsZero() bool { return p == Position{} }
