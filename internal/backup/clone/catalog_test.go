package clone

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"
)

func with(f fileOf, change func(*fileOf)) []byte {
	change(&f)
	return f.bytes()
}

// TestCatalog: what may follow what, and what must not.
func TestCatalog(t *testing.T) {
	dropped := func(s state) []byte {
		return with(table, func(f *fileOf) { f.state, f.flags = s, fileDeleted })
	}
	cut := func(b []byte, n int) []byte { return b[:len(b)-n] }
	wrongVersion := ends(stateFileCopy)
	wrongVersion[3]++
	for _, c := range []struct {
		name  string
		after [][]byte
		add   []byte
		err   error
		kind  changeKind
	}{
		{"the end of a state", toFileCopy(), ends(stateFileCopy), nil, changeEnd},
		{"a sign of life", toFileCopy(), stateDesc(stateFileCopy, flagAck), nil, changeNothing},
		{"the begin of a state before the end of the last", toFileCopy(), begins(statePageCopy), ErrProtocol, 0},
		{"the same end again", append(toFileCopy(), ends(stateFileCopy)), ends(stateFileCopy), ErrProtocol, 0},
		{"a state left out", append(toFileCopy(), ends(stateFileCopy)), begins(stateRedoCopy), ErrProtocol, 0},
		{"a state behind the last", toDone(), ends(stateDone), ErrProtocol, 0},
		{"a begin at first", nil, begins(stateFileCopy), ErrProtocol, 0},
		{"unknown flags of a state", toFileCopy(), stateDesc(stateFileCopy, 4), ErrUnsupported, 0},

		{"a file", toFileCopy(), with(table, func(f *fileOf) { f.index = 2; f.name = "./d/u#p#p0.ibd" }), nil, changeNew},
		{"a file again", toFileCopy(), table.bytes(), nil, changeNothing},
		{"a file of another state", toFileCopy(), with(table, func(f *fileOf) { f.index, f.state = 2, statePageCopy }), ErrProtocol, 0},
		{"a file by DDL between states", append(toFileCopy(), ends(stateFileCopy)), with(table, func(f *fileOf) { f.index, f.state = 2, statePageCopy }), nil, changeNew},
		{"a file dropped", toFileCopy(), dropped(stateFileCopy), nil, changeGone},
		{"a file dropped, told again", append(toFileCopy(), dropped(stateFileCopy), ends(stateFileCopy)), dropped(statePageCopy), nil, changeNothing},
		{"a file dropped, told between states", append(toFileCopy(), ends(stateFileCopy)), dropped(statePageCopy), nil, changeGone},
		{"a file that came and went", append(toFileCopy(), ends(stateFileCopy)), with(table, func(f *fileOf) { f.index, f.state, f.flags = 2, statePageCopy, fileDeleted }), nil, changeNothing},
		{"a file renamed", append(toFileCopy(), ends(stateFileCopy)), with(table, func(f *fileOf) { f.state, f.flags, f.name = statePageCopy, fileRenamed, "./d/u.ibd" }), nil, changeNothing},
		{"a file outside", toFileCopy(), with(table, func(f *fileOf) { f.index, f.name = 2, "/elsewhere/t.ibd" }), ErrUnsupported, 0},
		{"a file above", toFileCopy(), with(table, func(f *fileOf) { f.index, f.name = 2, "../t.ibd" }), ErrUnsupported, 0},
		{"a file above, hidden", toFileCopy(), with(table, func(f *fileOf) { f.index, f.name = 2, "./d/../../t.ibd" }), ErrProtocol, 0},
		{"a file in the staging directory", toFileCopy(), with(table, func(f *fileOf) { f.index, f.name = 2, stagingName+"/data-1" }), ErrProtocol, 0},
		{"a file without a name", toFileCopy(), with(table, func(f *fileOf) { f.index, f.name = 2, "" }), ErrProtocol, 0},
		{"an encrypted file", toFileCopy(), with(table, func(f *fileOf) { f.index, f.flags = 2, fileAES }), ErrUnsupported, 0},
		{"an encrypted tablespace", toFileCopy(), with(table, func(f *fileOf) { f.index, f.space = 2, 1<<13 }), ErrUnsupported, 0},
		{"a file with a key", toFileCopy(), with(table, func(f *fileOf) { f.index, f.flags = 2, fileHasKey }), ErrUnsupported, 0},
		{"a file with unknown flags", toFileCopy(), with(table, func(f *fileOf) { f.index, f.flags = 2, 1<<6 }), ErrUnsupported, 0},
		{"a huge file", toFileCopy(), with(table, func(f *fileOf) { f.index, f.size = 2, maxFile+1 }), ErrProtocol, 0},

		{"data", toFileCopy(), dataDesc(stateFileCopy, 1, 4, 0, 4), nil, changeData},
		{"a page", toPageCopy(), dataDesc(statePageCopy, 1, 4, 4, 4), nil, changeData},
		{"redo", toRedoCopy(), dataDesc(stateRedoCopy, 0, 4, 0, 4), nil, changeData},
		{"redo again", toRedoCopy(), redo.bytes(), nil, changeNothing},
		{"redo with a name", toRedoCopy(), with(redo, func(f *fileOf) { f.name, f.index = "x", 1 }), ErrProtocol, 0},
		{"data of an unknown file", toFileCopy(), dataDesc(stateFileCopy, 2, 4, 0, 4), ErrProtocol, 0},
		{"data of another state", toFileCopy(), dataDesc(statePageCopy, 1, 4, 0, 4), ErrProtocol, 0},
		{"data between states", append(toFileCopy(), ends(stateFileCopy)), dataDesc(stateFileCopy, 1, 4, 0, 4), ErrProtocol, 0},
		{"data far away", toFileCopy(), dataDesc(stateFileCopy, 1, 4, maxFile+1, 4), ErrProtocol, 0},

		{"another version", toFileCopy(), wrongVersion, ErrUnsupported, 0},
		{"a locator", toFileCopy(), anySnapshot(), ErrUnsupported, 0},
		{"an unknown descriptor", toFileCopy(), appendHeader(nil, headerSize, 6), ErrUnsupported, 0},
		{"nothing", toFileCopy(), nil, ErrProtocol, 0},
		{"a part of a state", toFileCopy(), cut(ends(stateFileCopy), 1), ErrProtocol, 0},
		{"a part of a file", toFileCopy(), cut(table.bytes(), 1), ErrProtocol, 0},
	} {
		cat := newCatalog()
		for _, d := range c.after {
			if _, err := cat.add(d); err != nil {
				t.Fatalf("%s: before it: %v", c.name, err)
			}
		}
		got, err := cat.add(c.add)
		if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) || got.kind != c.kind {
			t.Errorf("%s: change %d, %v; want %d, %v", c.name, got.kind, err, c.kind, c.err)
		}
	}
}

// TestCatalogFinish: what a snapshot has at the end.
func TestCatalogFinish(t *testing.T) {
	between := append(toFileCopy(), ends(stateFileCopy))
	rest := [][]byte{begins(statePageCopy), ends(statePageCopy), begins(stateRedoCopy), redo.bytes(), ends(stateRedoCopy), begins(stateDone)}
	told := func(d ...[]byte) [][]byte { return slices.Concat(between, d, rest) }
	second := fileOf{state: statePageCopy, name: "./d/t.ibd", index: 2, spaceID: 6, size: 4}
	away := with(table, func(f *fileOf) { f.state, f.flags, f.name = statePageCopy, fileRenamed, "./d/old.ibd" })
	for _, c := range []struct {
		name  string
		all   [][]byte
		paths []string
		err   error
	}{
		{"all of it", toDone(), []string{"#innodb_redo/#ib_redo0", "d/t.ibd", "ibdata1"}, nil},
		{"a table dropped", told(with(table, func(f *fileOf) { f.state, f.flags = statePageCopy, fileDeleted })), []string{"#innodb_redo/#ib_redo0", "ibdata1"}, nil},
		{"a name taken over", told(second.bytes(), away), []string{"#innodb_redo/#ib_redo0", "d/old.ibd", "d/t.ibd", "ibdata1"}, nil},
		{"a name twice", told(second.bytes()), nil, ErrUnsupported},
		{"not to the end", toRedoCopy(), nil, ErrProtocol},
		{"no redo", append(append(toPageCopy(), ends(statePageCopy)), begins(stateRedoCopy), ends(stateRedoCopy), begins(stateDone)), nil, ErrProtocol},
	} {
		cat := newCatalog()
		for _, d := range c.all {
			if _, err := cat.add(d); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
		}
		files, err := cat.finish()
		var paths []string
		for _, f := range files {
			paths = append(paths, f.path)
		}
		slices.Sort(paths)
		if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) || !slices.Equal(paths, c.paths) {
			t.Errorf("%s: %q, %v; want %q, %v", c.name, paths, err, c.paths, c.err)
		}
	}
}

// TestGrow: a header page tells the size of a tablespace, of which the last file
// has the rest.
func TestGrow(t *testing.T) {
	second := with(system, func(f *fileOf) { f.index, f.name = 1, "ibdata2" })
	cat := newCatalog()
	all := [][]byte{ends(stateInit), begins(stateFileCopy), system.bytes(), second, ends(stateFileCopy), begins(statePageCopy)}
	for _, d := range append(all, dataDesc(statePageCopy, 0, 4, 0, 30), dataDesc(statePageCopy, 0, 4, 0, 9)) {
		if _, err := cat.add(d); err != nil {
			t.Fatal(err)
		}
	}
	if a, b := cat.data[0].size, cat.data[1].size; a != 8 || b != 22 {
		t.Errorf("the files have %d and %d bytes, want 8 and 22", a, b)
	}
}

// FuzzCatalog: whatever a donor sends, files stay inside the data directory, and
// data is only for files that are known.
func FuzzCatalog(f *testing.F) {
	for _, d := range toDone() {
		f.Add(d, table.bytes())
	}
	f.Add(with(table, func(f *fileOf) { f.state, f.name, f.index = stateFileCopy, "./../x", 3 }), dataDesc(stateFileCopy, 1, 4, 0, 4))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		cat := newCatalog()
		for _, d := range append(toFileCopy(), first, second) {
			c, err := cat.add(d)
			if err != nil {
				return
			}
			if c.kind >= changeNew && c.file == nil {
				t.Fatalf("change %d of no file", c.kind)
			}
		}
		for _, file := range cat.data {
			if p := file.path; !filepath.IsLocal(p) || p == "." {
				t.Fatalf("%q is outside", p)
			}
		}
	})
}
