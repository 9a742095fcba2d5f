package txn

import (
	"encoding/binary"
	"fmt"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
)

// Context is the session state that a QUERY_EVENT's status variables record:
// what must be set before the statement means the same on another server.
//
// The variables are a code byte and a value each; lengths by code from MySQL
// 9.7 libs/mysql/binlog/event/statement_events.h (Query_event_status_vars) and
// MariaDB 11.8 sql/log_event.h. An unknown code ends the parsing with an error:
// what a statement depends on is never guessed.
type Context struct {
	HasFlags          bool
	NoAutoIsNull      bool // sql_auto_is_null=0
	NoForeignKeys     bool // foreign_key_checks=0
	NoUniqueChecks    bool
	NoAutocommit      bool
	NoCheckConstraint bool // MariaDB check_constraint_checks=0
	IfExists          bool // MariaDB sql_if_exists
	MariaExplicit     bool // MariaDB explicit_defaults_for_timestamp; MySQL has a variable of its own

	HasSQLMode bool
	SQLMode    uint64

	AutoIncrement, AutoIncrementOffset uint16 // 0: default

	HasCharset                             bool
	ClientCharset, Connection, ServerColl  uint16 // collation ids
	HasDatabaseCollation                   bool
	DatabaseCollation                      uint16
	TimeZone                               string
	TimeNames                              uint16 // lc_time_names number
	HasTimeNames                           bool
	Microseconds                           uint32
	HasMicroseconds                        bool
	User, Host                             string // invoker
	HasInvoker                             bool
	ExplicitDefaults                       byte
	HasExplicitDefaults                    bool
	DefaultUTF8MB4Collation                uint16
	HasDefaultUTF8MB4Collation             bool
	RequirePrimaryKey, DefaultEncryption   byte
	HasRequirePrimaryKey, HasDefEncryption bool
	HasCascadeTriggers                     bool
	CascadeTriggers                        byte
	CharacterSetCollations                 []CollationPair // MariaDB 11.3+
}

// CollationPair is an element of MariaDB's @@character_set_collations.
type CollationPair struct{ Charset, Collation uint16 }

// Status variable codes.
const (
	qFlags2            = 0
	qSQLMode           = 1
	qCatalog           = 2
	qAutoIncrement     = 3
	qCharset           = 4
	qTimeZone          = 5
	qCatalogNZ         = 6
	qLCTimeNames       = 7
	qCharsetDatabase   = 8
	qTableMapUpdate    = 9
	qMasterDataWritten = 10
	qInvoker           = 11
	qUpdatedDBs        = 12
	qMicroseconds      = 13
	qCommitTS          = 14
	qCommitTS2         = 15
	qExplicitDefaults  = 16
	qDDLXid            = 17
	qDefaultCollation  = 18
	qRequirePK         = 19
	qEncryption        = 20
	qCascadeTriggers   = 21 // MySQL 9.7, one byte: enable_cascade_triggers (tried)
	qHRNow             = 128
	qXid               = 129
	qGtidFlags3        = 130
	qCharsetCollations = 131
)

// OPTION_ flags of qFlags2.
const (
	optAutoIsNull       = 1 << 14
	optNotAutocommit    = 1 << 19
	optNoForeignKeys    = 1 << 26
	optRelaxedUnique    = 1 << 27
	optIfExists         = 1 << 28 // MariaDB
	optNoCheckConstrain = 1 << 15 // MariaDB 10.11; 11.8 does not log it (both tried)
	optExplicitDefaults = 1 << 24 // MariaDB: explicit_defaults_for_timestamp (tried)
)

type statusReader struct {
	buf []byte
	err error
}

func (r *statusReader) take(n int) []byte {
	if r.err != nil || n > len(r.buf) {
		r.err = fmt.Errorf("%w: status variables of a QUERY_EVENT", binlog.ErrCorrupt)
		return make([]byte, n)
	}
	b := r.buf[:n]
	r.buf = r.buf[n:]
	return b
}

func (r *statusReader) u8() byte    { return r.take(1)[0] }
func (r *statusReader) u16() uint16 { return binary.LittleEndian.Uint16(r.take(2)) }
func (r *statusReader) u32() uint32 { return binary.LittleEndian.Uint32(r.take(4)) }
func (r *statusReader) u64() uint64 { return binary.LittleEndian.Uint64(r.take(8)) }
func (r *statusReader) str() string { return string(r.take(int(r.u8()))) }

func (r *statusReader) u24() uint32 {
	b := r.take(3)
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
}

// ParseContext reads the status variables of a QUERY_EVENT.
func ParseContext(status []byte) (Context, error) {
	var c Context
	r := statusReader{buf: status}
	for len(r.buf) > 0 && r.err == nil {
		if code := r.u8(); !c.set(code, &r) {
			return c, fmt.Errorf("%w: status variable %d of a QUERY_EVENT", binlog.ErrUnsupported, code)
		}
	}
	return c, r.err
}

func (c *Context) set(code byte, r *statusReader) bool {
	switch code {
	case qFlags2:
		c.setFlags(r.u32())
	case qSQLMode:
		c.HasSQLMode, c.SQLMode = true, r.u64()
	case qCatalog:
		r.str()
		r.u8()
	case qAutoIncrement:
		c.AutoIncrement, c.AutoIncrementOffset = r.u16(), r.u16()
	case qCharset:
		c.HasCharset = true
		c.ClientCharset, c.Connection, c.ServerColl = r.u16(), r.u16(), r.u16()
	case qTimeZone:
		c.TimeZone = r.str()
	case qCatalogNZ:
		r.str()
	case qLCTimeNames:
		c.HasTimeNames, c.TimeNames = true, r.u16()
	case qCharsetDatabase:
		c.HasDatabaseCollation, c.DatabaseCollation = true, r.u16()
	case qInvoker:
		c.HasInvoker, c.User, c.Host = true, r.str(), r.str()
	case qMicroseconds, qHRNow:
		c.HasMicroseconds, c.Microseconds = true, r.u24()
	case qExplicitDefaults:
		c.HasExplicitDefaults, c.ExplicitDefaults = true, r.u8()
	case qDefaultCollation:
		c.HasDefaultUTF8MB4Collation, c.DefaultUTF8MB4Collation = true, r.u16()
	case qRequirePK:
		c.HasRequirePrimaryKey, c.RequirePrimaryKey = true, r.u8()
	case qEncryption:
		c.HasDefEncryption, c.DefaultEncryption = true, r.u8()
	case qCascadeTriggers:
		c.HasCascadeTriggers, c.CascadeTriggers = true, r.u8()
	case qCharsetCollations:
		for range r.u8() {
			c.CharacterSetCollations = append(c.CharacterSetCollations, CollationPair{r.u16(), r.u16()})
		}
	default:
		return c.skip(code, r)
	}
	return true
}

// skip passes over variables that do not change what a statement does.
func (c *Context) skip(code byte, r *statusReader) bool {
	switch code {
	case qTableMapUpdate, qDDLXid, qXid, qCommitTS, qCommitTS2:
		r.u64()
	case qMasterDataWritten:
		r.u32()
	case qUpdatedDBs:
		c.skipDatabases(r)
	case qGtidFlags3:
		if flags := r.u16(); flags&(4|8) != 0 { // FL_COMMIT_ALTER_E1, FL_ROLLBACK_ALTER_E1
			r.u64()
		}
	default:
		return false
	}
	return true
}

func (c *Context) skipDatabases(r *statusReader) {
	n := int(r.u8())
	if n == 254 { // OVER_MAX_DBS_IN_EVENT_MTS: no names follow
		return
	}
	for range n {
		for r.err == nil && r.u8() != 0 { //nolint:revive // names end with a zero byte
		}
	}
}

func (c *Context) setFlags(f uint32) {
	c.HasFlags = true
	c.NoAutoIsNull = f&optAutoIsNull == 0
	c.NoForeignKeys = f&optNoForeignKeys != 0
	c.NoUniqueChecks = f&optRelaxedUnique != 0
	c.NoAutocommit = f&optNotAutocommit != 0
	c.NoCheckConstraint = f&optNoCheckConstrain != 0
	c.IfExists = f&optIfExists != 0
	c.MariaExplicit = f&optExplicitDefaults != 0
}
