//go:build !linux

package bench

import "errors"

func pin(int, int) error {
	return errors.New("processes can be confined to a processor on Linux only: --together")
}
