// Package engine recognises the files of MySQL's and MariaDB's storage engines,
// by their first bytes and by their names.
//
// What the first bytes say (all integers big endian):
//
//	binary or relay log   fe 'bin'; encrypted by MySQL: fd 'bin'
//	InnoDB tablespace     page 0: page number 0 at 4, type 8 (FSP_HDR) at 24, space id at 34 and again at 38
//	InnoDB system space   the same with space id 0
//	redo log              'Phys' at 0, or format 1..., with "MariaDB " or "MySQL " at 16
//	Aria control file     fe fe 0c
//
// Sources: storage/innobase/include/{fil0types.h,fsp0types.h,log0types.h} of
// MySQL 9.7 and MariaDB 10.11, storage/maria/ma_control_file.c, sql/log_event.h.
package engine

import (
	"bytes"
	"encoding/binary"
)

// HeadSize is how many bytes of a file's beginning Classify wants to see.
const HeadSize = 64

// Class is what a file is.
type Class string

// The classes.
const (
	None        Class = ""
	BinaryLog   Class = "binary or relay log"
	SystemSpace Class = "InnoDB system tablespace"
	Tablespace  Class = "InnoDB tablespace"
	RedoLog     Class = "InnoDB redo log"
	AriaControl Class = "Aria control file"
)

// Classify says what a file is by its first bytes; fewer than HeadSize is a
// file that is that short.
func Classify(head []byte) Class {
	switch {
	case hasPrefix(head, "\xfebin"), hasPrefix(head, "\xfdbin"):
		return BinaryLog
	case hasPrefix(head, "\xfe\xfe\x0c"):
		return AriaControl
	case isRedo(head):
		return RedoLog
	}
	return classifyPage(head)
}

func hasPrefix(head []byte, prefix string) bool { return bytes.HasPrefix(head, []byte(prefix)) }

func isRedo(head []byte) bool {
	if len(head) < 32 {
		return false
	}
	creator := head[16:]
	return hasPrefix(creator, "MariaDB ") || hasPrefix(creator, "MySQL ") ||
		hasPrefix(creator, "Percona ") || hasPrefix(creator, "ibbackup") || hasPrefix(creator, "Backup ")
}

func classifyPage(head []byte) Class {
	if len(head) < 50 {
		return None
	}
	be := binary.BigEndian
	space := be.Uint32(head[34:])
	if be.Uint32(head[4:]) != 0 || be.Uint16(head[24:]) != 8 || be.Uint32(head[38:]) != space || be.Uint32(head[46:]) == 0 {
		return None
	}
	if space == 0 {
		return SystemSpace
	}
	return Tablespace
}
