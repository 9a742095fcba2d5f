package clone

import (
	"encoding/binary"
	"hash/crc32"
)

// Tablespace numbers (MySQL 9.7 storage/innobase/include/dict0dict.h). Those of
// undo tablespaces are below that of the redo log: 127 tablespaces of 400,000
// numbers each, as every truncation takes a new one.
const (
	spaceNone    = 0xFFFFFFFF // of the buffer pool's dump, which is no tablespace
	spaceRedo    = 0xFFFFFFF0
	spaceUndoMin = spaceRedo - 127*400_000
)

func isUndo(space uint32) bool { return space >= spaceUndoMin && space < spaceRedo }

// spaceFlags are of a tablespace (storage/innobase/include/fsp0types.h):
//
//	bit 0     format after Antelope
//	bit 1-4   physical page size, 512·2^n; 0: the logical one
//	bit 6-9   logical page size, 512·2^n; 0: 16 KiB
//	bit 13    encrypted
type spaceFlags uint32

// noSpaceFlags are of files that are no tablespaces.
const noSpaceFlags spaceFlags = 0xFFFFFFFF

func (f spaceFlags) encrypted() bool { return f != noSpaceFlags && f>>13&1 != 0 }

func (f spaceFlags) logical() int64 {
	if n := f >> 6 & 15; n != 0 {
		return 512 << n
	}
	return 16 << 10
}

func (f spaceFlags) physical() int64 {
	if n := f >> 1 & 15; n != 0 {
		return 512 << n
	}
	return f.logical()
}

// compressed reports whether pages are of ROW_FORMAT=COMPRESSED.
func (f spaceFlags) compressed() bool { return f>>1&15 != 0 }

// extent is the size of an extent in bytes: 64 pages, or 1 MiB of logical pages
// if they are smaller than 16 KiB.
func (f spaceFlags) extent() int64 {
	pages := int64(64)
	if f.logical() < 16<<10 {
		pages = 1 << 20 / f.logical()
	}
	return pages * f.physical()
}

// initialPages is how many pages InnoDB gives a new file of a tablespace.
func (f spaceFlags) initialPages(space uint32) int64 {
	if isUndo(space) {
		return 16 << 20 / f.physical()
	}
	return 7
}

// spaceVersion is DD_SPACE_CURRENT_SPACE_VERSION (storage/innobase/include/
// dict0dd.h).
const spaceVersion = 1

// headerPage is page 0 of a tablespace that DDL has made while it was cloned: the
// least that recovery needs to know the file, before redo makes its pages
// (storage/innobase/fil/fil0fil.cc fil_write_initial_pages).
//
//	0      4  checksum
//	8      4  version of the server: 9.7.4 is 90704
//	12     4  version of the tablespace
//	34     4  tablespace
//	38     4  tablespace
//	54     4  flags
//	end-8  4  checksum
func headerPage(space uint32, f spaceFlags, server uint32) []byte {
	p := make([]byte, f.physical())
	binary.BigEndian.PutUint32(p[8:], server)
	binary.BigEndian.PutUint32(p[12:], spaceVersion)
	binary.BigEndian.PutUint32(p[34:], space)
	binary.BigEndian.PutUint32(p[38:], space)
	binary.BigEndian.PutUint32(p[54:], uint32(f))
	if f.compressed() {
		binary.BigEndian.PutUint32(p, compressedChecksum(p))
		return p
	}
	sum := pageChecksum(p)
	binary.BigEndian.PutUint32(p, sum)
	binary.BigEndian.PutUint32(p[len(p)-8:], sum)
	return p
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// pageChecksum is innodb_checksum_algorithm=crc32 (storage/innobase/buf/
// checksum.cc): without the checksums, and what changes when a page is flushed.
func pageChecksum(p []byte) uint32 {
	return crc32.Checksum(p[4:26], castagnoli) ^ crc32.Checksum(p[38:len(p)-8], castagnoli)
}

// compressedChecksum is the same of pages of ROW_FORMAT=COMPRESSED, which have no
// trailer.
func compressedChecksum(p []byte) uint32 {
	return crc32.Checksum(p[4:16], castagnoli) ^ crc32.Checksum(p[24:26], castagnoli) ^ crc32.Checksum(p[34:], castagnoli)
}
