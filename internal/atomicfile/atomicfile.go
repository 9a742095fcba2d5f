// Package atomicfile puts files on disk: small ones whole or not at all, and all
// of them there when the call has returned.
package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// Replace writes a file of mode 0600 beside path and renames it over path.
// Without an error both file and name are on disk; with one, path holds what it
// held, or, if only the last step has failed, perhaps the new text.
func Replace(path string, text []byte) error {
	temporary := path + ".new"
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil { // not renamed: it may be torn
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir puts a directory's names on disk.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// SyncTree puts on disk what others have written into a directory: the files and
// directories in it, at any depth, and its own name. What is neither is passed over.
func SyncTree(dir string) error {
	const workers = 16 // a filesystem's journal takes what they wait for together
	var running sync.WaitGroup
	var errs [workers]error
	paths := make(chan string)
	for n := range workers {
		running.Go(func() {
			for path := range paths {
				errs[n] = errors.Join(errs[n], SyncDir(path)) // a file is synced alike
			}
		})
	}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && (e.IsDir() || e.Type().IsRegular()) {
			paths <- path
		}
		return err
	})
	close(paths)
	running.Wait()
	return errors.Join(append(errs[:], err, SyncDir(filepath.Dir(filepath.Clean(dir))))...)
}
