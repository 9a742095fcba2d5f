package binlog_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
)

// stored are the small real logs in testdata, by name.
func stored(t testing.TB) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.log")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no logs in testdata (%v): run the tests with -update", err)
	}
	logs := map[string][]byte{}
	for _, p := range paths {
		data, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		logs[strings.TrimSuffix(filepath.Base(p), ".log")] = data
	}
	return logs
}

// read returns the events of a log, payloads and compressed events unpacked,
// up to the first error.
func read(data []byte) (out []binlog.Event, err error) {
	f, err := binlog.NewFile("log.000001", data)
	if err != nil {
		return nil, err
	}
	in := &binlog.Inflater{Limit: 1 << 16}
	for r := f.Events(0); ; {
		ev, ok, err := r.Next()
		if err != nil || !ok {
			return out, err
		}
		if ev, err = in.Inflate(ev); err != nil {
			return out, err
		}
		out = append(out, ev)
		if ev.Type == binlog.TransactionPayload {
			inner, err := in.Payload(ev)
			if err != nil {
				return out, err
			}
			out = append(out, inner...)
		}
	}
}

func mustRead(t *testing.T, data []byte) []binlog.Event {
	t.Helper()
	events, err := read(data)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// TestCutOff: a file that ends too early gives the events before the cut and
// then ErrTruncated, or a clean end where the cut is one between two events.
func TestCutOff(t *testing.T) {
	for name, data := range stored(t) {
		whole := mustRead(t, data)
		for n := range data {
			events, err := read(data[:n])
			if len(events) > 0 && !reflect.DeepEqual(events, whole[:len(events)]) {
				t.Fatalf("%s cut at %d: other events than in the whole file", name, n)
			}
			clean := boundary(data, n)
			switch {
			case n < 4 && !errors.Is(err, binlog.ErrNotBinlog),
				n >= 4 && !clean && !errors.Is(err, binlog.ErrTruncated),
				clean && err != nil:
				t.Errorf("%s cut at %d (between events: %v): %v", name, n, clean, err)
			}
		}
	}
}

func size(data []byte, at int) int { return int(binary.LittleEndian.Uint32(data[at+9:])) }

// boundary reports whether an event ends at n.
func boundary(data []byte, n int) bool {
	at := 4
	for at < n {
		at += size(data, at)
	}
	return at == n && n > 4
}

// TestZeroTail: a machine that dies may leave zero bytes where the file had
// grown and nothing was written, from anywhere inside an event on.
func TestZeroTail(t *testing.T) {
	for name, data := range stored(t) {
		if !strings.HasSuffix(name, "plain") {
			continue
		}
		whole := mustRead(t, data)
		first := 4 + size(data, 4)
		for n := first; n < len(data); n++ {
			for _, zeros := range []int{1, 18, 19, 4096} {
				events, err := read(append(data[:n:n], make([]byte, zeros)...))
				if len(events) > 0 && !reflect.DeepEqual(events, whole[:len(events)]) {
					t.Fatalf("%s, %d zeros at %d: other events than in the file", name, zeros, n)
				}
				// Zero bytes that the server itself wrote are no damage.
				if string(data[n:min(n+zeros, len(data))]) == string(make([]byte, min(zeros, len(data)-n))) {
					continue
				}
				// A checksum that is zero in part is damaged, as far as one can see.
				if !errors.Is(err, binlog.ErrTruncated) && (err == nil || !insideChecksum(data, n)) {
					t.Errorf("%s, %d zeros at %d: %v", name, zeros, n, err)
				}
			}
		}
	}
}

func insideChecksum(data []byte, n int) bool {
	at := 4
	for at+size(data, at) <= n {
		at += size(data, at)
	}
	return n > at+size(data, at)-4
}

// TestFlippedBit: with checksums, no single bit can change without an error.
// The exception is the flag IN_USE, which the server itself clears without a
// new checksum. And since the end of a log may be forgiven for being cut off,
// damage before the last event never looks like that.
func TestFlippedBit(t *testing.T) {
	for name, data := range stored(t) {
		if strings.HasSuffix(name, "nochecksum") {
			continue
		}
		whole := mustRead(t, data)
		last, event := 0, 4
		for at := 4; at < len(data); at += size(data, at) {
			last = at
		}
		flipped := append([]byte(nil), data...)
		for i := range data {
			if i == event+size(data, event) {
				event = i
			}
			for bit := range 8 {
				if i >= event+binlog.HeaderSize && event > 4 && bit != i%8 {
					continue // bodies: one bit of each byte is enough
				}
				flipped[i] ^= 1 << bit
				events, err := read(flipped)
				switch {
				case err == nil && !reflect.DeepEqual(events, whole):
					t.Errorf("%s: bit %d of byte %d: other events and no error", name, bit, i)
				case err == nil && (i != 4+17 || bit != 0):
					t.Errorf("%s: bit %d of byte %d: not noticed", name, bit, i)
				case errors.Is(err, binlog.ErrTruncated) && i < last && i > 4:
					t.Errorf("%s: bit %d of byte %d looks like a file that is cut off: %v", name, bit, i, err)
				}
				flipped[i] ^= 1 << bit
			}
		}
	}
}

// TestFlippedBitWithoutChecksums: what frames events is still guarded by the
// offsets that they name; the format description has a checksum of its own.
func TestFlippedBitWithoutChecksums(t *testing.T) {
	for name, data := range stored(t) {
		if !strings.HasSuffix(name, "nochecksum") {
			continue
		}
		flipped := append([]byte(nil), data...)
		first := 4 + size(data, 4)
		check := func(i int) {
			t.Helper()
			for bit := range 8 {
				flipped[i] ^= 1 << bit
				_, err := read(flipped)
				if err == nil && (i != 4+17 || bit != 0) {
					t.Errorf("%s: bit %d of byte %d: not noticed", name, bit, i)
				}
				flipped[i] ^= 1 << bit
			}
		}
		for i := range first {
			check(i)
		}
		for at := first; at < len(data); at += size(data, at) {
			for i := at + 9; i < at+17; i++ { // size, end
				if binary.LittleEndian.Uint32(data[at+13:]) != 0 {
					check(i)
				}
			}
		}
	}
}

// builder makes logs by hand.
type builder struct {
	data     []byte
	checksum bool
}

// event appends an event; end is what its header says of the next offset,
// negative: the truth.
func (b *builder) event(t binlog.Type, flags uint16, end int64, body []byte) *builder {
	n := binlog.HeaderSize + len(body)
	if b.checksum {
		n += 4
	}
	if end < 0 {
		end = int64(len(b.data) + n)
	}
	ev := binary.LittleEndian.AppendUint32(nil, 1700000000)
	ev = append(ev, byte(t))
	ev = binary.LittleEndian.AppendUint32(ev, 7)
	ev = binary.LittleEndian.AppendUint32(ev, uint32(n))
	ev = binary.LittleEndian.AppendUint32(ev, uint32(end))
	ev = binary.LittleEndian.AppendUint16(ev, flags)
	ev = append(ev, body...)
	if b.checksum {
		ev = binary.LittleEndian.AppendUint32(ev, crc32.ChecksumIEEE(ev))
	}
	b.data = append(b.data, ev...)
	return b
}

// format begins a log with the format description of a stored one.
func format(t testing.TB, name string, checksum bool) *builder {
	t.Helper()
	data := stored(t)[name]
	if data == nil {
		t.Fatalf("no log %s in testdata", name)
	}
	head := append([]byte(nil), data[:4+size(data, 4)]...)
	n := len(head)
	head[n-5] = 0
	if checksum {
		head[n-5] = 1
	}
	return &builder{data: fixChecksum(head), checksum: checksum}
}

// fixChecksum makes the checksum of a format description right.
func fixChecksum(data []byte) []byte {
	n := len(data)
	binary.LittleEndian.PutUint32(data[n-4:], crc32.ChecksumIEEE(data[4:n-4]))
	return data
}

// aLog is the name of a stored MySQL log.
func aLog(t testing.TB) string {
	t.Helper()
	for name := range stored(t) {
		if strings.HasPrefix(name, "mysql") && strings.HasSuffix(name, "plain") {
			return name
		}
	}
	t.Fatal("no MySQL log in testdata")
	return ""
}

func TestRefused(t *testing.T) {
	plain := stored(t)[aLog(t)]
	change := func(at int, b ...byte) []byte {
		data := append([]byte(nil), plain...)
		copy(data[at:], b)
		return data
	}
	build := func(typ binlog.Type, flags uint16, end int64, body []byte) []byte {
		return format(t, aLog(t), true).event(typ, flags, end, body).data
	}
	noChecksum := format(t, aLog(t), false)
	encryption := build(binlog.StartEncryption, 0, -1, make([]byte, 17))
	clearText := format(t, aLog(t), true).event(binlog.StartEncryption, 0, -1, make([]byte, 17)).event(binlog.QueryEvent, 0, -1, make([]byte, 32)).data
	damaged := slices.Clone(clearText)
	damaged[len(damaged)-10] ^= 1
	for _, test := range []struct {
		name string
		data []byte
		want error
	}{
		{"nothing", nil, binlog.ErrNotBinlog},
		{"an index file", []byte("./log.000001\n"), binlog.ErrNotBinlog},
		{"encrypted by MySQL", change(0, 0xfd), binlog.ErrEncrypted},
		{"only the magic number", plain[:4], binlog.ErrTruncated},
		{"no format description", append(append([]byte(nil), plain[:4]...), plain[4+size(plain, 4):]...), binlog.ErrCorrupt},
		{"two format descriptions", append(append([]byte(nil), plain...), plain[4:4+size(plain, 4)]...), binlog.ErrRelayLog},
		{"flag of a relay log", build(binlog.QueryEvent, binlog.FlagRelayLog, -1, make([]byte, 32)), binlog.ErrRelayLog},
		{"end of an event of another file", build(binlog.QueryEvent, 0, 4711, make([]byte, 32)), binlog.ErrCorrupt},
		{"size 0", append(append([]byte(nil), plain...), change(0)[4:4+9]...), binlog.ErrTruncated},
		{"size below the header's", append(append([]byte(nil), plain...), 1, 2, 3, 4, 2, 7, 0, 0, 0, 18, 0, 0, 0, 0, 0, 0, 0, 0, 1), binlog.ErrCorrupt},
		{"size without room for the checksum", append(append([]byte(nil), plain...), 1, 2, 3, 4, 2, 7, 0, 0, 0, 22, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1), binlog.ErrCorrupt},
		{"unknown type", build(43, 0, -1, nil), binlog.ErrUnknown},
		{"unknown type of MariaDB", build(200, 0, -1, nil), binlog.ErrUnknown},
		{"unknown type that may be ignored", build(43, binlog.FlagIgnorable, -1, nil), nil},
		{"artificial event", build(binlog.RotateEvent, binlog.FlagArtificial, 1, []byte("\x04\x00\x00\x00\x00\x00\x00\x00log.000002")), nil},
		{"incident", build(binlog.IncidentEvent, 0, -1, []byte{1, 0, 0}), binlog.ErrUnsupported},
		{"heartbeat", build(binlog.HeartbeatEvent, 0, -1, []byte("log.000001")), binlog.ErrCorrupt},
		{"start of encryption (MariaDB), encrypted bytes behind it", slices.Concat(encryption, []byte("what a cipher has made of an event")), binlog.ErrEncrypted},
		{"… an event of another place", slices.Concat(encryption, plain[4:]), binlog.ErrEncrypted},
		{"… an event in clear text, as a replica gets it", clearText, nil},
		{"… the same, cut off", clearText[:len(clearText)-1], binlog.ErrTruncated},
		{"… the same, damaged", damaged, binlog.ErrChecksum},
		{"… nothing", encryption, nil},
		{"MariaDB 12's partial rows", build(binlog.PartialRowData, 0, -1, make([]byte, 17)), binlog.ErrUnsupported},
		{"rows of MySQL 5.1.0", build(binlog.PreGAWriteRows, 0, -1, make([]byte, 17)), binlog.ErrUnsupported},
		{"body shorter than its type's fixed part", build(binlog.QueryEvent, 0, -1, make([]byte, 12)), binlog.ErrCorrupt},
		{"without checksums: an event of the header alone", noChecksum.event(binlog.StopEvent, 0, -1, nil).data, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := read(test.data); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

// describeFormat makes a log that is a format description alone.
func describeFormat(version string, types int, edit func(body []byte)) []byte {
	body := binary.LittleEndian.AppendUint16(nil, 4)
	body = append(body, make([]byte, 50)...)
	copy(body[2:], version)
	body = append(body, 0, 0, 0, 0, 19)
	for range types {
		body = append(body, 0)
	}
	body = append(body, 1) // checksums
	if edit != nil {
		edit(body)
	}
	b := &builder{data: []byte("\xfebin"), checksum: true}
	return b.event(binlog.FormatDescription, 0, -1, body).data
}

func TestFormatDescription(t *testing.T) {
	for _, test := range []struct {
		version string
		types   int
		edit    func([]byte)
		want    string // flavor, or the error
	}{
		{"8.0.46", 41, nil, "mysql"},
		{"5.7.44-log", 38, nil, "mysql"},
		{"5.6.1", 35, nil, "mysql"},
		{"5.6.0", 35, nil, "too old"},
		{"5.5.62", 27, nil, "too old"},
		{"9.7.4", 42, nil, "mysql"},
		{"10.11.14-MariaDB-log", 171, nil, "mariadb"},
		{"5.3.12-MariaDB", 163, nil, "mariadb"},
		{"5.2.14-MariaDB", 163, nil, "too old"},
		{"8.0.46", 41, func(b []byte) { b[0] = 3 }, "binary log version 3"},
		{"8.0.46", 41, func(b []byte) { b[56] = 13 }, "header length 13"},
		{"8.0.46", 41, func(b []byte) { b[len(b)-1] = 2 }, "checksum algorithm 2"},
	} {
		f, err := binlog.NewFile("log.000001", describeFormat(test.version, test.types, test.edit))
		got := strings.ToLower(fmt.Sprint(f.Format.Flavor))
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, test.want) || err == nil && f.Format.ServerVersion != test.version {
			t.Errorf("%s, %d types: %s %q, want %s", test.version, test.types, got, f.Format.ServerVersion, test.want)
		}
	}
}

// TestInUse: the server sets the flag while it writes the file and clears it
// without a new checksum, which is that of the event without the flag.
func TestInUse(t *testing.T) {
	for name, data := range stored(t) {
		for _, inUse := range []bool{false, true} {
			data := append([]byte(nil), data...)
			if inUse {
				data[4+17] |= byte(binlog.FlagInUse)
			}
			f, err := binlog.NewFile(name, data)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if f.Format.InUse != inUse {
				t.Errorf("%s: in use is %v, want %v", name, f.Format.InUse, inUse)
			}
		}
	}
}

// TestForApply: what is sent to a target has no checksums, no time of creation
// and the target's server id; and it still is a format description.
func TestForApply(t *testing.T) {
	for name, data := range stored(t) {
		f, err := binlog.NewFile(name, data)
		if err != nil {
			t.Fatal(err)
		}
		got, err := binlog.NewFile(name, append([]byte("\xfebin"), f.Format.ForApply(99)...))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got.Format.Checksum || got.Format.Created != 0 || got.Format.ServerID != 99 || got.Format.ServerVersion != f.Format.ServerVersion {
			t.Errorf("%s: %+v", name, got.Format)
		}
	}
}

// TestBeyond4GiB: the offset in a header is modulo 2^32. Without checksums the
// bulk of the file need not exist.
func TestBeyond4GiB(t *testing.T) {
	b := format(t, aLog(t), false)
	path := filepath.Join(t.TempDir(), "log.000001")
	if err := os.WriteFile(path, b.data, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	at := int64(len(b.data))
	var ends []int64
	for _, n := range []int64{3 << 30, 2 << 30, 100, 1 << 30} {
		head := (&builder{}).event(binlog.RowsQueryEvent, 0, 0, nil).data
		binary.LittleEndian.PutUint32(head[9:], uint32(n))
		binary.LittleEndian.PutUint32(head[13:], uint32(at+n))
		if _, err := out.WriteAt(head, at); err != nil {
			t.Fatal(err)
		}
		at += n
		ends = append(ends, at)
	}
	stop := (&builder{data: make([]byte, 0)}).event(binlog.StopEvent, 0, (at+19)&(1<<32-1), nil).data
	if _, err := out.WriteAt(stop, at); err != nil {
		t.Fatal(err)
	}
	f, err := binlog.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var got []int64
	for r := f.Events(0); ; {
		ev, ok, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		got = append(got, ev.End)
	}
	if want := append(ends, at+19); !reflect.DeepEqual(got, want) {
		t.Errorf("events end at %v, want %v", got, want)
	}
	if !f.Tail().Stop {
		t.Error("the STOP_EVENT at the end was not found")
	}
}

func TestTail(t *testing.T) {
	rotate := []byte("\x04\x00\x00\x00\x00\x00\x00\x00log.000002")
	long := append(rotate[:8:8], strings.Repeat("n", 511)...)
	for _, checksum := range []bool{false, true} {
		for _, test := range []struct {
			name  string
			build func(b *builder)
			want  binlog.Tail
		}{
			{"nothing", func(*builder) {}, binlog.Tail{}},
			{"stop", func(b *builder) { b.event(binlog.StopEvent, 0, -1, nil) }, binlog.Tail{Stop: true}},
			{"rotate", func(b *builder) { b.event(binlog.RotateEvent, 0, -1, rotate) }, binlog.Tail{Rotate: "log.000002"}},
			{"rotate to a long name", func(b *builder) { b.event(binlog.RotateEvent, 0, -1, long) }, binlog.Tail{Rotate: string(long[8:])}},
			{"rotate is not the last", func(b *builder) {
				b.event(binlog.RotateEvent, 0, -1, rotate).event(binlog.RowsQueryEvent, 0, -1, []byte("x"))
			}, binlog.Tail{}},
			{"rotate is cut off", func(b *builder) {
				b.event(binlog.RotateEvent, 0, -1, rotate)
				b.data = b.data[:len(b.data)-1]
			}, binlog.Tail{}},
			{"a rotate inside the last event", func(b *builder) {
				inner := (&builder{checksum: checksum}).event(binlog.RotateEvent, 0, 1<<20, rotate)
				b.event(binlog.RowsQueryEvent, 0, -1, inner.data)
			}, binlog.Tail{}},
		} {
			b := format(t, aLog(t), checksum)
			test.build(b)
			f, err := binlog.NewFile("log.000001", b.data)
			if err != nil {
				t.Fatal(err)
			}
			if got := f.Tail(); got != test.want {
				t.Errorf("%s (checksums %v): %+v, want %+v", test.name, checksum, got, test.want)
			}
		}
	}
}

// TestEventAt: any offset gives an event or an error.
func TestEventAt(t *testing.T) {
	for name, data := range stored(t) {
		if strings.HasSuffix(name, "nochecksum") {
			continue // nothing tells an event from other bytes there
		}
		f, err := binlog.NewFile(name, data)
		if err != nil {
			t.Fatal(err)
		}
		for at := int64(-2); at < int64(len(data))+3; at++ {
			ev, err := f.EventAt(at)
			inside := at >= f.First && at < int64(len(data)) && boundary(data, int(at))
			if (err == nil) != inside {
				t.Errorf("%s at %d: %s %v", name, at, ev.Type, err)
			}
		}
	}
}

// FuzzReader takes what follows a format description without checksums, which
// no random change would get past.
func FuzzReader(f *testing.F) {
	heads := map[bool][]byte{}
	for name, data := range stored(f) {
		if strings.HasSuffix(name, "nochecksum") {
			first := 4 + size(data, 4)
			maria := strings.HasPrefix(name, "mariadb")
			heads[maria] = data[:first]
			f.Add(maria, data[first:min(len(data), first+1000)])
		}
	}
	f.Fuzz(func(t *testing.T, maria bool, rest []byte) {
		data := append(heads[maria][:len(heads[maria]):len(heads[maria])], rest...)
		events, err := read(data)
		for _, ev := range events {
			if ev.End <= ev.Offset || ev.End > int64(len(data)) {
				t.Errorf("%s from %d to %d of %d bytes", ev.Type, ev.Offset, ev.End, len(data))
			}
		}
		file, nerr := binlog.NewFile("log.000001", data)
		if nerr != nil {
			t.Fatal(nerr)
		}
		file.Tail()
		if _, herr := file.ReadHead(); herr != nil && err == nil && len(events) > 8 {
			t.Log(herr)
		}
	})
}

// FuzzFormat takes the beginning of a file.
func FuzzFormat(f *testing.F) {
	for _, data := range stored(f) {
		f.Add(data[4 : 4+size(data, 4)])
	}
	f.Fuzz(func(t *testing.T, event []byte) {
		data := append([]byte("\xfebin"), event...)
		if len(event) > binlog.HeaderSize+4 {
			fixChecksum(data)
		}
		file, err := binlog.NewFile("log.000001", data)
		if err == nil && (file.First > int64(len(data)) || len(file.Format.ForApply(1)) != int(file.First)-4) {
			t.Errorf("%+v", file.Format)
		}
	})
}
