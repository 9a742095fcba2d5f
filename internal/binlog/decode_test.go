package binlog_test

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
)

func le(v any) []byte {
	b, err := binary.Append(nil, binary.LittleEndian, v)
	if err != nil {
		panic(err)
	}
	return b
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var uuid = bytes.Repeat([]byte{0xab}, 16)

const uuidText = "abababab-abab-abab-abab-abababababab"

func TestDecodeMySQLGTID(t *testing.T) {
	base := func(flags byte) []byte { return join([]byte{flags}, uuid, le(uint64(42))) }
	clock := join([]byte{2}, le(int64(7)), le(int64(8)))
	time := []byte{0x40, 0x42, 0x0f, 0, 0, 0, 0} // 1 000 000 µs
	both := []byte{0x40, 0x42, 0x0f, 0, 0, 0, 0x80, 0x80, 0x84, 0x1e, 0, 0, 0, 0}
	for _, test := range []struct {
		name string
		typ  binlog.Type
		body []byte
		id   string
		seq  int64
		time string
		rows bool
	}{
		{"5.6", binlog.GTIDEvent, base(0), uuidText + ":42", 0, "0001-01-01T00:00:00Z", true},
		{"5.7", binlog.GTIDEvent, join(base(1), clock), uuidText + ":42", 8, "0001-01-01T00:00:00Z", false},
		{"another kind of clock", binlog.GTIDEvent, join(base(1), []byte{1}, make([]byte, 16)), uuidText + ":42", 0, "0001-01-01T00:00:00Z", false},
		{"8.0, committed here", binlog.GTIDEvent, join(base(0), clock, time), uuidText + ":42", 8, "1970-01-01T00:00:01Z", true},
		{"8.0, committed elsewhere before", binlog.GTIDEvent, join(base(0), clock, both), uuidText + ":42", 8, "1970-01-01T00:00:01Z", true},
		{"anonymous", binlog.AnonymousGTID, join(base(0), clock, time), "", 8, "1970-01-01T00:00:01Z", true},
		{"too short", binlog.GTIDEvent, base(0)[:24], "error", 0, "", false},
	} {
		g, err := binlog.DecodeGTID(test.typ, 7, test.body)
		if test.id == "error" {
			if !errors.Is(err, binlog.ErrCorrupt) {
				t.Errorf("%s: %v", test.name, err)
			}
			continue
		}
		id := ""
		if !g.Anonymous {
			id = g.ID.String()
		}
		if err != nil || id != test.id || g.SequenceNumber != test.seq || g.RowsOnly != test.rows || g.CommitTime.Format("2006-01-02T15:04:05Z07:00") != test.time {
			t.Errorf("%s: %+v %v", test.name, g, err)
		}
	}
}

// TestDecodeMariaDBGTID: every combination of flags, laid out as
// Gtid_log_event::write of MariaDB 11.8 does.
func TestDecodeMariaDBGTID(t *testing.T) {
	const standalone, commitID, ddl, prepared, completed = 1, 2, 32, 64, 128
	for flags := range 256 {
		for extra := range 32 {
			body := join(le(uint64(99)), le(uint32(3)), []byte{byte(flags)})
			if flags&commitID != 0 {
				body = append(body, le(uint64(0x1111111111111111))...)
			}
			if flags&(prepared|completed) != 0 {
				body = join(body, le(uint32(1)), []byte{3, 2}, []byte("gtrbq"))
			}
			if extra != 0 {
				body = append(body, byte(extra))
				if extra&1 != 0 {
					body = append(body, 1) // engines
				}
				if extra&(4|8) != 0 {
					body = append(body, le(uint64(98))...)
				}
				if extra&16 != 0 {
					body = append(body, le(uint32(12))...)
				}
			}
			for len(body) < 19 {
				body = append(body, 0)
			}
			g, err := binlog.DecodeGTID(binlog.MariaGTID, 7, body)
			want := binlog.GTID{
				ID:         gtid.ID{Flavor: gtid.MariaDB, Domain: 3, Server: 7, Seq: 99},
				Standalone: flags&standalone != 0, DDL: flags&ddl != 0, XA: flags&(prepared|completed) != 0,
				SplitAlter: extra&(2|4|8) != 0,
			}
			if err != nil || g != want {
				t.Errorf("flags %#x, more flags %#x: %+v %v", flags, extra, g, err)
			}
			for n := range body {
				// Shorter is an error or leaves out what stands behind.
				if g, err := binlog.DecodeGTID(binlog.MariaGTID, 7, body[:n]); err == nil && g.ID != want.ID {
					t.Errorf("flags %#x cut at %d: %+v", flags, n, g)
				}
			}
		}
	}
}

// TestDecodeTaggedGTID: the encoding of MySQL's libs/mysql/serialization; the
// real ones are compared in TestRealLogs.
func TestDecodeTaggedGTID(t *testing.T) {
	for _, test := range []struct{ name, hex, want string }{
		{"without a tag", "02 30 00 02 " + strings.Repeat("02", 16) + " 04 08 06 00", "01010101-0101-0101-0101-010101010101:2"},
		{"with a tag", "02 36 00 02 " + strings.Repeat("02", 16) + " 04 08 06 06 746167", "01010101-0101-0101-0101-010101010101:tag:2"},
		{"a negative number", "02 30 00 02 " + strings.Repeat("02", 16) + " 04 06 06 00", "error"},
		{"a tag longer than the event", "02 36 00 02 " + strings.Repeat("02", 16) + " 04 08 06 60 746167", "error"},
		{"size beyond the event", "02 38 00 02 " + strings.Repeat("02", 16) + " 04 08 06 06 746167", "error"},
		{"a field that may not be ignored", "02 30 1a 02 " + strings.Repeat("02", 16) + " 04 08 06 00", "error"},
		{"a field that may be ignored", "02 34 00 02 " + strings.Repeat("02", 16) + " 04 08 06 00 18 00", "01010101-0101-0101-0101-010101010101:2"},
		{"empty", "", "error"},
		{"no number", "02 28 00 00 02", "error"},
	} {
		g, err := binlog.DecodeGTID(binlog.GTIDTagged, 7, unhex(t, test.hex))
		got := g.ID.String()
		if err != nil {
			got = "error"
		}
		if got != test.want {
			t.Errorf("%s: %s %v, want %s", test.name, got, err, test.want)
		}
	}
	for name, data := range stored(t) {
		for _, ev := range mustRead(t, data) {
			if ev.Type != binlog.GTIDTagged {
				continue
			}
			g, err := binlog.DecodeGTID(ev.Type, 7, ev.Body)
			if err != nil || g.ID.Tag != "tag" || g.ID.Seq == 0 || g.CommitTime.Year() < 2020 || g.SequenceNumber != g.LastCommitted+1 {
				t.Errorf("%s: %+v %v", name, g, err)
			}
			for n := range ev.Body {
				if g, err := binlog.DecodeGTID(ev.Type, 7, ev.Body[:n]); err == nil {
					t.Errorf("%s cut at %d: %+v", name, n, g)
				}
			}
			longer := append(bytes.Clone(ev.Body), 0xff, 0xff)
			if l, err := binlog.DecodeGTID(ev.Type, 7, longer); err != nil || l != g {
				t.Errorf("%s with bytes behind the message: %+v %v", name, l, err)
			}
		}
	}
}

func TestDecodeQuery(t *testing.T) {
	head := func(db, status int) []byte {
		return join(le(uint32(5)), le(uint32(1)), []byte{byte(db)}, le(uint16(1062)), le(uint16(status)))
	}
	for _, test := range []struct {
		name  string
		body  []byte
		extra int
		want  *binlog.Query
	}{
		{"statement", join(head(1, 2), []byte("sv"), []byte("d\x00SELECT 1")), 0, &binlog.Query{ThreadID: 5, ErrorCode: 1062, Status: []byte("sv"), Database: "d", SQL: []byte("SELECT 1")}},
		{"no database", join(head(0, 0), []byte("\x00BEGIN")), 0, &binlog.Query{ThreadID: 5, ErrorCode: 1062, Status: []byte{}, SQL: []byte("BEGIN")}},
		{"empty statement", join(head(0, 0), []byte{0}), 0, &binlog.Query{ThreadID: 5, ErrorCode: 1062, Status: []byte{}, SQL: []byte{}}},
		{"LOAD DATA", join(head(1, 2), make([]byte, 13), []byte("sv"), []byte("d\x00LOAD")), 13, &binlog.Query{ThreadID: 5, ErrorCode: 1062, Status: []byte("sv"), Database: "d", SQL: []byte("LOAD")}},
		{"a statement may hold zero bytes", join(head(0, 0), []byte("\x00'\x00'")), 0, &binlog.Query{ThreadID: 5, ErrorCode: 1062, Status: []byte{}, SQL: []byte("'\x00'")}},
		{"the zero byte behind the database is missing", join(head(1, 0), []byte("dxSELECT 1")), 0, nil},
		{"status longer than the event", join(head(0, 9), []byte("\x00BEGIN")), 0, nil},
		{"database longer than the event", join(head(9, 0), []byte("d\x00")), 0, nil},
		{"head alone", head(0, 0), 0, nil},
	} {
		q, err := binlog.DecodeQuery(test.body, test.extra)
		if test.want == nil {
			if !errors.Is(err, binlog.ErrCorrupt) {
				t.Errorf("%s: %+v %v", test.name, q, err)
			}
		} else if err != nil || !reflect.DeepEqual(q, *test.want) {
			t.Errorf("%s: %+v %v", test.name, q, err)
		}
	}
}

func TestDecodeTableMap(t *testing.T) {
	body := join(le(uint32(0x11223344)), le(uint16(0x5566)), le(uint16(1)), []byte("\x01d\x00\x01t\x00"), []byte{3, 3, 15, 252}, []byte{3, 100, 0, 2}, []byte{6}, []byte("optional"))
	m, err := binlog.DecodeTableMap(body)
	if err != nil {
		t.Fatal(err)
	}
	if m.TableID != 0x556611223344 || m.Flags != 1 || m.Database != "d" || m.Table != "t" ||
		!bytes.Equal(m.Types, []byte{3, 15, 252}) || !bytes.Equal(m.Meta, []byte{100, 0, 2}) || !bytes.Equal(m.NullBits, []byte{6}) {
		t.Errorf("%+v", m)
	}
	for n := range len(body) - len("optional") {
		if m, err := binlog.DecodeTableMap(body[:n]); !errors.Is(err, binlog.ErrCorrupt) {
			t.Errorf("cut at %d: %+v %v", n, m, err)
		}
	}
	for _, at := range []int{10, 13} { // the zero bytes behind the names
		bad := bytes.Clone(body)
		bad[at] = 'x'
		if m, err := binlog.DecodeTableMap(bad); !errors.Is(err, binlog.ErrCorrupt) {
			t.Errorf("byte %d is no zero: %+v %v", at, m, err)
		}
	}
}

func TestDecodeRows(t *testing.T) {
	head := join(le(uint32(9)), le(uint16(0)), le(uint16(1)))
	wide := func(n int) []byte { return bytes.Repeat([]byte{0xff}, (n+7)/8) }
	for _, test := range []struct {
		name string
		typ  binlog.Type
		body []byte
		want string // images, or "error"
		full bool
	}{
		{"version 1 insert", binlog.WriteRowsV1, join(head, []byte{3, 7}, []byte("images")), "images", true},
		{"version 2 insert", binlog.WriteRowsV2, join(head, []byte{2, 0, 3, 7}, []byte("images")), "images", true},
		{"version 2 with extra data", binlog.WriteRowsV2, join(head, []byte{7, 0, 1, 2, 3, 4, 5, 3, 7}, []byte("images")), "images", true},
		{"bits behind the last column do not count", binlog.WriteRowsV1, join(head, []byte{3, 0xff}, []byte("images")), "images", true},
		{"a column is absent", binlog.DeleteRowsV1, join(head, []byte{3, 5}, []byte("images")), "images", false},
		{"update", binlog.UpdateRowsV1, join(head, []byte{3, 7, 7}, []byte("images")), "images", true},
		{"update, columns absent before", binlog.UpdateRowsV1, join(head, []byte{3, 1, 7}, []byte("images")), "images", false},
		{"update, columns absent after", binlog.UpdateRowsV1, join(head, []byte{3, 7, 3}, []byte("images")), "images", false},
		{"partial JSON", binlog.PartialUpdateRows, join(head, []byte{2, 0, 3, 7, 7}, []byte("images")), "images", true},
		{"no rows", binlog.WriteRowsV1, join(head, []byte{3, 7}), "", true},
		{"8 columns", binlog.WriteRowsV1, join(head, []byte{8, 0xff}, []byte("i")), "i", true},
		{"300 columns", binlog.WriteRowsV1, join(head, []byte{252, 44, 1}, wide(300), []byte("i")), "i", true},
		{"9000 columns", binlog.WriteRowsV1, join(head, []byte{252, 40, 35}, wide(9000), []byte("i")), "error", false},
		{"extra data of 1 byte", binlog.WriteRowsV2, join(head, []byte{1, 0, 3, 7}), "error", false},
		{"extra data longer than the event", binlog.WriteRowsV2, join(head, []byte{99, 0, 3, 7}), "error", false},
		{"bitmap cut off", binlog.UpdateRowsV1, join(head, []byte{9, 0xff, 0xff, 0xff}), "error", false},
		{"head cut off", binlog.WriteRowsV1, head[:7], "error", false},
		{"column count NULL", binlog.WriteRowsV1, join(head, []byte{251, 0, 0}), "error", false},
		{"no rows event", binlog.XIDEvent, join(head, []byte{3, 7}), "error", false},
	} {
		r, err := binlog.DecodeRows(test.typ, test.body)
		switch {
		case test.want == "error" && !errors.Is(err, binlog.ErrCorrupt):
			t.Errorf("%s: %+v %v", test.name, r, err)
		case test.want == "error":
		case err != nil || string(r.Images) != test.want || r.Full() != test.full || r.TableID != 9 || r.Kind != test.typ.Rows():
			t.Errorf("%s: %+v %v", test.name, r, err)
		}
	}
}

func TestDecodeRotate(t *testing.T) {
	r, err := binlog.DecodeRotate([]byte("\x04\x00\x00\x00\x00\x00\x00\x00log.000002"))
	if err != nil || r != (binlog.Rotate{Position: 4, Name: "log.000002"}) {
		t.Errorf("%+v %v", r, err)
	}
	for _, n := range []int{0, 7, 8} {
		if _, err := binlog.DecodeRotate(make([]byte, n)); !errors.Is(err, binlog.ErrCorrupt) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// innerEvent is an event without checksum, as a payload holds it.
func innerEvent(t binlog.Type, body string) []byte {
	return (&builder{}).event(t, 0, 0, []byte(body)).data
}

func payload(compression byte, uncompressed int, data []byte) []byte {
	return join([]byte{2, 1, compression}, []byte{3, 3, 252}, le(uint16(uncompressed)), []byte{1, 3, 252}, le(uint16(len(data))), []byte{0}, data)
}

func TestPayload(t *testing.T) {
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	events := join(innerEvent(binlog.QueryEvent, "1234567890123\x00BEGIN"), innerEvent(binlog.XIDEvent, "12345678"))
	packed := enc.EncodeAll(events, nil)
	bomb := enc.EncodeAll(make([]byte, 50<<20), nil)
	none := join([]byte{2, 3, 252, 255, 0}, []byte{1, 3, 252}, le(uint16(len(events))), []byte{0}, events)
	for _, test := range []struct {
		name string
		body []byte
		n    int
		want error
	}{
		{"zstd", payload(0, len(events), packed), 2, nil},
		{"not compressed", none, 2, nil},
		{"another algorithm", payload(7, len(events), packed), 0, binlog.ErrUnsupported},
		{"more than announced", payload(0, len(events)-1, packed), 0, binlog.ErrCorrupt},
		{"less than announced", payload(0, len(events)+1, packed), 0, binlog.ErrCorrupt},
		{"a bomb that says so", payload(0, 60000, bomb), 0, binlog.ErrUnsupported},
		{"a bomb that looks small", payload(0, 100, bomb), 0, binlog.ErrCorrupt},
		{"damaged", payload(0, len(events), packed[:len(packed)-3]), 0, binlog.ErrCorrupt},
		{"no size", join([]byte{2, 1, 0, 0}, packed), 0, binlog.ErrCorrupt},
		{"bytes behind the payload", join(payload(0, len(events), packed), []byte("x")), 0, binlog.ErrCorrupt},
		{"no end of the head", []byte{2, 1, 0}, 0, binlog.ErrCorrupt},
		{"a field of a newer server", join([]byte{9, 1, 0}, payload(0, len(events), packed)), 0, binlog.ErrUnsupported},
		{"an inner event cut off", join([]byte{2, 3, 252, 255, 0}, []byte{1, 1, 30, 0}, events[:30]), 0, binlog.ErrCorrupt},
		{"an inner event of an unknown type", join([]byte{2, 3, 252, 255, 0}, []byte{1, 1, 19, 0}, innerEvent(99, "")), 0, binlog.ErrUnknown},
		{"empty", nil, 0, binlog.ErrCorrupt},
	} {
		in := &binlog.Inflater{Limit: 50000}
		got, err := in.Payload(binlog.Event{Type: binlog.TransactionPayload, Offset: 4711, End: 5000, Body: test.body})
		if !errors.Is(err, test.want) || len(got) != test.n {
			t.Errorf("%s: %d events, %v; want %d, %v", test.name, len(got), err, test.n, test.want)
		}
		for _, ev := range got {
			if !ev.Inner || ev.Offset != 4711 || ev.End != 5000 {
				t.Errorf("%s: %+v", test.name, ev)
			}
		}
	}
}

func deflate(b []byte) []byte {
	var out bytes.Buffer
	w := zlib.NewWriter(&out)
	_, _ = w.Write(b)
	_ = w.Close()
	return out.Bytes()
}

func TestInflate(t *testing.T) {
	head := join(le(uint32(9)), le(uint16(0)), le(uint16(1)), []byte{3, 7})
	images := bytes.Repeat([]byte("images"), 50)
	size := []byte{0x82, 1, 44} // 300 bytes, big endian
	query := join(make([]byte, 8), []byte{1, 0, 0, 2, 0}, []byte("svd\x00"))
	for _, test := range []struct {
		name string
		typ  binlog.Type
		body []byte
		into binlog.Type
		want []byte
		err  error
	}{
		{"rows", binlog.WriteRowsCompressed1, join(head, size, deflate(images)), binlog.WriteRowsV1, join(head, images), nil},
		{"statement", binlog.QueryCompressed, join(query, size, deflate(images)), binlog.QueryEvent, join(query, images), nil},
		{"another event", binlog.XIDEvent, []byte("12345678"), binlog.XIDEvent, []byte("12345678"), nil},
		{"less than announced", binlog.WriteRowsCompressed1, join(head, size, deflate(images[:299])), 0, nil, binlog.ErrCorrupt},
		{"more than announced", binlog.WriteRowsCompressed1, join(head, size, deflate(append(images, 'x'))), 0, nil, binlog.ErrCorrupt},
		{"cut off", binlog.WriteRowsCompressed1, join(head, size, deflate(images)[:10]), 0, nil, binlog.ErrCorrupt},
		{"its own checksum cut off", binlog.WriteRowsCompressed1, join(head, size, deflate(images)[:len(deflate(images))-4]), 0, nil, binlog.ErrCorrupt},
		{"another algorithm", binlog.WriteRowsCompressed1, join(head, []byte{0x92, 1, 44}, deflate(images)), 0, nil, binlog.ErrCorrupt},
		{"no length", binlog.WriteRowsCompressed1, join(head, []byte{0x80}, deflate(images)), 0, nil, binlog.ErrCorrupt},
		{"nothing", binlog.WriteRowsCompressed1, head, 0, nil, binlog.ErrCorrupt},
		{"beyond the limit", binlog.WriteRowsCompressed1, join(head, []byte{0x84, 0x7f, 0xff, 0xff, 0xff}, deflate(images)), 0, nil, binlog.ErrUnsupported},
		{"statement's head cut off", binlog.QueryCompressed, query[:12], 0, nil, binlog.ErrCorrupt},
		{"statement's database cut off", binlog.QueryCompressed, query[:14], 0, nil, binlog.ErrCorrupt},
	} {
		in := &binlog.Inflater{Limit: 50000}
		ev, err := in.Inflate(binlog.Event{Type: test.typ, Body: test.body})
		switch {
		case !errors.Is(err, test.err):
			t.Errorf("%s: %v, want %v", test.name, err, test.err)
		case err == nil && (ev.Type != test.into || !bytes.Equal(ev.Body, test.want)):
			t.Errorf("%s: %s of %d bytes", test.name, ev.Type, len(ev.Body))
		}
	}
}

// TestWhatIsBuiltIsRead: events made for a target are read back as they were.
func TestWhatIsBuiltIsRead(t *testing.T) {
	for name, data := range stored(t) {
		for _, ev := range mustRead(t, data) {
			switch {
			case ev.Type == binlog.TableMapEvent:
				m, err := binlog.DecodeTableMap(ev.Body)
				if err != nil {
					t.Fatal(err)
				}
				patched := bytes.Clone(ev.Body)
				binlog.PatchTableID(patched, 77)
				p, err := binlog.DecodeTableMap(patched)
				if err != nil || p.TableID != 77 || !p.SameColumns(m) || p.Table != m.Table {
					t.Errorf("%s: %+v %v", name, p, err)
				}
			case ev.Type.Rows() != binlog.NotRows:
				r, err := binlog.DecodeRows(ev.Type, ev.Body)
				if err != nil {
					t.Fatal(err)
				}
				maps := [][]byte{r.Before}
				if r.Kind == binlog.UpdateRows {
					maps = append(maps, r.After)
				}
				raw := binlog.AppendEvent(nil, ev.Type, 5, 6, func(b []byte) []byte {
					return append(binlog.AppendRowsHead(b, ev.Type, 77, r.Flags, r.Columns, maps...), r.Images...)
				})
				if int(binary.LittleEndian.Uint32(raw[9:])) != len(raw) {
					t.Errorf("%s: size %d of %d bytes", name, binary.LittleEndian.Uint32(raw[9:]), len(raw))
				}
				again, err := binlog.DecodeRows(ev.Type, raw[binlog.HeaderSize:])
				r.TableID = 77
				if err != nil || !reflect.DeepEqual(again, r) {
					t.Errorf("%s: %+v, was %+v (%v)", name, again, r, err)
				}
			}
		}
	}
}

// seed adds the bodies of stored events that are of one of the types.
func seed(f *testing.F, add func(binlog.Event), want func(binlog.Type) bool) {
	for _, data := range stored(f) {
		file, err := binlog.NewFile("log.000001", data)
		if err != nil {
			f.Fatal(err)
		}
		for r := file.Events(0); ; {
			ev, ok, err := r.Next()
			if err != nil {
				f.Fatal(err)
			}
			if !ok {
				break
			}
			if want(ev.Type) {
				add(ev)
			}
		}
	}
}

func FuzzDecodeGTID(f *testing.F) {
	types := []binlog.Type{binlog.GTIDEvent, binlog.AnonymousGTID, binlog.GTIDTagged, binlog.MariaGTID}
	for _, typ := range types {
		seed(f, func(ev binlog.Event) { f.Add(byte(typ), ev.Body) }, func(t binlog.Type) bool { return t == typ })
	}
	f.Fuzz(func(t *testing.T, typ byte, body []byte) {
		g, err := binlog.DecodeGTID(binlog.Type(typ), 7, body)
		if err == nil && binlog.Type(typ) == binlog.GTIDTagged && (g.ID.Seq == 0 || g.ID.Seq > 1<<63) {
			t.Errorf("%+v", g)
		}
	})
}

func FuzzDecodeQuery(f *testing.F) {
	seed(f, func(ev binlog.Event) { f.Add(ev.Body, 0) }, func(t binlog.Type) bool { return t == binlog.QueryEvent })
	f.Fuzz(func(t *testing.T, body []byte, extra int) {
		q, err := binlog.DecodeQuery(body, extra&15)
		if err == nil && 13+extra&15+len(q.Status)+len(q.Database)+1+len(q.SQL) != len(body) {
			t.Errorf("%+v of %d bytes", q, len(body))
		}
	})
}

func FuzzDecodeTableMap(f *testing.F) {
	seed(f, func(ev binlog.Event) { f.Add(ev.Body) }, func(t binlog.Type) bool { return t == binlog.TableMapEvent })
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := binlog.DecodeTableMap(body)
		if err != nil {
			return
		}
		if !m.SameColumns(m) || len(m.NullBits) != (len(m.Types)+7)/8 {
			t.Errorf("%+v", m)
		}
		again, err := binlog.DecodeTableMap(m.AppendBody(nil, 5, nil))
		if err != nil || !again.SameColumns(m) || again.Database != m.Database || again.Table != m.Table || again.TableID != 5 {
			t.Errorf("%+v built anew is %+v (%v)", m, again, err)
		}
	})
}

func FuzzDecodeRows(f *testing.F) {
	isRows := func(t binlog.Type) bool { return t.Rows() != binlog.NotRows }
	seed(f, func(ev binlog.Event) { f.Add(byte(ev.Type), ev.Body) }, isRows)
	f.Fuzz(func(t *testing.T, typ byte, body []byte) {
		r, err := binlog.DecodeRows(binlog.Type(typ), body)
		if err != nil {
			return
		}
		if len(r.Before) != (r.Columns+7)/8 || len(r.After) != len(r.Before) || len(r.Images) > len(body) {
			t.Errorf("%+v", r)
		}
		r.Full()
	})
}

func FuzzDecodeRotate(f *testing.F) {
	seed(f, func(ev binlog.Event) { f.Add(ev.Body) }, func(t binlog.Type) bool { return t == binlog.RotateEvent })
	f.Fuzz(func(t *testing.T, body []byte) {
		if r, err := binlog.DecodeRotate(body); err == nil && r.Name == "" {
			t.Errorf("%+v", r)
		}
	})
}

const fuzzLimit = 1 << 16

func FuzzPayload(f *testing.F) {
	seed(f, func(ev binlog.Event) { f.Add(ev.Body) }, func(t binlog.Type) bool { return t == binlog.TransactionPayload })
	f.Fuzz(func(t *testing.T, body []byte) {
		in := &binlog.Inflater{Limit: fuzzLimit}
		events, err := in.Payload(binlog.Event{Type: binlog.TransactionPayload, Body: body})
		total := 0
		for _, ev := range events {
			total += len(ev.Body) + binlog.HeaderSize
		}
		if err == nil && total > max(fuzzLimit, len(body)) {
			t.Errorf("%d bytes", total)
		}
	})
}

func FuzzInflate(f *testing.F) {
	seed(f, func(ev binlog.Event) { f.Add(byte(ev.Type), ev.Body) }, func(t binlog.Type) bool { return t >= binlog.QueryCompressed && t < binlog.PartialRowData })
	f.Fuzz(func(t *testing.T, typ byte, body []byte) {
		in := &binlog.Inflater{Limit: fuzzLimit}
		ev, err := in.Inflate(binlog.Event{Type: binlog.Type(typ), Body: body})
		if err == nil && len(ev.Body) > fuzzLimit+len(body) {
			t.Errorf("%d bytes", len(ev.Body))
		}
	})
}
