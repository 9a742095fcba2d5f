// Command mutants takes each check of the guard out, one at a time, and demands
// that a test fails.
//
//	go run ./test/guard/mutants [-match REGEXP] [-list]
//
// A check is a condition with a mark on its line:
//
//	if cond { //check:NAME    denies if it holds: it is made never to hold
//	if cond { //allow:NAME    lets pass if it holds: it is made always to hold
//
// and the same for the cases of a switch without a tag. Of a check "a || b" and
// of an allow "a && b" each operand is taken out by itself.
//
// The tests of the check's own package run first; if they pass, those named
// after a plus sign in the mark, as in //check:NAME+./test/guard.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// roots are the trees in which marks count.
var roots = []string{"internal/guard", "cmd/lifeboat-guard", "cmd/lifeboat-guard-disk"}

// perMutant bounds one mutant's tests: one that hangs is caught as well.
const perMutant = 10 * time.Minute

var mark = regexp.MustCompile(`//(check|allow):([a-z0-9-]+)(?:\+(\S+))?`)

// mutant is one check, or one operand of it, taken out.
type mutant struct {
	name       string // NAME, or NAME/2 for its second operand
	file       string
	line       int
	begin, end int    // the operand's bytes in the file
	with       string // what stands before "(operand)"
	tests      []string
}

func main() {
	match := flag.String("match", "", "only checks whose FILE:NAME matches this regular expression")
	list := flag.Bool("list", false, "list the checks and end")
	flag.Parse()
	if err := run(*match, *list); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(match string, list bool) error {
	want, err := regexp.Compile(match)
	if err != nil {
		return err
	}
	all, err := find()
	if err != nil {
		return err
	}
	survived, tried := 0, 0
	for _, m := range all {
		if !want.MatchString(m.file + ":" + m.name) {
			continue
		}
		if list {
			fmt.Printf("%-40s %s:%d\n", m.name, m.file, m.line)
			continue
		}
		tried++
		began := time.Now()
		by, err := m.try()
		if err != nil {
			return fmt.Errorf("%s (%s:%d): %w", m.name, m.file, m.line, err)
		}
		if by == "" {
			survived++
			by = "NOBODY NOTICED"
		}
		fmt.Printf("%-40s %s:%d: %s (%.0f s)\n", m.name, m.file, m.line, by, time.Since(began).Seconds())
	}
	if survived > 0 {
		return fmt.Errorf("%d of %d checks can be taken out and every test passes", survived, tried)
	}
	if !list {
		fmt.Printf("each of %d checks is missed by a test when it is taken out\n", tried)
	}
	return nil
}

// find lists the mutants of all marks. A mark that stands at nothing it can
// take out, and a name that is used twice, are errors.
func find() (all []mutant, err error) {
	seen := map[string]string{}
	for _, root := range roots {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			found, err := findIn(path)
			for _, m := range found {
				base, _, _ := strings.Cut(m.name, "/")
				at := fmt.Sprintf("%s:%d", m.file, m.line)
				if other, ok := seen[base]; ok && other != at {
					return fmt.Errorf("check %s stands at %s and at %s", base, other, at)
				}
				seen[base] = at
			}
			all = append(all, found...)
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return all, nil
}

func findIn(path string) (found []mutant, err error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	conditions := conditionsByLine(fset, file)
	for _, group := range file.Comments {
		for _, c := range group.List {
			parts := mark.FindStringSubmatch(c.Text)
			if parts == nil || !strings.HasPrefix(c.Text, parts[0]) {
				continue
			}
			line := fset.Position(c.Pos()).Line
			condition, ok := conditions[line]
			if !ok {
				return nil, fmt.Errorf("%s:%d: %s stands at no condition", path, line, parts[0])
			}
			found = append(found, operands(fset, path, line, parts, condition)...)
		}
	}
	return found, nil
}

// conditionsByLine gives the condition whose line a mark can stand on: that of
// an if, at the line of its brace, or of a case, at the line of its colon.
func conditionsByLine(fset *token.FileSet, file *ast.File) map[int]ast.Expr {
	conditions := map[int]ast.Expr{}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.IfStmt:
			conditions[fset.Position(n.Body.Lbrace).Line] = n.Cond
		case *ast.SwitchStmt:
			if n.Tag != nil {
				break
			}
			for _, s := range n.Body.List {
				if c, ok := s.(*ast.CaseClause); ok && len(c.List) == 1 {
					conditions[fset.Position(c.Colon).Line] = c.List[0]
				}
			}
		}
		return true
	})
	return conditions
}

func operands(fset *token.FileSet, path string, line int, parts []string, condition ast.Expr) (list []mutant) {
	op, with := token.LOR, "false && "
	if parts[1] == "allow" {
		op, with = token.LAND, "true || "
	}
	tests := []string{"./" + filepath.Dir(path)}
	if parts[3] != "" {
		tests = append(tests, parts[3])
	}
	split := splitAt(condition, op)
	for i, e := range split {
		name := parts[2]
		if len(split) > 1 {
			name = fmt.Sprintf("%s/%d", name, i+1)
		}
		list = append(list, mutant{
			name: name, file: path, line: line, with: with, tests: tests,
			begin: fset.Position(e.Pos()).Offset, end: fset.Position(e.End()).Offset,
		})
	}
	return list
}

func splitAt(e ast.Expr, op token.Token) []ast.Expr {
	if b, ok := e.(*ast.BinaryExpr); ok && b.Op == op {
		return append(splitAt(b.X, op), splitAt(b.Y, op)...)
	}
	return []ast.Expr{e}
}

// try compiles the mutant and returns which tests noticed it; none is "".
func (m mutant) try() (noticed string, err error) {
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	overlay, err := m.overlay(dir)
	if err != nil {
		return "", err
	}
	for _, tests := range m.tests {
		ctx, cancel := context.WithTimeout(context.Background(), perMutant)
		defer cancel()
		if out, err := goTool(ctx, "vet", "-overlay", overlay, "-unusedresult=false", tests); err != nil {
			return "", fmt.Errorf("the mutant does not compile: %s", out)
		}
		if out, err := goTool(ctx, "test", "-overlay", overlay, "-count=1", "-failfast", tests); err != nil {
			return firstFailure(out), nil
		}
	}
	return "", nil
}

func goTool(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput()
	return string(out), err
}

// overlay writes the changed file and go's description of where it belongs.
func (m mutant) overlay(dir string) (string, error) {
	text, err := os.ReadFile(m.file)
	if err != nil {
		return "", err
	}
	changed := string(text[:m.begin]) + "(" + m.with + "(" + string(text[m.begin:m.end]) + "))" + string(text[m.end:])
	replacement := filepath.Join(dir, "changed.go")
	if err := os.WriteFile(replacement, []byte(changed), 0o600); err != nil {
		return "", err
	}
	original, err := filepath.Abs(m.file)
	if err != nil {
		return "", err
	}
	description, err := json.Marshal(map[string]map[string]string{"Replace": {original: replacement}})
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, description, 0o600)
}

var failure = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)

func firstFailure(out string) string {
	if m := failure.FindStringSubmatch(out); m != nil {
		return "missed by " + m[1]
	}
	if strings.Contains(out, "panic:") {
		return "missed by a panic"
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return "missed: " + lines[len(lines)-1]
}
