package disk

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// ErrNotBlock means that a path is not a block device.
var ErrNotBlock = errors.New("not a block device")

// Claims are devices that nobody else can mount or claim until Release.
type Claims struct{ fds []int }

// Claim opens each device with O_EXCL; all of them or none. An error that is
// EBUSY means that somebody holds the device. Links are followed.
func Claim(devices []string) (*Claims, error) {
	if len(devices) == 0 {
		return nil, errors.New("claim: no device is named")
	}
	c := &Claims{}
	for _, path := range devices {
		fd, err := claimOne(path)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("claim %s: %w", path, err), c.Release())
		}
		c.fds = append(c.fds, fd)
	}
	return c, nil
}

// claimOne looks before it opens (a FIFO would block) and again at what it got.
func claimOne(path string) (int, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return -1, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK { //check:disk-claim-block
		return -1, ErrNotBlock
	}
	rdev := st.Rdev
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	err = unix.Fstat(fd, &st)
	if err == nil && (st.Mode&unix.S_IFMT != unix.S_IFBLK || st.Rdev != rdev) {
		err = errors.New("another device took its place")
	}
	if err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// Release gives the devices free.
func (c *Claims) Release() error {
	var err error
	for _, fd := range c.fds {
		err = errors.Join(err, unix.Close(fd))
	}
	c.fds = nil
	return err
}
