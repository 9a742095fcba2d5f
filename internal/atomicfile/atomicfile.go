// Package atomicfile puts small files on disk: whole or not at all, and there
// when the call has returned.
package atomicfile

import (
	"errors"
	"os"
	"path/filepath"
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
