// Package collation decides when two values of a text key are the same key for
// the server, although their bytes differ: 'a', 'A' and 'á', 'ß' and 'ss', 'a'
// and 'a '.
//
// # Who decides
//
// The server that holds the table is asked, not a library: it has the collations
// (MariaDB 11.8 some 1280 of them) in the version that its indexes were built
// with. Its WEIGHT_STRING of a value is the value's key. The answers are kept in
// a cache of bounded size, and for ASCII, the bulk of all keys, there is a table
// of the weights of single characters: some nanoseconds per byte, no question.
//
// The rule is: AppendKey(a) = AppendKey(b) if and only if the server's index holds
// a = b, whichever way the keys came about. Keys put together here are, byte for
// byte, what the server's answer would give, or else the value is asked for.
//
// # Learning a collation
//
// Learn asks, in some 10 to 60 queries, for
//
//  1. how ' ' and 'a' are encoded, and whether each byte is a character;
//  2. whether 'a' = 'a ' (PAD SPACE); nothing is concluded from names;
//  3. the form of weight strings, see below;
//  4. the weights of the single bytes, 0x00 to 0x7F, or to 0xFF where each is a
//     character;
//  5. proof that the weights of a string of such bytes are their weights in a row:
//     a string with all pairs of bytes in it, all sequences of three letters in
//     random case, random strings. Where the proof fails, each pair is tried by
//     itself. Pairs with a weight of their own ("ch", Danish "aa") are left to the
//     server, and so are strings that contain one. A byte that gets on with few
//     others is left to the server altogether. If the proof fails again without
//     them, everything is;
//  6. comparisons of odd strings, to hold the keys against. A difference makes the
//     collation unsupported.
//
// Collations named ..._bin compare bytes; they are only checked (6).
//
// Character sets whose ASCII takes more than a byte (ucs2, utf16, utf16le, utf32)
// have no table; all their values are asked for.
//
// # Facts about WEIGHT_STRING
//
// Established on MySQL 9.7.4, MariaDB 10.11.18 and 11.8.6, on all their collations
// (go test -tags long), and read in MariaDB's strings/ctype-uca.inl
// (strnncollsp_nopad_multilevel, strnncollsp_nchars_onelevel):
//
//   - Without AS CHAR(n) nothing is filled up: trailing spaces of the value have
//     their weights, and the weight string of the empty string is empty.
//   - PAD SPACE compares as if spaces went on for ever. So trailing weights equal
//     to that of a space do not count, whatever they come from (U+00A0 weighs as
//     much as a space in Unicode collations). They are stripped from the key; all
//     weights of such collations have the same length. In character sets of mixed
//     width (gbk, sjis ...) weights have one byte or two, the second of which may
//     be 0x20; there only the bytes of spaces themselves are dropped.
//   - MySQL's collations of several levels (utf8mb4_0900_as_ci, _as_cs) are NO PAD
//     and put 0x0000 between levels, even with nothing in them. Japanese has a
//     fourth level only in strings with kana, Lithuanian has weights of 0.
//   - MariaDB's (uca1400 _as_ci, _ai_cs and _as_cs, thai_520_w2, cp1250_czech_cs)
//     put levels in a row with nothing between them. WEIGHT_STRING(x LEVEL n)
//     gives one of them; for _ai_cs level 2 is empty. From the second level on
//     they are compared with PAD SPACE even under NO PAD.
//   - latin2_czech_cs (both vendors) and cp1250_czech_cs (MySQL, which has no
//     LEVEL clause) have forms of their own. Their weight string is the key as it
//     is, and they have no table.
//   - A value that is not valid in its character set makes the statement fail with
//     error 1300. An odd number of bytes in ucs2 is filled up with a zero instead;
//     it is refused here.
//   - The result is NULL when the room reserved for it exceeds max_allowed_packet.
//
// Three collations have weight strings that do not say what is equal, and are
// unsupported: big5_chinese_ci, gb18030_chinese_ci, tis620_thai_ci.
//
// # What callers have to see to
//
//   - Prefix keys: cut the value to its first n characters before.
//   - CHAR columns: use Collation.Char.
//   - Several columns: a key does not say where it ends.
//   - ErrUnsupported, from Learn, Char or Resolve: the table's keys are not known.
//     Two values with different keys may be one for the server.
package collation
