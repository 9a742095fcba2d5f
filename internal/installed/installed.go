// Package installed says where the project's scripts put what they install.
package installed

import (
	"os"
	"path/filepath"
)

// Dir is the directory that scripts/servers and its like install into:
// $LIFEBOAT_CACHE, or .cache in the repository that holds the current directory,
// or .cache in the current directory.
func Dir() string {
	if dir, err := filepath.Abs(os.Getenv("LIFEBOAT_CACHE")); err == nil && os.Getenv("LIFEBOAT_CACHE") != "" {
		return dir
	}
	wd, err := os.Getwd()
	if err != nil {
		return ".cache"
	}
	for dir := wd; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, ".cache")
		}
		if dir == filepath.Dir(dir) {
			return filepath.Join(wd, ".cache")
		}
	}
}
