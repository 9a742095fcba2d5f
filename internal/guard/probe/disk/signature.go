package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Signature is a layout that a device's own bytes name.
type Signature string

// magic is a byte string at an offset from the device's beginning. Offsets are
// those of the formats' own headers: ext4_fs.h, xfs_format.h, btrfs_tree.h,
// LUKS on-disk format 1 and 2, lvm2 label.h (first four sectors), md_p.h,
// include/linux/swap.h (end of the first page), bcache_ondisk.h, UEFI (GPT).
type magic struct {
	name   Signature
	offset int64
	bytes  string
}

func magics() []magic {
	list := []magic{
		{"ext", 0x438, "\x53\xef"}, {"xfs", 0, "XFSB"}, {"btrfs", 0x10040, "_BHRfS_M"},
		{"luks", 0, "LUKS\xba\xbe"}, {"md", 0, "\xfc\x4e\x2b\xa9"}, {"md", 4096, "\xfc\x4e\x2b\xa9"},
		{"bcache", 0x1018, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"},
		{"squashfs", 0, "hsqs"}, {"ntfs", 3, "NTFS    "}, {"iso9660", 0x8001, "CD001"},
		{"fat", 54, "FAT12   "}, {"fat", 54, "FAT16   "}, {"fat", 82, "FAT32   "},
		{"partition table or boot sector", 510, "\x55\xaa"}, {"gpt", 512, "EFI PART"}, {"gpt", 4096, "EFI PART"},
	}
	for sector := range int64(4) {
		list = append(list, magic{"lvm2", sector * 512, "LABELONE"})
	}
	for _, page := range []int64{4096, 8192, 16384, 65536} {
		list = append(list, magic{"swap", page - 10, "SWAPSPACE2"}, magic{"swap", page - 10, "SWAP-SPACE"})
	}
	return list
}

// Signatures names every layout found on a device of size bytes. Any read that
// fails is an error. None found does not mean that the device is empty.
func Signatures(r io.ReaderAt, size int64) ([]Signature, error) {
	var found []Signature
	add := func(m magic) error {
		if m.offset < 0 || m.offset+int64(len(m.bytes)) > size {
			return nil
		}
		got := make([]byte, len(m.bytes))
		if n, err := r.ReadAt(got, m.offset); n < len(got) || (err != nil && !errors.Is(err, io.EOF)) { //check:disk-signature-read
			return fmt.Errorf("read %d bytes at %d: %w", len(got), m.offset, errors.Join(err, io.ErrUnexpectedEOF))
		}
		if bytes.Equal(got, []byte(m.bytes)) {
			found = append(found, m.name)
		}
		return nil
	}
	for _, m := range append(magics(), atEnd(size)...) {
		if err := add(m); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// mdAtEnd is md with its superblock at the end: what is in it begins where the
// device does, so that a mirror shows its filesystem.
const mdAtEnd Signature = "md (at its end)"

// atEnd are those that lie at a device's end: md 0.90 in the last whole 64 KiB
// block of either byte order, md 1.0 at 8 KiB before the end rounded down to
// 4 KiB (drivers/md/md.c), and the second GPT header.
func atEnd(size int64) []magic {
	old := size&^0xffff - 0x10000
	big := string(binary.BigEndian.AppendUint32(nil, 0xa92b4efc))
	return []magic{
		{mdAtEnd, old, "\xfc\x4e\x2b\xa9"}, {mdAtEnd, old, big},
		{mdAtEnd, (size/512 - 16) &^ 7 * 512, "\xfc\x4e\x2b\xa9"},
		{"gpt", size - 512, "EFI PART"}, {"gpt", size - 4096, "EFI PART"},
	}
}
