package replay

import (
	"errors"
	"io"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/netchange"
	"github.com/lifeboat-db/lifeboat/internal/rowimage"
)

// images gives the bytes behind a netchange.Ref: those of the mapped files,
// whose source number is the file's index, and those of events that came out
// of compressed payloads, which are kept in memory as pages of shard memory.
type images struct {
	files []*binlog.File
	inner [][]byte        // pages; page n's images have source innerSource
	outer []netchange.Ref // of each page: where the event lies that it came out of
	bytes int64           // of all pages
	// random: the images are fetched at random places of more log than may be
	// resident, so they are read instead of mapped. Set before chunks are built.
	random bool
}

// firstRead is how much is read of an image whose length is not known yet.
const firstRead = 512

// image finds the image at r: its bytes, and in cells where its cells are. In
// random mode the bytes lie in buf until its next use.
func (im *images) image(r netchange.Ref, l *rowimage.Layout, cells []rowimage.Cell, buf *[]byte) ([]byte, error) {
	if !im.random || r.Source() == innerSource {
		b := im.bytesAt(r)
		n, err := l.Scan(b, nil, cells)
		return b[:n], err
	}
	for size := max(firstRead, cap(*buf)); ; size *= 4 {
		if cap(*buf) < size {
			*buf = make([]byte, size)
		}
		got, err := im.files[r.Source()].ReadAt((*buf)[:size], r.Offset())
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		n, err := l.Scan((*buf)[:got], nil, cells)
		if err == nil {
			return (*buf)[:n], nil
		}
		if got < size || !errors.Is(err, rowimage.ErrShort) {
			return nil, err
		}
	}
}

const (
	innerSource  = 1<<16 - 1
	innerOffBits = 28 // an event is at most 256 MiB
	innerPages   = 1 << (48 - innerOffBits)
)

// bytesAt returns everything from the image's beginning on; its end follows from
// its layout.
func (im *images) bytesAt(r netchange.Ref) []byte {
	if r.Source() == innerSource {
		page, off := r.Offset()>>innerOffBits, r.Offset()&(1<<innerOffBits-1)
		return im.inner[page][off:]
	}
	return im.files[r.Source()].Data[r.Offset():]
}

// base is the Ref of the first byte of an event's images.
func (im *images) base(file int, ev *binlog.Event, imgs []byte) netchange.Ref {
	if !ev.Inner {
		return netchange.NewRef(file, ev.Offset+binlog.HeaderSize+int64(len(ev.Body)-len(imgs)))
	}
	// Page 0 begins with a byte that is never an image, so that no Ref is zero;
	// its source alone makes sure of that already.
	im.inner = append(im.inner, imgs)
	im.outer = append(im.outer, netchange.NewRef(file, ev.Offset))
	im.bytes += int64(len(imgs))
	return netchange.NewRef(innerSource, int64(len(im.inner)-1)<<innerOffBits)
}

// place is where the event of an image begins, or a place in it: the number of
// the file, and the offset.
func (im *images) place(r netchange.Ref) (file int, offset int64) {
	if r.Source() == innerSource {
		r = im.outer[r.Offset()>>innerOffBits]
	}
	return r.Source(), r.Offset()
}
