package clone

import (
	"fmt"
	"path"
	"strings"
)

// catalog knows the files of a snapshot and how far it is. It is pure: Take asks
// it whether what came may be written down, Unpack what to do with it.
//
// Invariants: states come one after the other; data is of a file that has been
// introduced, in the state that is begun; no two files that are left at the end
// have one name; every name stays inside the data directory.
type catalog struct {
	state state // begun; zero before the first
	ended bool  // the state's end has come, the next one's begin has not
	data  map[uint32]*file
	redo  map[uint32]*file
}

func newCatalog() *catalog {
	return &catalog{data: map[uint32]*file{}, redo: map[uint32]*file{}}
}

// file is one of the snapshot.
type file struct {
	fileDescriptor
	path  string // inside the data directory, with slashes
	size  uint64 // at least
	gone  bool   // dropped; data may still come, and is not wanted
	fresh bool   // made by DDL after the snapshot began
}

// isRedo reports whether f is of the redo log.
func (f *file) isRedo() bool { return f.name == "" }

// change is what a descriptor comes to.
type change struct {
	kind changeKind
	file *file          // but for changeNothing and the states
	data dataDescriptor // of changeData
}

type changeKind int

const (
	changeNothing changeKind = iota
	changeBegin              // catalog.state is new
	changeEnd                // of catalog.state: to be acknowledged
	changeNew                // file is new
	changeGone               // file was dropped
	changeData               // data for file comes
)

// add takes a whole descriptor.
func (c *catalog) add(b []byte) (change, error) {
	h, err := decodeHeader(b)
	if err != nil {
		return change{}, err
	}
	switch h.kind {
	case descTask:
		return change{}, nil
	case descState:
		d, err := decodeState(b)
		if err != nil || d.alive {
			return change{}, err
		}
		return c.turn(d)
	case descFile:
		d, err := decodeFile(b)
		if err != nil {
			return change{}, err
		}
		return c.introduce(d)
	case descData:
		d, err := decodeData(b)
		if err != nil {
			return change{}, err
		}
		return c.place(d)
	default:
		return change{}, unsupported("upgrade lifeboat", "%s", h.kind)
	}
}

// turn begins or ends a state. The first that is told is the end of INIT.
func (c *catalog) turn(d stateDescriptor) (change, error) {
	if c.state == 0 && d.state == stateInit {
		c.state = stateInit
	}
	switch {
	case d.begin && d.state == c.state+1 && d.state <= stateDone && c.ended:
		c.state, c.ended = d.state, false
		return change{kind: changeBegin}, nil
	case !d.begin && d.state == c.state && !c.ended && d.state < stateDone:
		c.ended = true
		return change{kind: changeEnd}, nil
	default:
		return change{}, fmt.Errorf("%w: %s (begin: %t) after %s (ended: %t)", ErrProtocol, d.state, d.begin, c.state, c.ended)
	}
}

// introduce takes a file's descriptor. Between two states the donor tells what
// DDL did in the one that has ended, with the number of the one to come.
func (c *catalog) introduce(d fileDescriptor) (change, error) {
	ddl := c.ended && d.state == c.state+1
	if !ddl && (d.state != c.state || c.ended) {
		return change{}, fmt.Errorf("%w: %s of %s in %s", ErrProtocol, d, d.state, c.state)
	}
	if d.size > maxFile {
		return change{}, fmt.Errorf("%w: %s has %d bytes", ErrProtocol, d, d.size)
	}
	if d.state == stateRedoCopy && !ddl {
		return c.introduceRedo(d)
	}
	p, err := inside(d)
	if err != nil {
		return change{}, err
	}
	f, known := c.data[d.index]
	switch {
	case !known:
		f = &file{fileDescriptor: d, path: p, size: d.size, fresh: ddl, gone: d.flags&fileDeleted != 0}
		c.data[d.index] = f
		if f.gone {
			return change{}, nil
		}
		return change{kind: changeNew, file: f}, nil
	case f.gone: // told again at the end of the state
		return change{}, nil
	case d.flags&fileDeleted != 0:
		f.gone = true
		return change{kind: changeGone, file: f}, nil
	case ddl:
		f.fileDescriptor, f.path, f.size = d, p, max(f.size, d.size)
	}
	return change{}, nil
}

// introduceRedo takes a file of the redo log, which may be told again.
func (c *catalog) introduceRedo(d fileDescriptor) (change, error) {
	if d.name != "" || d.spaceID != spaceRedo {
		return change{}, fmt.Errorf("%w: %s as redo", ErrProtocol, d)
	}
	if _, known := c.redo[d.index]; known {
		return change{}, nil
	}
	f := &file{fileDescriptor: d, path: fmt.Sprintf("#innodb_redo/#ib_redo%d", d.index), size: d.size}
	c.redo[d.index] = f
	return change{kind: changeNew, file: f}, nil
}

// inside is where a file belongs in a data directory.
func inside(d fileDescriptor) (string, error) {
	p := strings.TrimPrefix(d.name, "./")
	switch {
	case d.name == "":
		return "", fmt.Errorf("%w: file %d has no name", ErrProtocol, d.index)
	case path.IsAbs(p) || p == ".." || strings.HasPrefix(p, "../"):
		return "", unsupported("move it into the data directory (ALTER TABLE … DATA DIRECTORY, or CREATE TABLESPACE there), or back it up another way",
			"%s is outside the data directory", d)
	case path.Clean(p) != p || strings.Contains(p, `\`) || strings.HasPrefix(p, stagingName):
		return "", fmt.Errorf("%w: %s is no path", ErrProtocol, d)
	}
	return p, nil
}

// place finds the file of data that comes.
func (c *catalog) place(d dataDescriptor) (change, error) {
	files := c.data
	if d.state == stateRedoCopy {
		files = c.redo
	}
	f, known := files[d.index]
	if !known || c.ended || d.state != c.state || d.state < stateFileCopy || d.state > stateRedoCopy {
		return change{}, fmt.Errorf("%w: data for file %d of %s in %s", ErrProtocol, d.index, d.state, c.state)
	}
	if d.state == statePageCopy && d.offset == 0 {
		c.grow(f, d.size)
	}
	return change{kind: changeData, file: f, data: d}, nil
}

// grow takes the size of a tablespace that its header page has brought. Only the
// system tablespace can have several files, which follow each other: the last one
// grows.
func (c *catalog) grow(f *file, size uint64) {
	for size > f.size {
		next, ok := c.data[f.index+1]
		if !ok || next.spaceID != f.spaceID {
			f.size = size
			return
		}
		size -= f.size
		f = next
	}
}

// finish checks that the snapshot is whole and lists its files.
func (c *catalog) finish() ([]*file, error) {
	if c.state != stateDone {
		return nil, fmt.Errorf("%w: it ends in %s", ErrProtocol, c.state)
	}
	seen := map[string]bool{}
	var list []*file
	for _, files := range []map[uint32]*file{c.data, c.redo} {
		for _, f := range files {
			if f.gone {
				continue
			}
			if seen[f.path] {
				return nil, unsupported("give undo tablespaces of different directories different file names", "two files are %s", f.path)
			}
			seen[f.path] = true
			list = append(list, f)
		}
	}
	if len(c.redo) == 0 {
		return nil, fmt.Errorf("%w: no redo log", ErrProtocol)
	}
	return list, nil
}
