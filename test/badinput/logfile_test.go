package badinput_test

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// A binary log taken apart: events without the checksums behind them. Event
// header: timestamp 4, type 1, server id 4, size 4, next position 4, flags 2.
type logFile struct {
	checksum bool
	events   [][]byte
}

const (
	headerSize = 19
	typeAt     = 4
	sizeAt     = 9
	nextAt     = 13
	flagsAt    = 17

	typeFormat = 15
	typeXID    = 16

	flagInUse     = 0x1
	flagRelay     = 0x40
	flagIgnorable = 0x80
)

func isRows(typ byte) bool { return typ >= 23 && typ <= 25 || typ >= 30 && typ <= 32 }

func readLog(t *testing.T, path string) *logFile {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	f := &logFile{}
	for at := 4; at < len(data); {
		size := int(binary.LittleEndian.Uint32(data[at+sizeAt:]))
		ev := slices.Clone(data[at : at+size])
		if at == 4 {
			f.checksum = ev[size-5] == 1
		} else if f.checksum {
			ev = ev[:size-4]
		}
		f.events = append(f.events, ev)
		at += size
	}
	return f
}

// insert puts an event behind the n-th one.
func (f *logFile) insert(n int, typ byte, flags uint16, body []byte) {
	ev := append(make([]byte, headerSize), body...)
	copy(ev, f.events[n][:typeAt])
	copy(ev[5:], f.events[n][5:9])
	ev[typeAt], ev[nextAt] = typ, 1 // bytes puts the right one in
	binary.LittleEndian.PutUint16(ev[flagsAt:], flags)
	f.events = slices.Insert(f.events, n+1, ev)
}

// index finds the first event of a kind from n on, -1 if there is none.
func (f *logFile) index(n int, is func(typ byte) bool) int {
	for ; n < len(f.events); n++ {
		if is(f.events[n][typeAt]) {
			return n
		}
	}
	return -1
}

// lastIndex finds the last event of a kind.
func (f *logFile) lastIndex(is func(typ byte) bool) int {
	for n := len(f.events) - 1; n >= 0; n-- {
		if is(f.events[n][typeAt]) {
			return n
		}
	}
	return -1
}

// bytes puts the file together again, with sizes, positions and checksums that
// fit, and returns where each event begins.
func (f *logFile) bytes() (data []byte, offsets []int) {
	data = []byte{0xfe, 'b', 'i', 'n'}
	for _, ev := range f.events {
		ev = slices.Clone(ev)
		offsets = append(offsets, len(data))
		format := ev[typeAt] == typeFormat
		switch {
		case format && f.checksum:
			ev[len(ev)-5] = 1
		case format:
			ev[len(ev)-5] = 0
		case f.checksum:
			ev = append(ev, 0, 0, 0, 0)
		}
		binary.LittleEndian.PutUint32(ev[sizeAt:], uint32(len(ev)))
		if binary.LittleEndian.Uint32(ev[nextAt:]) != 0 { // MariaDB 11.8 has none inside transactions
			binary.LittleEndian.PutUint32(ev[nextAt:], uint32(len(data)+len(ev)))
		}
		if format || f.checksum {
			flags := binary.LittleEndian.Uint16(ev[flagsAt:])
			if format { // the flag "in use" is not in the sum
				binary.LittleEndian.PutUint16(ev[flagsAt:], flags&^flagInUse)
			}
			sum := crc32.ChecksumIEEE(ev[:len(ev)-4])
			binary.LittleEndian.PutUint16(ev[flagsAt:], flags)
			binary.LittleEndian.PutUint32(ev[len(ev)-4:], sum)
		}
		data = append(data, ev...)
	}
	return data, offsets
}

// variant writes a changed copy of a log file under its own name into a new
// directory.
func variant(t *testing.T, path string, change func(data []byte) []byte) string {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	return place(t, filepath.Base(path), change(data))
}

// rebuilt is variant for changes of events.
func rebuilt(t *testing.T, path string, change func(f *logFile)) string {
	t.Helper()
	f := readLog(t, path)
	change(f)
	data, _ := f.bytes()
	return place(t, filepath.Base(path), data)
}

func place(t *testing.T, name string, data []byte) string {
	t.Helper()
	dir, err := os.MkdirTemp(scratch, "variant")
	must(t, err)
	must(t, os.Chmod(dir, 0o755)) //nolint:gosec // another user has to get at it
	path := filepath.Join(dir, name)
	must(t, os.WriteFile(path, data, 0o644)) //nolint:gosec // likewise
	return path
}

// flip flips a bit.
func flip(at int) func([]byte) []byte {
	return func(data []byte) []byte {
		data[at] ^= 0x10
		return data
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The pieces read what a server wrote and give it back as it was.
func TestLogFile(t *testing.T) {
	for _, path := range world(t, beds(t)[0]).Logs {
		data, err := os.ReadFile(path)
		must(t, err)
		again, _ := readLog(t, path).bytes()
		if !slices.Equal(data, again) {
			n := 0
			for n < min(len(data), len(again)) && data[n] == again[n] {
				n++
			}
			t.Errorf("%s is not the same when put together again: at %d of %d, %x, want %x", path, n, len(data), again[n:min(len(again), n+8)], data[n:min(len(data), n+8)])
		}
	}
}
