package restore

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// bootID names this run of the machine's kernel; empty: it does not say.
func bootID() string {
	text, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // none: not Linux
	return strings.TrimSpace(string(text))
}

// torn reports whether the target may lack changes that the journal, or the
// replay's checkpoint in InnoDB, counts as done: those of tables without
// transactions, which a server leaves to the kernel to write, when the machine has
// gone down since.
func (r *runner) torn() bool {
	replaying := r.j.Log != nil || len(r.j.Replayed) > 0 || r.j.State == Replayed
	return replaying && r.j.Boot != "" && r.j.Boot != bootID() && hasTablesWithoutTransactions(r.w.target)
}

// dataFiles are the extensions of tables' files of MyISAM, Aria, ARCHIVE and CSV.
var dataFiles = []string{".MYD", ".MAD", ".ARZ", ".CSV"}

// hasTablesWithoutTransactions looks for their files, but for those of the server's
// own tables: a log has no changes of these but such as Aria's log covers.
func hasTablesWithoutTransactions(dir string) (has bool) {
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil: // what cannot be read now will not be served
		case e.IsDir() && filepath.Dir(path) == dir && slices.Contains([]string{"mysql", "performance_schema", "sys"}, e.Name()):
			return fs.SkipDir
		case slices.Contains(dataFiles, filepath.Ext(path)):
			has = true
			return fs.SkipAll
		}
		return nil
	})
	return has
}

// again has the target made anew from the backup.
func (j *Journal) again() {
	j.State, j.Log, j.Replayed, j.LeftOut = Unpacking, nil, nil, nil
}
