// Package engine recognises the files of MySQL's and MariaDB's storage engines,
// by their first bytes and by their names.
//
// What the first bytes say (all integers big endian):
//
//	binary or relay log   fe 'bin'; encrypted by MySQL: fd 'bin'
//	InnoDB tablespace     page 0: page number 0 at 4, type 8 (FSP_HDR) at 24, space id at 34 and again at 38, size not 0 at 46
//	InnoDB, just created  MySQL 8.0 and later: page 0 not yet flushed: type 0, server version (80000 to 99999) at 8, space version 1 at 12, space id as above
//	InnoDB system space   the same as a tablespace with space id 0
//	redo log              format at 0 ('Phys', 'PHYS', those with the top bit set, or a small number), creator ("MariaDB ", "MySQL "...) at 16
//	Aria control file     fe fe 0c 01, little endian lengths of its two parts (30 to 512, up to 512) at 20 and 22
//	Aria log              fe fe 0b 'MARIALOG' with another byte between
//	Aria index            fe fe 09, version up to 3 at 3, lengths of state and base information (64 to 1023, up to 1023) at 8 and 10
//	MyISAM index          fe fe 07, length of its base information (100) at 10
//	.frm                  fe 01, version 6 to 11 at 2, 0 5 at 32; of a view: 'TYPE=VIEW'
//	.sdi                  '{"mysqld_version_id":'
//	auto.cnf              '[auto]' and server-uuid
//
// Neither server encrypts or page-compresses page 0 of a tablespace, the first
// block of a redo log or the magic of a binary log, so encrypted and
// compressed files are recognised too. What has no header at all (.MYD, .MAD,
// .CSV, doublewrite files, a MariaDB tablespace before its first flush) is
// known by name only: ByName.
//
// Sources: storage/innobase/include/{fil0types.h,fsp0types.h,log0types.h} of
// MySQL 9.7 and MariaDB 10.11, storage/maria/{ma_control_file.c,ma_loghandler.c},
// include/myisamchk.h, sql/{log_event.h,unireg.h}.
package engine

import (
	"bytes"
	"encoding/binary"
	"path"
	"regexp"
	"slices"
	"strings"
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
	AriaLog     Class = "Aria log"
	AriaIndex   Class = "Aria index"
	MyISAMIndex Class = "MyISAM index"
	Definition  Class = "table definition"
	Identity    Class = "server identity"

	// Classes that only a name can tell.
	TableData   Class = "table data"              // .MYD, .MAD, .CSV, .ARZ
	DoubleWrite Class = "InnoDB doublewrite file" // #ib_16384_0.dblwr
	RocksDB     Class = "RocksDB directory"       // MyRocks: #rocksdb, .rocksdb
)

// Strong reports whether a file's own bytes tell the class. The other classes
// rest on a name, which anybody can give to anything.
func (c Class) Strong() bool {
	return c != None && c != TableData && c != DoubleWrite && c != RocksDB
}

// Locks reports whether a running engine keeps a lock on files of the class:
// MariaDB on the system tablespace and Aria's control file, MySQL on every
// InnoDB file.
func (c Class) Locks() bool {
	return slices.Contains([]Class{SystemSpace, Tablespace, RedoLog, AriaControl, DoubleWrite}, c)
}

// Classify says what a file is by its first bytes; fewer than HeadSize is a
// file that is that short. All it returns is Strong, or None.
func Classify(head []byte) Class {
	switch {
	case hasPrefix(head, "\xfebin"), hasPrefix(head, "\xfdbin"):
		return BinaryLog
	case hasPrefix(head, "\xfe\xfe"):
		return classifyMaria(head)
	case isDefinition(head):
		return Definition
	case hasPrefix(head, "[auto]\n") && bytes.Contains(head, []byte("server-uuid")):
		return Identity
	case isRedo(head):
		return RedoLog
	}
	return classifyPage(head)
}

func hasPrefix(head []byte, prefix string) bool { return bytes.HasPrefix(head, []byte(prefix)) }

// classifyMaria tells the files apart that begin with MyISAM's and Aria's magic.
func classifyMaria(head []byte) Class {
	switch {
	case isAriaControl(head):
		return AriaControl
	case hasPrefix(head, "\xfe\xfe\x0b") && len(head) >= 12 && hasPrefix(head[4:], "MARIALOG"):
		return AriaLog
	case isAriaIndex(head):
		return AriaIndex
	case hasPrefix(head, "\xfe\xfe\x07") && len(head) >= 24 && binary.BigEndian.Uint16(head[10:]) == 100:
		return MyISAMIndex
	}
	return None
}

// isAriaControl: the magic alone is three bytes, which a disk of random bytes
// (an encrypted one) holds at the beginning of one sector in 2^24. The bounds
// are those with which the server opens the file (CF_MIN_SIZE, CF_MAX_SIZE).
func isAriaControl(head []byte) bool {
	if len(head) < 24 || !hasPrefix(head, "\xfe\xfe\x0c\x01") {
		return false
	}
	created, changeable := binary.LittleEndian.Uint16(head[20:]), binary.LittleEndian.Uint16(head[22:])
	return created >= 30 && created <= 512 && changeable <= 512
}

func isAriaIndex(head []byte) bool {
	if len(head) < 24 || !hasPrefix(head, "\xfe\xfe\x09") || head[3] > 3 {
		return false
	}
	state, base := binary.BigEndian.Uint16(head[8:]), binary.BigEndian.Uint16(head[10:])
	return state >= 64 && state < 1024 && base < 1024
}

func isDefinition(head []byte) bool {
	if hasPrefix(head, "TYPE=VIEW\n") || hasPrefix(head, `{"mysqld_version_id":`) {
		return true
	}
	return len(head) >= 34 && hasPrefix(head, "\xfe\x01") && head[2] >= 6 && head[2] <= 11 && head[32] == 0 && head[33] == 5
}

// creators are what writes itself at 16 into a redo log.
var creators = []string{"MariaDB ", "MySQL ", "Percona ", "ibbackup", "Backup ", "MEB"}

func isRedo(head []byte) bool {
	if len(head) < 32 {
		return false
	}
	format := binary.BigEndian.Uint32(head) &^ (1 << 31) // the top bit: MariaDB encrypts
	if format > 32 && format != 0x50687973 && format != 0x50485953 {
		return false
	}
	return slices.ContainsFunc(creators, func(c string) bool { return hasPrefix(head[16:], c) })
}

func classifyPage(head []byte) Class {
	if len(head) < 50 {
		return None
	}
	be := binary.BigEndian
	space := be.Uint32(head[34:])
	if be.Uint32(head[4:]) != 0 || be.Uint32(head[38:]) != space {
		return None
	}
	switch pageType := be.Uint16(head[24:]); {
	case pageType == 8 && be.Uint32(head[46:]) != 0 && space == 0:
		return SystemSpace
	case pageType == 8 && be.Uint32(head[46:]) != 0:
		return Tablespace
	case pageType == 0 && space != 0 && be.Uint32(head[12:]) == 1 && be.Uint32(head[8:])/10000 >= 8 && be.Uint32(head[8:])/10000 <= 9:
		return Tablespace
	}
	return None
}

// names are base names and what they belong to, the first that matches.
var names = []struct {
	class   Class
	pattern *regexp.Regexp
}{
	{SystemSpace, regexp.MustCompile(`^ibdata\d+$`)},
	{Tablespace, regexp.MustCompile(`(?i)^(mysql\.ibd|undo_?\d+|ibtmp\d+)$|\.(ibd|ibu|ibt|isl)$`)},
	{RedoLog, regexp.MustCompile(`^(ib_logfile\d+|#ib_redo\d+(_tmp)?)$`)},
	{DoubleWrite, regexp.MustCompile(`^#ib_.*\.b?dblwr$`)},
	{AriaControl, regexp.MustCompile(`^aria_log_control$`)},
	{AriaLog, regexp.MustCompile(`^aria_log\.\d{8}$`)},
	{Identity, regexp.MustCompile(`^auto\.cnf$`)},
	{AriaIndex, regexp.MustCompile(`\.MAI$`)},
	{MyISAMIndex, regexp.MustCompile(`\.MYI$`)},
	{TableData, regexp.MustCompile(`\.(MYD|MAD|CSV|ARZ)$`)},
	{Definition, regexp.MustCompile(`\.(frm|sdi)$`)},
	{RocksDB, regexp.MustCompile(`^[#.]rocksdb$`)},
	{BinaryLog, regexp.MustCompile(`\.\d{6,10}$`)},
}

// ByName says what a file or directory is called like, by the last element of
// its path: a reason to open it, and alone never a proof.
func ByName(name string) Class {
	base := path.Base(strings.TrimSuffix(name, " (deleted)"))
	for _, n := range names {
		if n.pattern.MatchString(base) {
			return n.class
		}
	}
	return None
}
