// Package gtid holds global transaction identifiers and sets of them, as MySQL
// and MariaDB name and encode them. It does no I/O.
//
// # MySQL
//
// A GTID is uuid:number or, since 8.3, uuid:tag:number. The uuid is that of the
// server on which the transaction first committed; a tag is up to 32 of
// [a-z0-9_], does not begin with a digit and is lower-cased by the server. A
// number runs from 1 to 2^63-2 (GNO_END is exclusive). A Set is a true set: per
// (uuid, tag) the sorted, disjoint, non-touching intervals of numbers.
//
//	text   uuid:1-5:7:tag_a:1-3,uuid:9
//
// An interval belongs to the tag before it. White space, empty items and
// n-m with m<n (an empty interval) are accepted as the server accepts them. The
// server reads numbers with strtoll base 0, so that 010 means 8; leading zeros
// are refused here.
//
// The body of PREVIOUS_GTIDS_LOG_EVENT (35), little-endian:
//
//	offset  size  meaning
//	0       8     head word
//	8       ...   one record per (uuid, tag):
//	              16    uuid
//	              1+n   tag, in tagged format only: n<<1, then n bytes; n may be 0
//	              8     number of intervals
//	              16*k  start, end (exclusive), ascending and not touching
//
// Head word: in untagged format (every server before 8.3, and later ones as long
// as no tag is in the set) the number of records, below 2^56. In tagged format
// the top byte and the bottom byte are both 1 and the number of records is in
// bits 8 to 55, so that an old server sees an impossible count instead of
// misreading the records.
//
// Source: MySQL 9.x sql/rpl_gtid_set.cc (Gtid_set::encode, add_gtid_encoding,
// add_gtid_text), libs/mysql/gtid/tag.cpp and
// libs/mysql/serialization/primitive_type_codec.h (variable-length sizes).
//
// # MariaDB
//
// A GTID is domain-server-sequence. Within a domain the sequence numbers of one
// stream of transactions ascend, so MariaDB keeps no set but a position: the
// last GTID of each domain. A MariaDB Set is such a position and answers
// Contains by "not after the last one". What a position does not know:
//
//   - gaps: 0-1-100 does not say that 0-1-57 ever existed (an operator may jump
//     gtid_seq_no, and rolled-back numbers are not always reused);
//   - who wrote what: after 0-2-120 it does not say whether 0-1-110 or 0-2-110
//     was the transaction applied. Contains ignores the server id;
//   - order against the grain: with gtid_strict_mode=OFF a lower number may
//     follow a higher one in a domain. Contains then says yes too early.
//     Callers who depend on it check that numbers ascend while they read.
//
// A server's binlog state (GTID_LIST_EVENT, gtid_binlog_state) knows a little
// more, the last number of each (domain, server); it is a []ID in the server's
// order, in which the last entry of a domain is the newest one. ListToSet makes
// the position out of it.
//
// The body of GTID_LIST_EVENT (163), little-endian:
//
//	offset  size  meaning
//	0       4     bits 0-27 count, bits 28-31 flags
//	4       16*n  domain (4), server (4), sequence (8)
//	4       2     instead, when count is 0: padding
//
// Source: MariaDB 10.11 sql/log_event.cc (Gtid_list_log_event), sql/rpl_gtid.cc
// (gtid_parser_helper, rpl_binlog_state).
//
// # Concurrency
//
// Any number of goroutines may read a Set; writing needs exclusion. Copying a
// Set shares its contents: use Clone.
package gtid
