package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Copy copies the data directory of a server that is not running to dst,
// which must not exist or be empty. The copy gets a server UUID of its own
// when it is first started, so that original and copy can replicate from each
// other. Where the file system can share blocks, it does.
func Copy(ctx context.Context, src, dst string) error {
	if err := copyDir(ctx, src, dst); err != nil {
		return fmt.Errorf("server: copy %s to %s: %w", src, dst, err)
	}
	return nil
}

func copyDir(ctx context.Context, src, dst string) error {
	empty, err := isEmpty(dst)
	if err != nil {
		return err
	}
	if !empty {
		return errors.New("the destination is not empty")
	}
	if err := os.MkdirAll(dst, 0o750); err != nil {
		return err
	}
	if err := run(ctx, "cp", []string{"-a", "--reflink=auto", "--", src + "/.", dst}, nil); err != nil {
		return err
	}
	return forgetIdentity(dst)
}

// forgetIdentity removes MySQL's auto.cnf: the server makes a new UUID.
func forgetIdentity(dir string) error {
	err := os.Remove(filepath.Join(dir, "auto.cnf"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// isEmpty says whether a directory is missing or has nothing in it.
func isEmpty(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return len(entries) == 0, err
}
