package binlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// File is one binary log file, memory mapped and read-only. Slices handed out
// by its readers point into the mapping and are valid until Close.
type File struct {
	Path   string
	Name   string // base name
	Data   []byte // the whole file
	Format Format // from its FORMAT_DESCRIPTION_EVENT
	// First is the offset of the event after the format description.
	First int64
	fd    *os.File
}

var (
	magic          = []byte{0xfe, 'b', 'i', 'n'}
	magicEncrypted = []byte{0xfd, 'b', 'i', 'n'} // MySQL: sql/rpl_log_encryption.h
)

// Open maps the file and reads its format description. It refuses what is not
// a complete start of a plain binary log.
func Open(path string) (*File, error) {
	fd, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	data, err := mapFile(fd)
	if err != nil {
		_ = fd.Close()
		return nil, err
	}
	f := &File{Path: path, Name: filepath.Base(path), Data: data, fd: fd}
	if err := f.readFormat(); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// NewFile makes a File of bytes in memory, for logs that do not lie on a disk
// and for tests.
func NewFile(name string, data []byte) (*File, error) {
	f := &File{Name: name, Data: data}
	return f, f.readFormat()
}

func mapFile(fd *os.File) ([]byte, error) {
	path := fd.Name()
	st, err := fd.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w (not a regular file)", path, ErrNotBinlog)
	}
	if st.Size() == 0 {
		return nil, fmt.Errorf("%s: %w (the file is empty)", path, ErrNotBinlog)
	}
	data, err := unix.Mmap(int(fd.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", path, err)
	}
	return data, nil
}

// Close unmaps the file. Slices of it must not be used afterwards.
func (f *File) Close() error {
	if f.Path == "" || f.Data == nil {
		return nil
	}
	data := f.Data
	f.Data = nil
	return errors.Join(unix.Munmap(data), f.fd.Close())
}

// ReadAt reads bytes of the file without mapping their pages, for access at
// random places of a log that is larger than the memory to spend on it.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	if f.fd == nil {
		if off >= int64(len(f.Data)) {
			return 0, io.EOF
		}
		return copy(p, f.Data[off:]), nil
	}
	return f.fd.ReadAt(p, off)
}

// Release tells the kernel that the bytes before offset end need not stay
// resident. They can still be read: the page cache or the disk gives them back.
func (f *File) Release(start, end int64) {
	const page = 1 << 12
	start &^= page - 1
	end = min(end, int64(len(f.Data))) &^ (page - 1)
	if f.Path == "" || end <= start {
		return
	}
	_ = unix.Madvise(f.Data[start:end], unix.MADV_DONTNEED) // advice only
}

// At is the position of an offset in this file.
func (f *File) At(offset int64) Position { return Position{File: f.Name, Offset: offset} }

func (f *File) readFormat() error {
	switch {
	case bytes.HasPrefix(f.Data, magicEncrypted):
		return At(f.At(0), ErrEncrypted)
	case !bytes.HasPrefix(f.Data, magic):
		return At(f.At(0), ErrNotBinlog)
	}
	const start = 4
	if len(f.Data) < start+HeaderSize {
		return At(f.At(start), ErrTruncated)
	}
	size := int64(binary.LittleEndian.Uint32(f.Data[start+9:]))
	if typ := Type(f.Data[start+4]); typ != FormatDescription {
		return At(f.At(start), fmt.Errorf("%w: the first event is %s, not FORMAT_DESCRIPTION_EVENT", ErrCorrupt, typ))
	}
	if size > int64(len(f.Data))-start {
		return At(f.At(start), f.cutOff(start, size))
	}
	if size < HeaderSize {
		return At(f.At(start), fmt.Errorf("%w: size %d", ErrCorrupt, size))
	}
	raw := f.Data[start : start+size]
	format, err := DecodeFormat(raw)
	if err != nil {
		return At(f.At(start), err)
	}
	if binary.LittleEndian.Uint16(raw[17:])&FlagRelayLog != 0 {
		return At(f.At(start), ErrRelayLog)
	}
	if next := int64(binary.LittleEndian.Uint32(raw[13:])); next != start+size && next != 0 {
		return At(f.At(start), ErrRelayLog)
	}
	f.Format = format
	f.First = start + size
	return nil
}

// checkCRC verifies the trailer of a whole event (header, body, trailer).
func checkCRC(raw []byte) error {
	n := len(raw) - 4
	if crc32.ChecksumIEEE(raw[:n]) != binary.LittleEndian.Uint32(raw[n:]) {
		return ErrChecksum
	}
	return nil
}
