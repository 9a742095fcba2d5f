package binlog

import "fmt"

// Type is an event's type code, as in the event header.
type Type uint8

// The type codes of both vendors. Numbers 1 to 42 are MySQL's (MariaDB shares
// most of 1 to 30), 160 and above are MariaDB's.
const (
	StartV3            Type = 1
	QueryEvent         Type = 2
	StopEvent          Type = 3
	RotateEvent        Type = 4
	IntvarEvent        Type = 5
	LoadEvent          Type = 6
	SlaveEvent         Type = 7
	CreateFileEvent    Type = 8
	AppendBlockEvent   Type = 9
	ExecLoadEvent      Type = 10
	DeleteFileEvent    Type = 11
	NewLoadEvent       Type = 12
	RandEvent          Type = 13
	UserVarEvent       Type = 14
	FormatDescription  Type = 15
	XIDEvent           Type = 16
	BeginLoadQuery     Type = 17
	ExecuteLoadQuery   Type = 18
	TableMapEvent      Type = 19
	PreGAWriteRows     Type = 20
	PreGAUpdateRows    Type = 21
	PreGADeleteRows    Type = 22
	WriteRowsV1        Type = 23
	UpdateRowsV1       Type = 24
	DeleteRowsV1       Type = 25
	IncidentEvent      Type = 26
	HeartbeatEvent     Type = 27
	IgnorableEvent     Type = 28
	RowsQueryEvent     Type = 29
	WriteRowsV2        Type = 30
	UpdateRowsV2       Type = 31
	DeleteRowsV2       Type = 32
	GTIDEvent          Type = 33
	AnonymousGTID      Type = 34
	PreviousGTIDs      Type = 35
	TransactionContext Type = 36
	ViewChange         Type = 37
	XAPrepare          Type = 38
	PartialUpdateRows  Type = 39
	TransactionPayload Type = 40
	HeartbeatV2        Type = 41
	GTIDTagged         Type = 42

	AnnotateRows         Type = 160
	BinlogCheckpoint     Type = 161
	MariaGTID            Type = 162
	MariaGTIDList        Type = 163
	StartEncryption      Type = 164
	QueryCompressed      Type = 165
	WriteRowsCompressed1 Type = 166
	UpdateRowsCompr1     Type = 167
	DeleteRowsCompr1     Type = 168
	WriteRowsCompressed2 Type = 169
	UpdateRowsCompr2     Type = 170
	DeleteRowsCompr2     Type = 171
	PartialRowData       Type = 172
)

var typeNames = map[Type]string{
	StartV3: "START_EVENT_V3", QueryEvent: "QUERY_EVENT", StopEvent: "STOP_EVENT",
	RotateEvent: "ROTATE_EVENT", IntvarEvent: "INTVAR_EVENT", LoadEvent: "LOAD_EVENT",
	SlaveEvent: "SLAVE_EVENT", CreateFileEvent: "CREATE_FILE_EVENT",
	AppendBlockEvent: "APPEND_BLOCK_EVENT", ExecLoadEvent: "EXEC_LOAD_EVENT",
	DeleteFileEvent: "DELETE_FILE_EVENT", NewLoadEvent: "NEW_LOAD_EVENT", RandEvent: "RAND_EVENT",
	UserVarEvent: "USER_VAR_EVENT", FormatDescription: "FORMAT_DESCRIPTION_EVENT",
	XIDEvent: "XID_EVENT", BeginLoadQuery: "BEGIN_LOAD_QUERY_EVENT",
	ExecuteLoadQuery: "EXECUTE_LOAD_QUERY_EVENT", TableMapEvent: "TABLE_MAP_EVENT",
	PreGAWriteRows: "PRE_GA_WRITE_ROWS_EVENT", PreGAUpdateRows: "PRE_GA_UPDATE_ROWS_EVENT",
	PreGADeleteRows: "PRE_GA_DELETE_ROWS_EVENT", WriteRowsV1: "WRITE_ROWS_EVENT_V1",
	UpdateRowsV1: "UPDATE_ROWS_EVENT_V1", DeleteRowsV1: "DELETE_ROWS_EVENT_V1",
	IncidentEvent: "INCIDENT_EVENT", HeartbeatEvent: "HEARTBEAT_LOG_EVENT",
	IgnorableEvent: "IGNORABLE_LOG_EVENT", RowsQueryEvent: "ROWS_QUERY_LOG_EVENT",
	WriteRowsV2: "WRITE_ROWS_EVENT", UpdateRowsV2: "UPDATE_ROWS_EVENT", DeleteRowsV2: "DELETE_ROWS_EVENT",
	GTIDEvent: "GTID_LOG_EVENT", AnonymousGTID: "ANONYMOUS_GTID_LOG_EVENT",
	PreviousGTIDs: "PREVIOUS_GTIDS_LOG_EVENT", TransactionContext: "TRANSACTION_CONTEXT_EVENT",
	ViewChange: "VIEW_CHANGE_EVENT", XAPrepare: "XA_PREPARE_LOG_EVENT",
	PartialUpdateRows: "PARTIAL_UPDATE_ROWS_EVENT", TransactionPayload: "TRANSACTION_PAYLOAD_EVENT",
	HeartbeatV2: "HEARTBEAT_LOG_EVENT_V2", GTIDTagged: "GTID_TAGGED_LOG_EVENT",
	AnnotateRows: "ANNOTATE_ROWS_EVENT", BinlogCheckpoint: "BINLOG_CHECKPOINT_EVENT",
	MariaGTID: "GTID_EVENT", MariaGTIDList: "GTID_LIST_EVENT", StartEncryption: "START_ENCRYPTION_EVENT",
	QueryCompressed: "QUERY_COMPRESSED_EVENT", WriteRowsCompressed1: "WRITE_ROWS_COMPRESSED_EVENT_V1",
	UpdateRowsCompr1: "UPDATE_ROWS_COMPRESSED_EVENT_V1", DeleteRowsCompr1: "DELETE_ROWS_COMPRESSED_EVENT_V1",
	WriteRowsCompressed2: "WRITE_ROWS_COMPRESSED_EVENT", UpdateRowsCompr2: "UPDATE_ROWS_COMPRESSED_EVENT",
	DeleteRowsCompr2: "DELETE_ROWS_COMPRESSED_EVENT", PartialRowData: "PARTIAL_ROW_DATA_EVENT",
}

// String is the server's own name of the type.
func (t Type) String() string {
	if s, ok := typeNames[t]; ok {
		return s
	}
	return fmt.Sprintf("unknown event type %d", uint8(t))
}

// Known reports whether the type is in this package's inventory.
func (t Type) Known() bool {
	return t >= StartV3 && t <= GTIDTagged || t >= AnnotateRows && t <= PartialRowData
}

// RowsKind says what a rows event does to its rows.
type RowsKind uint8

// The kinds of rows events. NotRows is every other event.
const (
	NotRows RowsKind = iota
	WriteRows
	UpdateRows
	DeleteRows
)

// Rows returns what the rows event type does; NotRows for other types.
// Partial JSON updates (39) count as UpdateRows here; RowsHeader tells them apart.
func (t Type) Rows() RowsKind {
	switch t {
	case WriteRowsV1, WriteRowsV2, WriteRowsCompressed1, WriteRowsCompressed2:
		return WriteRows
	case UpdateRowsV1, UpdateRowsV2, UpdateRowsCompr1, UpdateRowsCompr2, PartialUpdateRows:
		return UpdateRows
	case DeleteRowsV1, DeleteRowsV2, DeleteRowsCompr1, DeleteRowsCompr2:
		return DeleteRows
	default:
		return NotRows
	}
}

// rowsV2 reports whether the rows event has the extra-data field of version 2.
func (t Type) rowsV2() bool {
	switch t {
	case WriteRowsV2, UpdateRowsV2, DeleteRowsV2, PartialUpdateRows,
		WriteRowsCompressed2, UpdateRowsCompr2, DeleteRowsCompr2:
		return true
	default:
		return false
	}
}

// uncompressed maps MariaDB's compressed rows types to the plain ones that a
// server accepts in a BINLOG statement; other types map to themselves.
func (t Type) uncompressed() Type {
	switch t {
	case WriteRowsCompressed1:
		return WriteRowsV1
	case UpdateRowsCompr1:
		return UpdateRowsV1
	case DeleteRowsCompr1:
		return DeleteRowsV1
	case WriteRowsCompressed2:
		return WriteRowsV2
	case UpdateRowsCompr2:
		return UpdateRowsV2
	case DeleteRowsCompr2:
		return DeleteRowsV2
	default:
		return t
	}
}

// Header flags.
const (
	FlagInUse          uint16 = 0x1   // file not closed properly (FORMAT_DESCRIPTION only)
	FlagThreadSpecific uint16 = 0x4   // statement uses temporary tables of its session
	FlagSuppressUse    uint16 = 0x8   // no USE needed
	FlagArtificial     uint16 = 0x20  // not in the source's file: made for a stream
	FlagRelayLog       uint16 = 0x40  // written by a replica's receiver
	FlagIgnorable      uint16 = 0x80  // may be skipped by who does not know it
	FlagNoFilter       uint16 = 0x100 // MTS isolation or no-filter marker
)

// HeaderSize is the size of an event header in bytes (binary log version 4).
const HeaderSize = 19
