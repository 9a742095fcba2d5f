package audit

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// fixedKey is the same in a test and in the child it kills.
func fixedKey() (ed25519.PrivateKey, ssh.PublicKey) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	public, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		panic(err)
	}
	return key, public
}

func open(t *testing.T, path string) *Log {
	t.Helper()
	l, err := tryOpen(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func tryOpen(path string) (*Log, error) {
	key, _ := fixedKey()
	return Open(Options{Path: path, Key: key, Machine: "m", BootID: "b", Now: time.Now})
}

// sample writes a log of n records and returns its path.
func sample(t *testing.T, n int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, path)
	for i := range n {
		if err := l.Append("event", map[string]any{"i": i, "text": "<&> é"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func check(path string) (Head, error) {
	_, public := fixedKey()
	return Verify(path, public)
}

func TestAppendAndReopen(t *testing.T) {
	path := sample(t, 3)
	l := open(t, path)
	if err := l.Append("more", nil); err != nil {
		t.Fatal(err)
	}
	head, err := check(path)
	if err != nil || head.Seq != 4 || head != l.Head() {
		t.Errorf("%+v, %+v: %v", head, l.Head(), err)
	}
	if _, err := tryOpen(path); err == nil {
		t.Error("two processes write one log")
	}
}

// TestEveryFlippedBit: no bit of log or head can be changed unnoticed.
func TestEveryFlippedBit(t *testing.T) {
	path := sample(t, 3)
	for _, file := range []string{path, path + ".head"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for bit := range len(text) * 8 {
			changed := bytes.Clone(text)
			changed[bit/8] ^= 1 << (bit % 8)
			put(t, file, changed)
			if _, err := check(path); err == nil {
				// Space for newline at the very end of the head is no change
				// of what it says.
				if file == path || len(bytes.TrimSpace(changed)) != len(bytes.TrimSpace(text)) {
					t.Fatalf("%s: bit %d of %q", filepath.Base(file), bit, text[bit/8])
				}
			}
		}
		put(t, file, text)
	}
}

func put(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestEveryEdit: lines removed, swapped, repeated, cut off, or of another log.
func TestEveryEdit(t *testing.T) {
	path, other := sample(t, 6), sample(t, 6)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	otherText, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	lines, otherLines := bytes.SplitAfter(text, []byte("\n"))[:6], bytes.SplitAfter(otherText, []byte("\n"))[:6]
	edits := map[string][][]byte{"nothing left": nil, "another log": otherLines, "two logs": append(clone(lines), otherLines...)}
	for i := range lines {
		edits[fmt.Sprintf("without line %d", i+1)] = append(clone(lines[:i]), lines[i+1:]...)
		edits[fmt.Sprintf("line %d twice", i+1)] = append(clone(lines[:i+1]), lines[i:]...)
		edits[fmt.Sprintf("line %d of another", i+1)] = append(append(clone(lines[:i]), otherLines[i]), lines[i+1:]...)
		if i > 0 {
			edits[fmt.Sprintf("up to line %d", i)] = clone(lines[:i])
			swapped := clone(lines)
			swapped[i-1], swapped[i] = swapped[i], swapped[i-1]
			edits[fmt.Sprintf("lines %d and %d swapped", i, i+1)] = swapped
		}
	}
	for name, edit := range edits {
		put(t, path, bytes.Join(edit, nil))
		if _, err := check(path); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := tryOpen(path); err == nil {
			t.Errorf("%s: opened for more", name)
		}
	}
}

func clone(lines [][]byte) [][]byte { return append([][]byte{}, lines...) }

// TestReorderedChain: records that are whole and chained, but numbered wrong,
// or in another key's name.
func TestForgery(t *testing.T) {
	path := sample(t, 2)
	text, err := os.ReadFile(path + ".head")
	if err != nil {
		t.Fatal(err)
	}
	put(t, path+".head", bytes.Replace(text, []byte("ed25519"), []byte("ed25518"), 1))
	if _, err := check(path); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
	put(t, path+".head", text)
	skipped := state{head: Head{Hash: zeros}}
	r := Record{Seq: 2, Prev: zeros, Event: "e", Details: []byte("{}")}
	if r.Hash, err = r.sum(); err != nil {
		t.Fatal(err)
	}
	line := fmt.Sprintf(`{"seq":2,"time":"0001-01-01T00:00:00Z","machine":"","boot_id":"","prev":"%s","event":"e","details":{},"hash":"%s"}`+"\n", zeros, r.Hash)
	if err := skipped.next([]byte(line)); err == nil || !strings.Contains(err.Error(), "number") {
		t.Error(err)
	}
	spaced := strings.Replace(line, `{"seq":2`, `{ "seq":2`, 1)
	if err := skipped.next([]byte(spaced)); err == nil || !strings.Contains(err.Error(), "as it was written") {
		t.Error(err)
	}
}

// TestAfterACrash: one record beyond the head, whole or torn, is what a crash
// can leave; two are not.
func TestAfterACrash(t *testing.T) {
	path := sample(t, 3)
	head, err := os.ReadFile(path + ".head")
	if err != nil {
		t.Fatal(err)
	}
	l := open(t, path)
	if err := l.Append("beyond", nil); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	start := bytes.LastIndexByte(text[:len(text)-1], '\n') + 1
	for end := start; end <= len(text); end++ {
		put(t, path, text[:end])
		put(t, path+".head", head)
		l, err := tryOpen(path)
		if err != nil {
			t.Fatalf("%d bytes beyond the head: %v", end-start, err)
		}
		want := uint64(3)
		if end == len(text) {
			want = 4
		}
		if l.Head().Seq != want {
			t.Fatalf("%d bytes beyond the head: record %d", end-start, l.Head().Seq)
		}
		if err := errors.Join(l.Append("on", nil), l.Close()); err != nil {
			t.Fatal(err)
		}
	}
	put(t, path, append(text, "torn"...))
	put(t, path+".head", head)
	if _, err := tryOpen(path); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
}

// TestFullDisk: what cannot be recorded is an error, leaves no half record, and
// nothing is recorded after it.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount a small filesystem")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skip(err)
	}
	defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
	path := filepath.Join(dir, "audit.log")
	l := open(t, path)
	defer func() { _ = l.Close() }()
	var failed error
	written := uint64(0)
	for failed == nil {
		if failed = l.Append("event", strings.Repeat("x", 5000)); failed == nil {
			written++
		}
	}
	if err := l.Append("event", nil); err == nil {
		t.Error("a record follows one that was lost")
	}
	head, err := check(path)
	if err != nil || head.Seq < written || head.Seq > written+1 {
		t.Errorf("%d written, %d there: %v", written, head.Seq, err)
	}
	if err := l.Append("event", strings.Repeat("x", maxRecord)); err == nil {
		t.Error("a huge record is taken")
	}
}

// TestLostFile: a record that cannot be written is an error, and so is every
// one after it.
func TestLostFile(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "audit.log"))
	if err := l.file.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := l.Append("event", nil); err == nil {
			t.Error("written to a closed file")
		}
	}
}

func TestHugeRecord(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "audit.log"))
	if err := l.Append("event", strings.Repeat("x", maxRecord)); err == nil {
		t.Error("taken")
	}
	if err := l.Append("event", nil); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestKilled: a writer that is killed at random moments loses no record it has
// told of.
func TestKilled(t *testing.T) {
	path := os.Getenv("AUDIT_TEST_PATH")
	if path != "" {
		l, err := tryOpen(path)
		if err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		for {
			if err := l.Append("event", "text"); err != nil {
				os.Exit(1)
			}
			fmt.Println(l.Head().Seq)
		}
	}
	path = filepath.Join(t.TempDir(), "audit.log")
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for range 15 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), "AUDIT_TEST_PATH="+path)
		var out bytes.Buffer
		cmd.Stdout = &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(20+rnd.IntN(60)) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if strings.Contains(out.String(), "error") {
			t.Fatal(out.String())
		}
		told := uint64(0)
		if whole := strings.LastIndexByte(out.String(), '\n'); whole > 0 {
			lines := strings.Fields(out.String()[:whole])
			if _, err := fmt.Sscan(lines[len(lines)-1], &told); err != nil {
				t.Fatal(err)
			}
		}
		head, err := check(path)
		if err != nil || head.Seq < told {
			t.Fatalf("told of %d, %d there: %v", told, head.Seq, err)
		}
	}
}

// TestNoHead: a log without its head may have lost anything.
func TestNoHead(t *testing.T) {
	for _, n := range []int{0, 1, 3} {
		path := sample(t, n)
		if err := os.Remove(path + ".head"); err != nil {
			t.Fatal(err)
		}
		if _, err := check(path); !errors.Is(err, ErrDamaged) {
			t.Errorf("%d records without a head: %v", n, err)
		}
		// An empty one is what a crash leaves before the first head.
		if l, err := tryOpen(path); err == nil {
			if n > 0 {
				t.Errorf("%d records without a head are opened", n)
			}
			_ = l.Close()
		}
	}
}

// TestEndlessLine: a file without lines is not read into memory.
func TestEndlessLine(t *testing.T) {
	path := sample(t, 1)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(8<<30), f.Close()); err != nil { // zeros, as after a power failure
		t.Fatal(err)
	}
	if _, err := check(path); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
}

// TestVerifyBesideWriter: a log that is being written to is as it was written.
func TestVerifyBesideWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, path)
	done := make(chan error)
	go func() {
		for range 300 {
			if err := l.Append("event", map[string]int{"a": 1}); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for n := 0; ; n++ {
		if _, err := check(path); err != nil {
			t.Fatalf("verification %d: %v", n, err)
		}
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			if n < 10 {
				t.Errorf("only %d verifications", n)
			}
			return
		default:
		}
	}
}

func FuzzVerify(f *testing.F) {
	f.Add([]byte(`{"seq":1}` + "\n"))
	f.Add([]byte("x"))
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "a")
		put(t, path, text)
		if head, err := check(path); err == nil && head.Seq > 1 {
			t.Fatalf("%d records are accepted", head.Seq)
		}
	})
}
