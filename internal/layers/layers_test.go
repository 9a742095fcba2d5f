// Package layers holds the rooms of this project in their order: a package
// imports only packages of lower floors. That keeps the core pure, because
// what decides lies below what acts, and lets each room be read, tested and
// replaced by itself.
//
// The table is here. .golangci.yml has the same as depguard rules, so that an
// editor shows a wrong import while it is written; a test compares the two.
package layers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

const module = "github.com/lifeboat-db/lifeboat/"

// rooms is the house: the floor of each room. A room is a package with all
// packages below it; what they import of each other is their own affair. The
// tests of a room may import any room.
var rooms = map[string]int{
	"internal/gtid":       0,
	"internal/atomicfile": 0,
	"internal/collation":  0,
	"internal/fault":      0,
	"internal/installed":  0,
	"internal/units":      0,

	"internal/binlog":     1,
	"internal/dbconn":     1,
	"internal/repository": 1,
	"internal/server":     1,

	"internal/rowimage": 2,
	"internal/schema":   2,
	"internal/txn":      2,
	"internal/stream":   2,

	"internal/netchange":  3,
	"internal/checkpoint": 3,
	"internal/archive":    3,
	"internal/backup":     3,

	"internal/applier": 4,
	"internal/verify":  4,
	"internal/retain":  4,

	"internal/replay": 5,
	"internal/check":  5,

	"internal/inspect": 6,
	"internal/restore": 6,

	"internal/drill": 7,

	"internal/ui":       rim,
	"internal/config":   rim,
	"internal/metrics":  rim,
	"internal/report":   rim,
	"internal/layers":   rim,
	"internal/askguard": rim,
	"internal/guard":    rim, // what it may import is less: see cmd/lifeboat-guard

	"internal/demo": tours,

	"bench": wiring,
	"cmd":   wiring,
	"test":  wiring,
}

// trees are rooms below the rim with packages of their own: no lint rule can
// close a room to its neighbours and not to itself, so only the test below
// keeps them apart.
var trees = map[string]bool{
	"internal/backup":     true,
	"internal/dbconn":     true,
	"internal/repository": true,
	"internal/server":     true,
}

const (
	rim    = 8  // adapters to the world outside: may use all floors
	tours  = 9  // whole stories: recovery, servers and screens together
	wiring = 10 // commands, benchmarks, what tests share: may use all of it
)

// roomOf returns the room a package is in.
func roomOf(path string) (room string, ok bool) {
	path, ours := strings.CutPrefix(path, module)
	if !ours {
		return "", false
	}
	for room := range rooms {
		if path == room || strings.HasPrefix(path, room+"/") {
			return room, true
		}
	}
	return "", false
}

type goPackage struct {
	ImportPath string
	Imports    []string
}

// packages lists ours and all they depend on.
func packages(t *testing.T) (list []goPackage) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Imports", "./...")
	cmd.Dir = "../.."
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var p goPackage
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(p.ImportPath+"/", module) {
			list = append(list, p)
		}
	}
}

func TestImportsPointDown(t *testing.T) {
	for _, p := range packages(t) {
		room, ok := roomOf(p.ImportPath)
		if !ok {
			t.Errorf("%s is in no room: give it a floor in internal/layers/layers_test.go and in .golangci.yml", p.ImportPath)
			continue
		}
		for _, imported := range p.Imports {
			below, ok := roomOf(imported)
			if ok && below != room && rooms[below] >= rooms[room] {
				t.Errorf("%s (floor %d) imports %s (floor %d): imports point down only",
					p.ImportPath, rooms[room], imported, rooms[below])
			}
		}
	}
}

// TestLintRulesAgree compares the table with .golangci.yml, where the rule
// floor-N says that the rooms of floor N are closed to those of floor N and
// below. At the rim and in trees a room's own packages import each other, and
// only TestImportsPointDown keeps them apart from their neighbours.
func TestLintRulesAgree(t *testing.T) {
	text, err := os.ReadFile("../../.golangci.yml")
	if err != nil {
		t.Fatal(err)
	}
	for closed, floor := range rooms {
		rule := lintRule(string(text), fmt.Sprintf("floor-%d", floor))
		pkg := "- pkg: " + module + closed
		if !strings.Contains(rule, pkg+"\n") && !strings.Contains(rule, pkg+"$\n") { // a dollar: that package alone
			t.Errorf(".golangci.yml: rule floor-%d does not deny %s", floor, closed)
		}
		for room, from := range rooms {
			want := from < floor || from == floor && floor < rim && !trees[room]
			if got := strings.Contains(rule, `"**/`+room+`/**"`); got != want {
				t.Errorf(".golangci.yml: rule floor-%d covers %s: %v, want %v", floor, room, got, want)
			}
		}
	}
}

// lintRule returns the text of one depguard rule: up to the next line that is
// indented no deeper.
func lintRule(text, name string) string {
	_, rest, _ := strings.Cut(text, "        "+name+":\n")
	if end := regexp.MustCompile(`(?m)^ {0,8}\S`).FindStringIndex(rest); end != nil {
		return rest[:end[0]]
	}
	return rest
}
