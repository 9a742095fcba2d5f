package spent

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func nonce(n int) string { return fmt.Sprintf("%032x", n) }

func TestSpend(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	clock := func() time.Time { return now }
	path := filepath.Join(t.TempDir(), "spent")
	open := func() *Store {
		s, err := Open(path, clock)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	if err := s.Spend(nonce(1), now.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*Store{s, open()} {
		if err := s.Spend(nonce(1), now.Add(time.Minute)); !errors.Is(err, ErrSpent) {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "x", "clock", strings.ToUpper(nonce(10)), nonce(1) + "0", nonce(1)[:31], nonce(2) + "\n"} {
		if s.Spend(bad, now) == nil {
			t.Errorf("%q is spent", bad)
		}
	}

	now = now.Add(-backwards)
	if _, err := open().Clock(); err != nil {
		t.Errorf("a small step back: %v", err)
	}
	now = now.Add(-time.Second)
	if _, err := open().Clock(); !errors.Is(err, ErrClock) {
		t.Error(err)
	}

	// Long after its expiry a nonce is forgotten, not earlier.
	now = now.Add(keep)
	s = open()
	if err := s.Spend(nonce(3), now); err != nil {
		t.Fatal(err)
	}
	if err := open().Spend(nonce(1), now); !errors.Is(err, ErrSpent) {
		t.Error(err)
	}
	now = now.Add(keep)
	if err := s.Spend(nonce(4), now); err != nil {
		t.Fatal(err)
	}
	if n := len(open().until); n != 2 {
		t.Errorf("%d nonces are remembered", n)
	}
}

// TestClockIsKept: a time that was only looked at is remembered as well.
func TestClockIsKept(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	path := filepath.Join(t.TempDir(), "spent")
	clock := func() time.Time { return now }
	s, err := Open(path, clock)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Clock(); err != nil {
		t.Fatal(err)
	}
	now = now.Add(-time.Minute)
	again, err := Open(path, clock)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*Store{s, again} {
		if _, err := s.Clock(); !errors.Is(err, ErrClock) {
			t.Errorf("the clock may go back: %v", err)
		}
	}
}

// TestCannotWrite: what cannot be remembered is not accepted, nor is anything
// after it.
func TestCannotWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spent")
	s, err := Open(path, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	file := s.file
	if s.file, err = os.Open(path); err != nil { // for reading only
		t.Fatal(err)
	}
	if s.Spend(nonce(1), time.Now()) == nil {
		t.Error("a nonce is accepted that is nowhere")
	}
	s.file = file
	if s.Spend(nonce(2), time.Now()) == nil {
		t.Error("a nonce is accepted after one that was lost")
	}
}

func TestBound(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "spent"), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	for i := range maxNonces {
		s.until[nonce(i)] = 1
	}
	if s.Spend(nonce(maxNonces), time.Now()) == nil {
		t.Error("there is no bound")
	}
}

func TestDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spent")
	good, two := line(5, nonce(1)), line(5, nonce(2))
	for text, ok := range map[string]bool{
		"": true, good: true, good + "5": true, good + two[:20]: true, good + two[:len(two)-2]: true,
		good + "\n": false, "x\n": false, "5\n": false, "x " + nonce(1) + "\n": false, "-5 " + nonce(1) + "\n": false,
		"5 x\n": false, "5  " + nonce(1) + "\n": false, "\x00\n": false, "5 " + nonce(1) + "\n": false,
		line(5, "x"): false, line(-5, nonce(1)): false, good[:len(good)-1] + "X": false,
		strings.Replace(good, "5", "6", 1): false, strings.Replace(good, "1 ", "2 ", 1): false,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path, time.Now); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestEveryFlippedBit: no damage of one bit lets a nonce count again, or sets
// the clock back.
func TestEveryFlippedBit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spent")
	now := time.Unix(1_000_000, 0)
	clock := func() time.Time { return now }
	s, err := Open(path, clock)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if err := s.Spend(nonce(i), now.Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	_ = s.Close()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range text {
		for bit := range 8 {
			damaged := bytes.Clone(text)
			damaged[i] ^= 1 << bit
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := Open(path, clock)
			if err != nil {
				continue
			}
			if s.mark < now.Unix() {
				t.Errorf("bit %d of byte %d sets the clock back to %d", bit, i, s.mark)
			}
			for n := range 3 {
				if s.Spend(nonce(n), now.Add(time.Minute)) == nil {
					t.Errorf("bit %d of byte %d frees nonce %d", bit, i, n)
				}
			}
			_ = s.Close()
		}
	}
}

// TestKilled: a nonce that was accepted before a kill is not accepted after it.
func TestKilled(t *testing.T) {
	if path := os.Getenv("SPENT_TEST_PATH"); path != "" {
		s, err := Open(path, time.Now)
		if err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		for i := 0; ; i++ {
			if err := s.Spend(nonce(i), time.Now().Add(time.Hour)); err == nil {
				fmt.Println(nonce(i))
			}
		}
	}
	path := filepath.Join(t.TempDir(), "spent")
	seen := map[string]bool{}
	for i := range 10 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), "SPENT_TEST_PATH="+path)
		var out bytes.Buffer
		cmd.Stdout = &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(20+7*i) * time.Millisecond)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		whole := out.String()[:strings.LastIndexByte(out.String(), '\n')+1]
		for _, line := range strings.Fields(whole) {
			if seen[line] || strings.HasPrefix(line, "error") {
				t.Fatalf("%s is accepted again, or: %s", line, whole)
			}
			seen[line] = true
		}
	}
	if len(seen) == 0 {
		t.Fatal("nothing was spent")
	}
}

func FuzzOpen(f *testing.F) {
	f.Add([]byte("5 " + nonce(1) + "\n5 clock\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s := &Store{until: map[string]int64{}}
		if s.parse(text) != nil {
			return
		}
		for n := range s.until {
			if !nonceForm.MatchString(n) {
				t.Fatalf("%q is a nonce", n)
			}
		}
	})
}
