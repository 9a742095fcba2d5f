// Package binlog turns binary log files of MySQL and MariaDB into framed,
// checksummed and decompressed events. It knows no rows: what lies inside a
// row image is package rowimage's business.
//
// # File
//
// A binary log file is the magic number fe 'b' 'i' 'n' followed by events.
// The first event is always a FORMAT_DESCRIPTION_EVENT; it says which server
// wrote the file and whether events carry a CRC32 trailer.
//
// # Event
//
// All numbers are little endian.
//
//	offset size
//	     0    4  timestamp, seconds since 1970, start of the statement
//	     4    1  type
//	     5    4  server id of the server that first logged the event
//	     9    4  event size in bytes: header, body and checksum
//	    13    4  offset of the next event in the file, modulo 2^32
//	    17    2  flags
//	    19    n  body
//	  size-4  4  CRC32 (IEEE) of everything before it, where the file has checksums
//
// Sources: MySQL 9.7 libs/mysql/binlog/event/binlog_event.h and
// control_events.h; MariaDB 10.11 and 11.8 sql/log_event.h.
//
// Bytes that a file promises and does not have are never invented: every
// decoder checks lengths before it reads, and every error names file and
// offset.
package binlog
