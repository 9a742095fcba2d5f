package clone

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// What a donor sends, for tests that have none.

func stateDesc(s state, flags uint16) []byte {
	b := appendHeader(nil, stateSize, descState)
	b = binary.BigEndian.AppendUint32(b, uint32(s))
	b = append(b, make([]byte, stateFlags-len(b))...)
	return binary.BigEndian.AppendUint16(b, flags)
}

func begins(s state) []byte { return stateDesc(s, flagBegin) }
func ends(s state) []byte   { return stateDesc(s, 0) }

// fileOf has the fields of a fileDescriptor, and may have what the decoder refuses.
type fileOf fileDescriptor

func (f fileOf) bytes() []byte {
	name := f.name
	if name != "" {
		name += "\x00"
	}
	b := appendHeader(nil, uint32(fileSize+len(name)), descFile)
	b = binary.BigEndian.AppendUint32(b, uint32(f.state))
	b = binary.BigEndian.AppendUint64(b, f.size)
	b = binary.BigEndian.AppendUint64(b, f.size)
	b = binary.BigEndian.AppendUint32(b, uint32(f.space))
	b = binary.BigEndian.AppendUint32(b, 4096)
	b = binary.BigEndian.AppendUint16(b, f.flags)
	for _, v := range []uint32{f.spaceID, f.index, 1, 1, uint32(len(name))} {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return append(b, name...)
}

func dataDesc(s state, index, length uint32, offset, size uint64) []byte {
	b := appendHeader(nil, dataSize, descData)
	for _, v := range []uint32{uint32(s), 0, 1, 1, index, length} {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	b = binary.BigEndian.AppendUint64(b, offset)
	return binary.BigEndian.AppendUint64(b, size)
}

// The files of a snapshot: the system tablespace and a table.
var (
	system = fileOf{state: stateFileCopy, size: 8, name: "ibdata1"}
	table  = fileOf{state: stateFileCopy, size: 4, name: "./d/t.ibd", index: 1, spaceID: 5}
	redo   = fileOf{state: stateRedoCopy, size: 4, spaceID: spaceRedo, space: noSpaceFlags}
)

// toFileCopy and the others are the way into a state.
func toFileCopy() [][]byte {
	return [][]byte{appendHeader(nil, headerSize, descTask), ends(stateInit), begins(stateFileCopy), system.bytes(), table.bytes()}
}

func toPageCopy() [][]byte {
	return append(toFileCopy(), ends(stateFileCopy), begins(statePageCopy))
}

func toRedoCopy() [][]byte {
	return append(toPageCopy(), ends(statePageCopy), begins(stateRedoCopy), redo.bytes())
}

func toDone() [][]byte {
	return append(toRedoCopy(), ends(stateRedoCopy), begins(stateDone))
}

// written makes a stream of descriptors; each data descriptor's data are its
// length in letters, of the next kind each time.
func written(t testing.TB, descriptors [][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := newWriter(&b, head{Version: "9.7.4", Settings: map[string]string{"innodb_page_size": "16384"}})
	if err != nil {
		t.Fatal(err)
	}
	cat, letter := newCatalog(), byte('a')
	for _, d := range descriptors {
		c, err := cat.add(d)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.record(recordDescriptor, d); err != nil {
			t.Fatal(err)
		}
		if c.kind == changeData {
			if err := w.data(bytes.Repeat([]byte{letter}, int(c.data.length))); err != nil {
				t.Fatal(err)
			}
			letter++
		}
	}
	files, err := cat.finish()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.end(len(files)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
