package repository

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// hashDigits of the SHA-256 of the stored bytes are the end of a name.
const hashDigits = 32

// headGuess is what Header reads first: most headers are shorter.
const headGuess = 8 << 10

// errName: the name has no hash, so nothing could be verified.
var errName = errors.New("not the name of a sealed object, PREFIX-HASH")

// nameOf makes the name of an object.
func nameOf(prefix string, stored []byte) string {
	return prefix + "-" + hexSum(stored)[:hashDigits]
}

// hashOf returns the hash in a name.
func hashOf(name string) (string, error) {
	i := strings.LastIndexByte(name, '-')
	if i < 1 || !isHex(name[i+1:], hashDigits) {
		return "", errName
	}
	return name[i+1:], nil
}

// checkHash compares stored bytes with the hash in the name.
func checkHash(name string, stored []byte) error {
	want, err := hashOf(name)
	if err != nil {
		return err
	}
	if got := hexSum(stored)[:hashDigits]; got != want {
		return damaged("hash: its %d bytes have %s", len(stored), got)
	}
	return nil
}

// Seal makes the stored bytes of an object. The same again is the same bytes,
// unless it is encrypted.
func (r *Repository) Seal(kind string, meta any, plain []byte) ([]byte, error) {
	stored, err := r.sealer.seal(kind, meta, plain)
	if err != nil {
		return nil, r.wrap(r.store.String(), err)
	}
	return stored, nil
}

// Put seals and stores an object under PREFIX-HASH; size is that of the stored
// bytes. If it is there already, whole, it is done.
func (r *Repository) Put(ctx context.Context, prefix, kind string, meta any, plain []byte) (name string, size int64, err error) {
	stored, err := r.Seal(kind, meta, plain)
	if err != nil {
		return "", 0, err
	}
	name = nameOf(prefix, stored)
	err = r.store.Put(ctx, name, stored)
	if errors.Is(err, fs.ErrExist) {
		_, err = r.stored(ctx, name)
	}
	if err != nil {
		return "", 0, r.about(name, err)
	}
	return name, int64(len(stored)), nil
}

// stored reads an object whose bytes are those of its name.
func (r *Repository) stored(ctx context.Context, name string) ([]byte, error) {
	if _, err := hashOf(name); err != nil {
		return nil, err
	}
	stored, err := r.store.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	return stored, checkHash(name, stored)
}

// Read returns what an object holds, everything verified: the hash of the
// stored bytes, header, key, frames, size and the hash of what it holds. The
// error wraps fs.ErrNotExist if there is none, and ErrDamaged if it is not what
// was written.
func (r *Repository) Read(ctx context.Context, name string) (Header, []byte, error) {
	stored, err := r.stored(ctx, name)
	if err != nil {
		return Header{}, nil, r.about(name, err)
	}
	h, plain, err := r.sealer.open(stored)
	if err != nil {
		return Header{}, nil, r.about(name, err)
	}
	return h, plain, nil
}

// Check verifies the hash of the stored bytes and the form of the header,
// without a key.
func (r *Repository) Check(ctx context.Context, name string) (Header, error) {
	stored, err := r.stored(ctx, name)
	if err != nil {
		return Header{}, r.about(name, err)
	}
	h, _, err := parse(stored)
	return h, r.about(name, err)
}

// Header reads the header only, which has a checksum of its own: damage to it is
// seen, damage to the body is not, nor an object that lies in another's place.
func (r *Repository) Header(ctx context.Context, name string) (Header, error) {
	h, err := r.header(ctx, name)
	return h, r.about(name, err)
}

func (r *Repository) header(ctx context.Context, name string) (Header, error) {
	if _, err := hashOf(name); err != nil {
		return Header{}, err
	}
	head, err := r.store.GetRange(ctx, name, 0, headGuess)
	if err != nil {
		return Header{}, err
	}
	end, err := headEnd(head)
	if err != nil {
		return Header{}, err
	}
	if end > len(head) {
		rest, err := r.store.GetRange(ctx, name, int64(len(head)), int64(end-len(head)))
		if err != nil {
			return Header{}, fmt.Errorf("header: %w", err)
		}
		head = append(head, rest...)
	}
	if end > len(head) {
		return Header{}, damaged("header: cut short")
	}
	return parseHead(head[:end])
}
