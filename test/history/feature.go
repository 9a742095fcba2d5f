package history

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lifeboat-db/lifeboat/internal/server"
)

// Feature names a part of what a history may contain, so that a failing one
// can be narrowed down.
type Feature string

// Shapes of tables. A table with an integer primary key is always there.
const (
	CompositeKeys   Feature = "composite_keys"
	TextKeys        Feature = "text_keys"
	BinaryKeys      Feature = "binary_keys"
	OddKeys         Feature = "odd_keys" // DATETIME, DECIMAL, FLOAT, ENUM, ...
	UniqueOnly      Feature = "unique_only"
	NoKey           Feature = "no_key"
	SecondaryUnique Feature = "secondary_unique"
	ForeignKeys     Feature = "foreign_keys"
	Cascades        Feature = "cascades"
	Triggers        Feature = "triggers"
	Generated       Feature = "generated"
	JSON            Feature = "json"
	LargeValues     Feature = "large_values"
	Bits            Feature = "bits" // BIT, SET, ENUM
	Spatial         Feature = "spatial"
	Temporal        Feature = "temporal"
	Charsets        Feature = "charsets" // columns in other character sets
	Partitions      Feature = "partitions"
	OtherEngines    Feature = "other_engines" // MyISAM, Aria
)

// Changes of rows.
const (
	Replace         Feature = "replace"
	Upsert          Feature = "upsert"
	MultiTable      Feature = "multi_table"
	KeyChange       Feature = "key_change"
	CaseChange      Feature = "case_change"
	HotRows         Feature = "hot_rows"
	Reinsert        Feature = "reinsert"
	Swap            Feature = "swap"
	Savepoints      Feature = "savepoints"
	Rollback        Feature = "rollback"
	BigTransactions Feature = "big_transactions"
	NoForeignChecks Feature = "no_foreign_checks" // foreign_key_checks=0

	// DoubleVariables are user variables that hold a DOUBLE: mysqlbinlog prints
	// 1e10 as 10000000000, which is an integer, and 14 digits of all others: a row
	// is not found by the value of its FLOAT.
	DoubleVariables Feature = "double_variables"

	// ReplaceParent is REPLACE of a row that others refer to. MySQL 9.6 and
	// later log it so that their own serial replay loses the children.
	ReplaceParent Feature = "replace_parent"
)

// Data definition.
const (
	DDLColumns    Feature = "ddl_columns"
	DDLIndexes    Feature = "ddl_indexes"
	DDLUnique     Feature = "ddl_unique"
	DDLRename     Feature = "ddl_rename"
	DDLTruncate   Feature = "ddl_truncate"
	DDLTables     Feature = "ddl_tables"
	DDLSelect     Feature = "ddl_select"
	DDLLike       Feature = "ddl_like"
	DDLAutoInc    Feature = "ddl_autoinc"
	DDLViews      Feature = "ddl_views"
	DDLTriggers   Feature = "ddl_triggers"
	DDLRoutines   Feature = "ddl_routines"
	DDLDatabases  Feature = "ddl_databases"
	DDLPartitions Feature = "ddl_partitions"
	DDLAccounts   Feature = "ddl_accounts"
)

// What is logged as statements, and how the log is written.
const (
	Statement   Feature = "statement" // binlog_format=STATEMENT
	Mixed       Feature = "mixed"     // binlog_format=MIXED
	Context     Feature = "context"   // sql_mode, time_zone, character sets
	Functions   Feature = "functions"
	TempTables  Feature = "temp_tables" // in statement format
	LoadData    Feature = "load_data"   // in statement format
	Rotate      Feature = "rotate"
	Compression Feature = "compression"
	MinimalRows Feature = "minimal_rows" // binlog_row_image=MINIMAL and others
	PartialJSON Feature = "partial_json" // MySQL
	Metadata    Feature = "metadata"     // binlog_row_metadata=FULL
	Checksums   Feature = "checksums"    // binlog_checksum changes
	XA          Feature = "xa"
	Sequences   Feature = "sequences" // MariaDB
	Versioned   Feature = "versioned" // MariaDB: system versioning
	Invisible   Feature = "invisible" // invisible columns and keys
)

var common = []Feature{
	CompositeKeys, TextKeys, BinaryKeys, OddKeys, UniqueOnly, NoKey, SecondaryUnique,
	ForeignKeys, Cascades, Triggers, Generated, JSON, LargeValues, Bits, Spatial,
	Temporal, Charsets, Partitions, OtherEngines,
	Replace, Upsert, MultiTable, KeyChange, CaseChange, HotRows, Reinsert, Swap,
	Savepoints, Rollback, BigTransactions, NoForeignChecks,
	DDLColumns, DDLIndexes, DDLUnique, DDLRename, DDLTruncate, DDLTables, DDLSelect,
	DDLLike, DDLAutoInc, DDLViews, DDLTriggers, DDLRoutines, DDLDatabases,
	DDLPartitions, DDLAccounts,
	Statement, Mixed, Context, Functions, TempTables,
	Rotate, Compression, MinimalRows, Metadata, Checksums, Invisible,
}

// All returns every feature that a flavor's own serial replay reproduces and
// Lifeboat does not refuse. To be asked for by name remain LoadData and XA,
// which Lifeboat refuses, and Versioned.
func All(f server.Flavor) Set {
	set := NewSet(common...)
	switch f {
	case server.MySQL:
		set.add(PartialJSON)
	case server.MariaDB:
		set.add(ReplaceParent, Sequences)
	}
	return set
}

// Rows returns the features of All that are changes of rows alone, with whole
// row images: nothing in between makes a replay finish what it has collected,
// or keeps it from collecting.
func Rows(f server.Flavor) Set {
	set := All(f)
	for _, barrier := range []Feature{
		DDLColumns, DDLIndexes, DDLUnique, DDLRename, DDLTruncate, DDLTables, DDLSelect,
		DDLLike, DDLAutoInc, DDLViews, DDLTriggers, DDLRoutines, DDLDatabases, DDLPartitions,
		DDLAccounts, OtherEngines, MinimalRows, PartialJSON, Statement, Mixed, Functions, TempTables, Sequences,
	} {
		delete(set, barrier)
	}
	return set
}

// Beyond returns the features that a log carries but a flavor's own serial
// replay gets wrong: with them only the source itself is an oracle.
func Beyond(f server.Flavor) Set {
	set := NewSet(DoubleVariables)
	if f == server.MySQL {
		set.add(ReplaceParent)
	}
	return set
}

// Union returns a set of what is in either.
func (s Set) Union(other Set) Set {
	both := Set{}
	for _, set := range []Set{s, other} {
		for f, on := range set {
			if on {
				both.add(f)
			}
		}
	}
	return both
}

// Overlaps says whether the sets have a feature in common.
func (s Set) Overlaps(other Set) bool {
	for f, on := range s {
		if on && other[f] {
			return true
		}
	}
	return false
}

// Set is a set of features.
type Set map[Feature]bool

// NewSet returns a set of these features.
func NewSet(features ...Feature) Set {
	set := Set{}
	set.add(features...)
	return set
}

func (s Set) add(features ...Feature) {
	for _, f := range features {
		s[f] = true
	}
}

// Select changes a set by a list such as "-ddl_rename,-json,+replace_parent".
// An entry without sign means that only the entries without sign are wanted.
// A name may end in "*".
func (s Set) Select(list string) (Set, error) {
	chosen := s.Union(nil)
	fields := strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
	if slices.ContainsFunc(fields, func(f string) bool { return f[0] != '-' && f[0] != '+' }) {
		chosen = Set{}
	}
	for _, field := range fields {
		matches, err := matching(strings.TrimLeft(field, "+-"))
		if err != nil {
			return nil, err
		}
		for _, f := range matches {
			if field[0] == '-' {
				delete(chosen, f)
			} else {
				chosen.add(f)
			}
		}
	}
	return chosen, nil
}

func matching(pattern string) (found []Feature, err error) {
	prefix, wild := strings.CutSuffix(pattern, "*")
	for _, f := range append(slices.Clone(common), PartialJSON, ReplaceParent, Sequences, Versioned, XA, LoadData, DoubleVariables) {
		if string(f) == pattern || wild && strings.HasPrefix(string(f), prefix) {
			found = append(found, f)
		}
	}
	if found == nil {
		return nil, fmt.Errorf("history: no feature %q", pattern)
	}
	return found, nil
}

// String lists the features in order.
func (s Set) String() string {
	var names []string
	for f, on := range s {
		if on {
			names = append(names, string(f))
		}
	}
	slices.Sort(names)
	return strings.Join(names, ",")
}
