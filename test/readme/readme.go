// Package readme gives tests the commands that README promises.
package readme

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// Blocks are README's commands under the mark "<!-- run by NAME -->", in order.
// The test fails if there are not as many as it knows.
func Blocks(t testing.TB, name string, want int) (blocks []string) {
	t.Helper()
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil; _, err = os.Stat(filepath.Join(root, "go.mod")) {
		if root == filepath.Dir(root) {
			t.Fatal("not in the repository")
		}
		root = filepath.Dir(root)
	}
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)<!-- run by " + regexp.QuoteMeta(name) + " -->\n```sh\n(.*?)```")
	for _, found := range block.FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, found[1])
	}
	if len(blocks) != want {
		t.Fatalf("README has %d blocks of commands for %s, want %d", len(blocks), name, want)
	}
	return blocks
}
