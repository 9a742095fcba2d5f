// Package fault says of an error what the command line needs beside its text:
// the class, which decides the exit code, and what the operator can do next.
// docs/exit-codes.md has the table.
package fault

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// Class says what kind of failure it is. Its value is the exit code.
type Class int

// The classes.
const (
	Failed       Class = 1   // not to be mended by running again
	Usage        Class = 2   // wrong arguments
	Interrupted  Class = 3   // run again to resume
	VerifyFailed Class = 4   // what is there is not what should be
	Gap          Class = 5   // log incomplete, or start or stop not in it
	Refused      Class = 6   // the guard, or the target itself, forbids it
	Busy         Class = 7   // another run holds the target
	Storage      Class = 8   // files, storage or credentials cannot be used
	NoSpace      Class = 9   // out of space
	Stopped      Class = 130 // by the user
)

// Error is an error with its class.
type Error struct {
	Class Class
	Err   error
	Hint  string // the next step, for people; may be empty
}

func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Err.Error()
	}
	return e.Err.Error() + "; " + e.Hint
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// ClassOf finds the class of err; Failed if it has none.
func ClassOf(err error) Class {
	var e *Error
	if errors.As(err, &e) {
		return e.Class
	}
	return Failed
}

// New gives err a class and a next step.
func New(class Class, err error, hint string) error {
	return &Error{Class: class, Err: err, Hint: hint}
}

// Errorf makes an error of a class.
func Errorf(class Class, format string, args ...any) error {
	return &Error{Class: class, Err: fmt.Errorf(format, args...)}
}

// Usagef makes an error about arguments.
func Usagef(format string, args ...any) error { return Errorf(Usage, format, args...) }

// FromOS gives an error of the operating system that has no class yet the one
// that its cause has: out of space, or a place that cannot be used.
func FromOS(err error) error {
	var e *Error
	switch {
	case err == nil || errors.As(err, &e):
		return err
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		return New(NoSpace, err, "free some space, then run it again")
	case errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EIO):
		return New(Storage, err, "check the place and who may use it")
	default:
		return err
	}
}
