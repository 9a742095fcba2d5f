package afterwards

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What docs/compatibility.md says is shown by a case or a feature is.
func TestCompatibilityNamesRealTests(t *testing.T) {
	root := filepath.Join("..", "..")
	page, err := os.ReadFile(filepath.Join(root, "docs", "compatibility.md"))
	if err != nil {
		t.Fatal(err)
	}
	features, err := os.ReadFile(filepath.Join(root, "test", "history", "feature.go"))
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, m := range regexp.MustCompile("case ((?:`[a-z_]+`(?:, )?)+)").FindAllStringSubmatch(string(page), -1) {
		for name := range strings.SplitSeq(strings.TrimSuffix(m[1], ", "), ", ") {
			seen++
			if _, err := os.Stat(filepath.Join(root, "test", "cases", strings.Trim(name, "`"))); err != nil {
				t.Errorf("case %s: %v", name, err)
			}
		}
	}
	for _, m := range regexp.MustCompile("feature ((?:`[a-z_]+`(?:, )?)+)").FindAllStringSubmatch(string(page), -1) {
		for name := range strings.SplitSeq(strings.TrimSuffix(m[1], ", "), ", ") {
			seen++
			if !strings.Contains(string(features), `"`+strings.Trim(name, "`")+`"`) {
				t.Errorf("feature %s: test/history has none", name)
			}
		}
	}
	if seen < 30 {
		t.Errorf("only %d tests are named", seen)
	}
}
