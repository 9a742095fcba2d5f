// Package deposit puts backups and logs into a repository that no server has
// made: objects of the right names and headers, with bytes that mean nothing.
// For tests of what looks after stored objects.
package deposit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/repository/store"
)

// Server is the one that a backup is of that says of none.
const Server = "server"

// New makes a repository in a directory of its own, and returns both. If it is
// encrypted it has been opened with its key.
func New(t testing.TB, encrypted bool) (*repository.Repository, string) {
	t.Helper()
	at := repository.Location{Options: store.Options{URL: filepath.Join(t.TempDir(), "r")}, Name: "main"}
	var recipients []string
	if encrypted {
		id, err := age.GenerateX25519Identity()
		check(t, err)
		key := filepath.Join(t.TempDir(), "key")
		check(t, os.WriteFile(key, []byte(id.String()+"\n"), 0o600))
		recipients, at.Identities = []string{id.Recipient().String()}, []string{key}
	}
	_, err := repository.Create(context.Background(), at, recipients)
	check(t, err)
	r, err := repository.Open(context.Background(), at)
	check(t, err)
	return r, at.URL
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func put(t testing.TB, r *repository.Repository, prefix, kind string, meta any, data []byte) (string, int64) {
	t.Helper()
	name, size, err := r.Put(context.Background(), prefix, kind, meta, data)
	check(t, err)
	return name, size
}

// Backup is one to be put.
type Backup struct {
	backup.Manifest          // what is empty is filled in
	Data            [][]byte // of the parts
	Inline          int      // parts that the manifest itself has; the rest is in a list. 0: all
}

// Put puts parts, list and manifest, in that order.
func (b Backup) Put(t testing.TB, r *repository.Repository) backup.Manifest {
	t.Helper()
	m := b.manifest()
	folder := m.Set + "/backups/" + m.ID + "/"
	for i, data := range b.Data {
		name, size := put(t, r, fmt.Sprintf("%s%06d", folder, i+1), "backup-part", map[string]any{"backup": m.ID, "part": i + 1}, data)
		m.Parts = append(m.Parts, backup.Part{Name: strings.TrimPrefix(name, folder), Plain: int64(len(data)), Stored: size})
		m.PlainBytes += int64(len(data))
		m.StoredBytes += size
	}
	short := m
	if b.Inline > 0 && b.Inline < len(m.Parts) {
		name, _ := put(t, r, folder+"parts-000001", "backup-part-list", map[string]any{"backup": m.ID, "parts": m.Parts[b.Inline:]}, nil)
		short.Parts = m.Parts[:b.Inline]
		short.PartLists = []string{strings.TrimPrefix(name, folder)}
		m.PartLists = short.PartLists
	}
	m.Object, _ = put(t, r, folder+"manifest", "backup-manifest", short, nil)
	return m
}

// manifest fills in what every manifest has.
func (b Backup) manifest() backup.Manifest {
	m := b.Manifest
	m.SchemaVersion, m.Tool = 1, "none"
	fill(&m.Kind, backup.Full)
	fill(&m.Driver, "mariadb-backup")
	fill(&m.Flavor, "mysql")
	fill(&m.Server, Server)
	if m.Parent != "" {
		m.Kind = backup.Incremental
	}
	if m.ToLSN == 0 {
		m.ToLSN = 100
	}
	m.Parts = nil
	return m
}

func fill(s *string, otherwise string) {
	if *s == "" {
		*s = otherwise
	}
}

// ID makes a backup's id of its time and a number.
func ID(at time.Time, n int) string {
	return fmt.Sprintf("%s-%06x", at.UTC().Format("20060102T150405Z"), n)
}

// Segment puts bytes of a log, whose length End-Start gives, and returns the
// object's name.
func Segment(t testing.TB, r *repository.Repository, set string, s archive.Summary) string {
	t.Helper()
	prefix := fmt.Sprintf("%s%012d-%012d", Folder(set, s), s.Start, s.End)
	name, _ := put(t, r, prefix, "log-segment", s, Bytes(s))
	return name
}

// Closed puts what a whole file holds.
func Closed(t testing.TB, r *repository.Repository, set string, s archive.Summary) string {
	t.Helper()
	name, _ := put(t, r, Folder(set, s)+"closed", "log-file", s, nil)
	return name
}

// Folder is where the objects of a file are.
func Folder(set string, s archive.Summary) string { return archive.File{Summary: s}.Folder(set) }

// Bytes are those of a part of a log: always the same, and not compressible.
func Bytes(s archive.Summary) []byte {
	var out []byte
	for n := s.Start; int64(len(out)) < s.End-s.Start; n++ {
		sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %s %d", s.Server, s.File, s.ID, n))
		out = append(out, sum[:]...)
	}
	return out[:s.End-s.Start]
}

// FileID makes the ID of a file, as binlog.Format.ID does: any text, always the
// same for the same name.
func FileID(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:4])
}

// LogFile is a file of a log to be put, of segments of equal size.
type LogFile struct {
	archive.Summary           // Server, File, ID, Flavor, Previous, Begun, Archived
	Segments        []Content // what each of them holds
	Next            string    // with it the file is closed
}

// Content is that of a segment of 100 bytes.
type Content struct {
	Transactions int64
	GTIDs        string
}

// Put puts the segments and what the file holds, all being the union of the
// GTIDs, and returns the names in that order.
func (f LogFile) Put(t testing.TB, r *repository.Repository, set, all string) (names []string) {
	t.Helper()
	at := int64(4)
	whole := f.Summary
	whole.Start, whole.GTIDs, whole.Next = at, all, f.Next
	for i, c := range f.Segments {
		s := f.Summary
		s.Start, s.End, s.Boundary, s.Transactions, s.GTIDs = at, at+100, at+100, c.Transactions, c.GTIDs
		s.First, s.Last = s.Archived, s.Archived
		if i > 0 {
			s.Previous = nil
		}
		if i == len(f.Segments)-1 {
			s.Next = f.Next
		}
		names = append(names, Segment(t, r, set, s))
		at = s.End
		whole.Transactions += c.Transactions
	}
	if f.Next != "" {
		whole.End, whole.Boundary, whole.First, whole.Last = at, at, f.Archived, f.Archived
		names = append(names, Closed(t, r, set, whole))
	}
	return names
}
