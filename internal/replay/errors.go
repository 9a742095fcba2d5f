package replay

import (
	"errors"
	"fmt"
)

// Error carries what the command line needs beside the text: the class (which
// decides the exit code) and what the operator can do next.
type Error struct {
	Class Class
	Err   error
	Hint  string
}

func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Err.Error()
	}
	return e.Err.Error() + "; " + e.Hint
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Class says what kind of failure ended a replay.
type Class int

// The classes, in the order of the exit codes that docs/exit-codes.md lists.
const (
	Failed       Class = iota // not to be mended by running again
	Usage                     // wrong arguments
	Interrupted               // run again to resume
	VerifyFailed              // the target does not hold what it should
	Gap                       // log incomplete, or start or stop not in it
	Busy                      // another run holds the target
	Storage                   // files or credentials cannot be used
	NoSpace                   // out of space
)

// ClassOf finds the class of err; Failed if it has none.
func ClassOf(err error) Class {
	var e *Error
	if errors.As(err, &e) {
		return e.Class
	}
	return Failed
}

func usagef(format string, args ...any) error {
	return &Error{Class: Usage, Err: fmt.Errorf(format, args...)}
}

func fail(class Class, err error, hint string) error {
	return &Error{Class: class, Err: err, Hint: hint}
}
