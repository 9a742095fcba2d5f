package clone

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
)

// TestInitCommand: the bytes of COM_INIT, as a recipient of 9.7 sends them.
func TestInitCommand(t *testing.T) {
	want := append([]byte{
		0x02, 0x01, 0, 0, // version
		0x2c, 0x01, 0, 0x80, // 300 s, no backup lock
		12, 34, 0, 0, 0, // InnoDB, 34 bytes
		0, 0, 0, 100, 0, 0, 0, 34, 0, 0, 0, 1, // a locator
	}, make([]byte, 22)...)
	if got := initCommand(5 * time.Minute); !bytes.Equal(got, want) {
		t.Errorf("% x", got)
	}
}

// TestAckCommand: the bytes of COM_ACK after a state.
func TestAckCommand(t *testing.T) {
	end := ends(statePageCopy)
	got := ackCommand(0, locator("loc"), ackOf(end))
	want := append([]byte{0, 0, 0, 0, 12, 3, 0, 0, 0, 'l', 'o', 'c', stateSize, 0, 0, 0}, stateDesc(statePageCopy, flagAck)...)
	if !bytes.Equal(got, want) {
		t.Errorf("% x", got)
	}
	if !bytes.Equal(end, ends(statePageCopy)) {
		t.Error("the donor's descriptor is another one now")
	}
}

func locators(version uint32, engine byte, l []byte, rest ...byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, version)
	b = append(b, engine)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(l)))
	return append(append(b, l...), rest...)
}

// TestDecodeLocators: what a donor may answer to COM_INIT.
func TestDecodeLocators(t *testing.T) {
	for _, c := range []struct {
		name string
		body []byte
		err  error
	}{
		{"the version that was offered", locators(version, engineInnoDB, anySnapshot()), nil},
		{"a lower version", locators(0x0100, engineInnoDB, anySnapshot()), nil},
		{"a higher version", locators(version+1, engineInnoDB, anySnapshot()), ErrProtocol},
		{"another engine", locators(version, 9, anySnapshot()), ErrUnsupported},
		{"two engines", locators(version, engineInnoDB, anySnapshot(), 9, 0, 0, 0, 0), ErrUnsupported},
		{"a descriptor that is none", locators(version, engineInnoDB, ends(stateInit)), ErrProtocol},
		{"no locator", locators(version, engineInnoDB, nil), ErrProtocol},
		{"cut", locators(version, engineInnoDB, anySnapshot())[:20], ErrProtocol},
		{"nothing", nil, ErrProtocol},
	} {
		l, err := decodeLocators(c.body)
		if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%s: %v, want %v", c.name, err, c.err)
		}
		if err == nil && !bytes.Equal(l, anySnapshot()) {
			t.Errorf("%s: % x", c.name, l)
		}
	}
}

// FuzzResponses: whatever a donor answers to COM_INIT is decoded or refused.
func FuzzResponses(f *testing.F) {
	f.Add(locators(version, engineInnoDB, anySnapshot()))
	f.Add([]byte("\x07\x00\x00\x00version\x05\x00\x00\x009.7.4"))
	f.Add([]byte("\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, body []byte) {
		if l, err := decodeLocators(body); err == nil && len(l) < headerSize {
			t.Fatalf("locator of %d bytes", len(l))
		}
		if name, value, err := decodePair(body); err == nil && len(name)+len(value)+8 != len(body) {
			t.Fatalf("%q = %q of %d bytes", name, value, len(body))
		}
		if err := remoteError(body); err == nil {
			t.Fatal("no error")
		}
	})
}

// TestClassify: which errors of the server are which.
func TestClassify(t *testing.T) {
	for code, want := range map[uint16]error{
		1045: ErrDenied, 1227: ErrDenied, 3118: ErrDenied,
		1524: ErrNoPlugin,
		3872: ErrUnsupported,
		3633: ErrBusy, 3634: ErrBusy, 1205: ErrBusy,
	} {
		body := append(binary.LittleEndian.AppendUint32(nil, uint32(code)), "text"...)
		err := classify(remoteError(body))
		var e *mysql.MyError
		if !errors.Is(err, want) || !errors.As(err, &e) || e.Code != code || !strings.Contains(err.Error(), "; ") {
			t.Errorf("%d: %v, want %v and a next step", code, err, want)
		}
	}
}

// TestParseRecovery: a server's file about a clone that it has recovered.
func TestParseRecovery(t *testing.T) {
	const uuid = "e98b8334-e91f-11f1-aafb-02fc00000001"
	for _, c := range []struct{ text, want string }{
		{"1\n2\n./bin.000001\n1000844\n" + uuid + ":1-3\n", "bin.000001:1000844 " + uuid + ":1-3"},
		{"1\n2\n/var/log/bin.000001\n4\n" + uuid + ":1-3,\nf" + uuid[1:] + ":7\n", "bin.000001:4 " + uuid + ":1-3,f" + uuid[1:] + ":7"},
		{"1\n2\n\n0\n\n", ""},
		{"1\n", "error"},
		{"1\n0\n\n0\n\n", "error"},
		{"1\n2\nbin.000001\nx\n\n", "error"},
		{"1\n2\nbin.000001\n4\nx\n", "error"},
	} {
		p, err := parseRecovery(strings.Split(c.text, "\n"))
		got := strings.TrimSpace(p.Position.String() + " " + p.GTIDs.String())
		if p.Position.IsZero() {
			got = p.GTIDs.String()
		}
		if err != nil {
			got = "error"
		}
		if got != c.want {
			t.Errorf("%q: %q, %v; want %q", c.text, got, err, c.want)
		}
	}
}

// FuzzRecovery: whatever is in the file, it is a point or an error.
func FuzzRecovery(f *testing.F) {
	f.Add("1\n2\n./bin.000001\n1000844\ne98b8334-e91f-11f1-aafb-02fc00000001:1-3\n")
	f.Fuzz(func(_ *testing.T, text string) {
		_, _ = parseRecovery(strings.Split(text, "\n"))
	})
}

// TestVersionNumber: as page headers have it.
func TestVersionNumber(t *testing.T) {
	for v, want := range map[string]uint32{"9.7.4-2": 90704, "8.4.10": 80410, "": 0, "9.7": 0, "9.100.1": 0} {
		if got, err := versionNumber(v); got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %d, %v", v, got, err)
		}
	}
}

// TestSpaceFlags: the sizes that flags stand for.
func TestSpaceFlags(t *testing.T) {
	for _, c := range []struct {
		name            string
		flags           spaceFlags
		logical         int64
		physical        int64
		extent, initial int64
	}{
		{"16 KiB", 0x4021, 16 << 10, 16 << 10, 1 << 20, 7},
		{"compressed to 8 KiB", 1 | 4<<1, 16 << 10, 8 << 10, 512 << 10, 7},
		{"4 KiB", 3 << 6, 4 << 10, 4 << 10, 1 << 20, 7},
		{"64 KiB", 7 << 6, 64 << 10, 64 << 10, 4 << 20, 7},
	} {
		f := c.flags
		if f.logical() != c.logical || f.physical() != c.physical || f.extent() != c.extent || f.initialPages(5) != c.initial {
			t.Errorf("%s: %d, %d, %d, %d", c.name, f.logical(), f.physical(), f.extent(), f.initialPages(5))
		}
	}
	if n := spaceFlags(0).initialPages(spaceRedo - 1); n != 1024 {
		t.Errorf("undo begins with %d pages", n)
	}
}

// TestSettle: which point a copy is of, by the two that enclose it and what the
// server found.
func TestSettle(t *testing.T) {
	point := func(file string, offset int64, last int) Point {
		p := Point{Position: binlog.Position{File: file, Offset: offset}}
		if last == 0 {
			return p
		}
		set, err := gtid.ParseSet(gtid.MySQL, fmt.Sprintf("e98b8334-e91f-11f1-aafb-02fc00000001:1-%d", last))
		if err != nil {
			t.Fatal(err)
		}
		p.GTIDs = set
		return p
	}
	after, until := point("b.999999", 100, 5), point("b.1000000", 10, 8)
	between := Taken{After: after, Until: until}
	exact := Taken{After: after, Until: after}
	for _, c := range []struct {
		name  string
		taken Taken
		found Point
		want  Point
		err   error
	}{
		{"between", between, point("b.999999", 200, 6), point("", 0, 6), nil},
		{"the first", between, after, point("", 0, 5), nil},
		{"the last", between, until, point("", 0, 8), nil},
		{"too early", between, point("b.999999", 200, 4), Point{}, ErrPoint},
		{"too late", between, point("b.999999", 200, 9), Point{}, ErrPoint},
		{"another server's", between, point("b.999999", 200, 0), Point{}, ErrPoint},
		{"at a position that says nothing", between, point("b.000001", 4, 6), point("", 0, 6), nil},
		{"without GTIDs", Taken{After: point("b.999999", 100, 0), Until: point("b.1000000", 10, 0)}, point("b.999999", 200, 0), Point{}, ErrPoint},
		{"nothing was committed", exact, point("b.000001", 4, 5), after, nil},
		{"nothing was committed, without GTIDs", Taken{After: point("b.999999", 100, 0), Until: point("b.999999", 100, 0)}, point("b.1000000", 10, 0), point("b.999999", 100, 0), nil},
	} {
		got, err := c.taken.Settle(c.found)
		if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) || got.Position != c.want.Position || !got.GTIDs.Equal(c.want.GTIDs) {
			t.Errorf("%s: %+v, %v; want %+v, %v", c.name, got, err, c.want, c.err)
		}
	}
}

// TestParseOwned: transactions that are open on a server, with their sessions.
func TestParseOwned(t *testing.T) {
	const uuid = "e98b8334-e91f-11f1-aafb-02fc00000001"
	for owned, want := range map[string]string{
		"":                                     "",
		uuid + ":5#12":                         uuid + ":5",
		uuid + ":5#12:7#13":                    uuid + ":5:7",
		uuid + ":5#12,\nf" + uuid[1:] + ":1#9": uuid + ":5,f" + uuid[1:] + ":1",
	} {
		if got, err := parseOwned(owned); err != nil || got.String() != want {
			t.Errorf("%q: %s, %v", owned, got, err)
		}
	}
}
