package badinput_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/lifeboat-db/lifeboat/test/faults/rig"
)

// lifeboat is the program, scratch a directory of this test process.
var (
	lifeboat string
	scratch  string
)

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	var err error
	if scratch, err = os.MkdirTemp("", "lifeboat-badinput"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	// Another user has to get at files here, to be refused some of them.
	if err := os.Chmod(scratch, 0o755); err != nil { //nolint:gosec // see above
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if lifeboat, err = rig.Build(scratch); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}
