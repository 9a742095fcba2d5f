package replay

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"

	"github.com/lifeboat-db/lifeboat/internal/applier"
	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/txn"
)

// context returns the SET statements that give the session the state of the
// source's, as sql/log_event.cc (Query_log_event::do_apply_event) does it.
func (s *serial) context(ev *binlog.Event, q *binlog.Query, c *txn.Context) []string {
	var set []string
	add := func(format string, args ...any) { set = append(set, fmt.Sprintf(format, args...)) }
	maria := s.srv.Flavor == gtid.MariaDB
	if c.HasCharset {
		// By name: MariaDB takes no number of a uca1400 collation here.
		add("character_set_client=%s", s.colls[c.ClientCharset].charset)
		add("collation_connection=%d", c.Connection)
		add("collation_server=%d", c.ServerColl)
	}
	add("timestamp=%d.%06d", ev.Timestamp, c.Microseconds)
	add("pseudo_thread_id=%d", q.ThreadID)
	if c.HasFlags {
		add("foreign_key_checks=%d", off(c.NoForeignKeys || s.part))
		add("unique_checks=%d", off(c.NoUniqueChecks))
		add("sql_auto_is_null=%d", off(c.NoAutoIsNull))
		if maria {
			add("check_constraint_checks=%d", off(c.NoCheckConstraint))
			if s.srv.AtLeast(10, 5) {
				add("sql_if_exists=%d", 1-off(c.IfExists))
			}
			if s.srv.AtLeast(10, 10) {
				add("explicit_defaults_for_timestamp=%d", 1-off(c.MariaExplicit))
			}
		}
	}
	if c.HasSQLMode {
		mode := c.SQLMode & s.knownModes()
		if s.inside && naming.Match(q.SQL) {
			mode = mode&^strictModes | noDirInCreate
		}
		add("sql_mode=%d", mode)
	}
	add("auto_increment_increment=%d", max(1, c.AutoIncrement))
	add("auto_increment_offset=%d", max(1, c.AutoIncrementOffset))
	add("time_zone=%s", quoteOr(c.TimeZone, "'SYSTEM'"))
	add("lc_time_names=%d", c.TimeNames)
	if c.HasDatabaseCollation {
		add("collation_database=%d", c.DatabaseCollation)
	} else {
		add("collation_database=DEFAULT")
	}
	if c.HasExplicitDefaults {
		add("explicit_defaults_for_timestamp=%d", c.ExplicitDefaults)
	}
	if !maria {
		set = append(set, s.mysqlContext(c)...)
	} else if len(c.CharacterSetCollations) > 0 {
		add("character_set_collations='%s'", s.charsetCollations(c.CharacterSetCollations))
	}
	stmts := []string{"SET " + strings.Join(set, ", ")}
	if q.Database != "" && ev.Flags&binlog.FlagSuppressUse == 0 {
		stmts = append(stmts, "USE "+dbconn.QuoteName(q.Database))
	}
	return stmts
}

// naming finds statements about tables that may name directories for their files:
// on this machine these are somebody else's, or not there. (A routine keeps the
// sql_mode that it is made with: its statement is left alone.)
var naming = regexp.MustCompile(`(?is)^(\s|/\*.*?\*/)*(CREATE(\s+OR\s+REPLACE)?(\s+TEMPORARY)?|ALTER(\s+(ONLINE|IGNORE))*)\s+TABLE\b.*\bDIRECTORY\b`)

// noDirInCreate is MODE_NO_DIR_IN_CREATE of both vendors (sql/sql_class.h,
// sql/system_variables.h): the server puts the files into its data directory.
const noDirInCreate = 1 << 7

// strictModes are STRICT_TRANS_TABLES and STRICT_ALL_TABLES, with which MariaDB makes
// an error of the warning that a directory was ignored. What the source took with them
// is taken without.
const strictModes = 1<<21 | 1<<22

func (s *serial) mysqlContext(c *txn.Context) []string {
	var set []string
	if c.HasDefaultUTF8MB4Collation {
		set = append(set, fmt.Sprintf("default_collation_for_utf8mb4=%d", c.DefaultUTF8MB4Collation))
	}
	if c.HasRequirePrimaryKey {
		set = append(set, fmt.Sprintf("sql_require_primary_key=%d", c.RequirePrimaryKey))
	}
	if c.HasCascadeTriggers {
		set = append(set, fmt.Sprintf("enable_cascade_triggers=%d", c.CascadeTriggers))
	}
	if c.HasDefEncryption && c.DefaultEncryption != 0 {
		set = append(set, fmt.Sprintf("default_table_encryption=%d", c.DefaultEncryption))
	}
	return set
}

// knownModes masks sql_mode bits that the target's version dropped: MySQL 8.0
// has no ORACLE-style combination modes and no NO_AUTO_CREATE_USER
// (sql/system_variables.h, MODE_ALLOWED_MASK).
func (s *serial) knownModes() uint64 {
	if s.srv.Flavor == gtid.MariaDB || !s.srv.AtLeast(8, 0) {
		return math.MaxUint64
	}
	const dropped = 1<<8 | 1<<9 | 1<<10 | 1<<11 | 1<<12 | 1<<13 | 1<<14 | 1<<15 | 1<<16 | 1<<17 | 1<<28
	return ^uint64(dropped)
}

func (s *serial) charsetCollations(pairs []txn.CollationPair) string {
	var out []string
	for _, p := range pairs {
		out = append(out, s.colls[p.Charset].charset+"="+s.colls[p.Collation].name)
	}
	return strings.Join(out, ",")
}

func off(b bool) int {
	if b {
		return 0
	}
	return 1
}

func quoteOr(s, empty string) string {
	if s == "" {
		return empty
	}
	return "'" + strings.ReplaceAll(s, "'", "''") + "'"
}

func (s *serial) intvar(ctx context.Context, ses *applier.Session, ev *binlog.Event) error {
	if len(ev.Body) < 9 {
		return fmt.Errorf("%w: INTVAR_EVENT", binlog.ErrCorrupt)
	}
	v := binary.LittleEndian.Uint64(ev.Body[1:])
	switch ev.Body[0] {
	case 1:
		return ses.Exec(ctx, fmt.Sprintf("SET last_insert_id=%d", v))
	case 2:
		return ses.Exec(ctx, fmt.Sprintf("SET insert_id=%d", v))
	default:
		return fmt.Errorf("%w: INTVAR_EVENT of type %d", binlog.ErrUnsupported, ev.Body[0])
	}
}

func (s *serial) random(ctx context.Context, ses *applier.Session, ev *binlog.Event) error {
	if len(ev.Body) < 16 {
		return fmt.Errorf("%w: RAND_EVENT", binlog.ErrCorrupt)
	}
	return ses.Exec(ctx, fmt.Sprintf("SET rand_seed1=%d, rand_seed2=%d",
		binary.LittleEndian.Uint64(ev.Body), binary.LittleEndian.Uint64(ev.Body[8:])))
}

// userVar: name length 4, name, is-NULL 1, then type 1, collation 4, value
// length 4, value, flags 1 (statement_events.h, User_var_event).
func (s *serial) userVar(ctx context.Context, ses *applier.Session, ev *binlog.Event) error {
	bad := fmt.Errorf("%w: USER_VAR_EVENT", binlog.ErrCorrupt)
	b := ev.Body
	if len(b) < 5 || uint64(len(b)) < uint64(binary.LittleEndian.Uint32(b))+5 {
		return bad
	}
	n := int(binary.LittleEndian.Uint32(b))
	name, b := string(b[4:4+n]), b[4+n:]
	if b[0] != 0 {
		return ses.Exec(ctx, "SET @"+dbconn.QuoteName(name)+" := NULL")
	}
	if len(b) < 10 || uint64(len(b)) < uint64(binary.LittleEndian.Uint32(b[6:]))+10 {
		return bad
	}
	value := b[10 : 10+int(binary.LittleEndian.Uint32(b[6:]))]
	unsigned := len(b) > 10+len(value) && b[10+len(value)]&1 != 0
	text, err := s.literal(b[1], uint16(binary.LittleEndian.Uint32(b[2:])), value, unsigned) //nolint:gosec // collation ids are 16 bits
	if err != nil {
		return fmt.Errorf("user variable %s: %w", name, err)
	}
	return ses.Exec(ctx, "SET @"+dbconn.QuoteName(name)+" := "+text)
}

// literal writes a user variable's value as SQL. Types are Item_result's:
// STRING 0, REAL 1, INT 2, DECIMAL 4.
func (s *serial) literal(typ byte, coll uint16, v []byte, unsigned bool) (string, error) {
	switch {
	case typ == 0:
		c, ok := s.colls[coll]
		if !ok {
			return "", fmt.Errorf("%w: collation %d", binlog.ErrUnsupported, coll)
		}
		return "_" + c.charset + " X'" + hex.EncodeToString(v) + "' COLLATE " + dbconn.QuoteName(c.name), nil
	case typ == 1 && len(v) == 8:
		return strconv.FormatFloat(math.Float64frombits(binary.LittleEndian.Uint64(v)), 'e', 17, 64), nil
	case typ == 2 && len(v) == 8 && unsigned:
		return "CAST(" + strconv.FormatUint(binary.LittleEndian.Uint64(v), 10) + " AS UNSIGNED)", nil
	case typ == 2 && len(v) == 8:
		return strconv.FormatInt(int64(binary.LittleEndian.Uint64(v)), 10), nil //nolint:gosec // as the server stores it
	case typ == 4 && len(v) > 2:
		return decimalText(int(v[0]), int(v[1]), v[2:])
	default:
		return "", fmt.Errorf("%w: type %d of %d bytes", binlog.ErrUnsupported, typ, len(v))
	}
}

// decimalText decodes the server's packed decimal (strings/decimal.c,
// bin2decimal): big endian groups of nine digits in four bytes, the odd digits
// in front of the point and behind it in fewer; the top bit is inverted, and
// all bits of a negative number are.
func decimalText(precision, scale int, b []byte) (string, error) {
	size := [...]int{0, 1, 1, 2, 2, 3, 3, 4, 4, 4}
	whole := precision - scale
	if whole < 0 || len(b) < whole/9*4+size[whole%9]+scale/9*4+size[scale%9] {
		return "", fmt.Errorf("%w: decimal(%d,%d)", binlog.ErrCorrupt, precision, scale)
	}
	b = append([]byte(nil), b...)
	var out strings.Builder
	if b[0]&0x80 == 0 {
		out.WriteByte('-')
		for i := range b {
			b[i] ^= 0xff
		}
	}
	b[0] ^= 0x80
	group := func(digits int) {
		n := size[digits]
		var v uint32
		for _, c := range b[:n] {
			v = v<<8 | uint32(c)
		}
		b = b[n:]
		fmt.Fprintf(&out, "%0*d", digits, v)
	}
	if whole%9 > 0 {
		group(whole % 9)
	}
	for range whole / 9 {
		group(9)
	}
	if whole == 0 {
		out.WriteByte('0')
	}
	if scale > 0 {
		out.WriteByte('.')
	}
	for range scale / 9 {
		group(9)
	}
	if scale%9 > 0 {
		group(scale % 9)
	}
	return out.String(), nil
}
