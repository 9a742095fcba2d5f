package bench

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestArchivePage(t *testing.T) {
	r := ArchiveReport{Seconds: 10, Paces: []Pace{
		{Way: nobody, pace: pace{100, 5}}, {Way: mysqlbinlog, pace: pace{99, 5}}, {Way: ours, pace: pace{98, 6}, SourceCPU: 0.1, ArchiverCPU: 0.5},
		{Way: ours, Round: 1, pace: pace{300, 8}, SourceCPU: 0.298, ArchiverCPU: 1.5}, {Way: mysqlbinlog, Round: 1, pace: pace{198, 7}}, {Way: nobody, Round: 1, pace: pace{200, 7}},
	}, Peak: map[string]int64{ours: 60e6}, CatchUp: CatchUp{Bytes: 30e6, WriteSeconds: 60, Seconds: 5}}
	text := r.page().Markdown()
	for _, want := range []string{"| lifeboat | 199 | 132.7 % | 52.0 % | 7.0 | 100 | 10.0 % | 60 |", "30 MB of log, written in 60.0 s, archived in 5.0 s: 12.0 times as fast as written"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// Two files of the server differ by their in-use flag, and by nothing else.
func TestSameBytes(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, change int) string {
		text := []byte(strings.Repeat("x", 100))
		text[change] ^= 1
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, name)
	}
	if err := sameBytes(file("a", 21), file("b", 21)); err != nil {
		t.Error(err)
	}
	if err := sameBytes(file("a", 50), file("b", 21)); err == nil {
		t.Error("another byte is not seen")
	}
}
