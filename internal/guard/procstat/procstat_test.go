package procstat

import (
	"os"
	"slices"
	"testing"
)

func TestParse(t *testing.T) {
	const text = "7 (a) b (c)) S 3 1 5 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 9"
	if s, err := Parse([]byte(text)); err != nil || s != (Stat{Name: "a) b (c)", State: 'S', Parent: 3, Session: 5, Start: 4242}) {
		t.Errorf("%+v %v", s, err)
	}
	for _, bad := range []string{"", "7 x", "7 (a) S 3", "7 (a) SS 3 1 5 0 -1 0 1 2 3 4 5 6 7 8 20 0 1 0 4242 9", "7 (a) S x 1 5 0 -1 0 1 2 3 4 5 6 7 8 20 0 1 0 4242 9",
		"7 (a) S 3 1 5 0 -1 x 1 2 3 4 5 6 7 8 20 0 1 0 4242 9", "7 (a) S 3 1 5 0 -1 0 1 2 3 4 5 6 7 8 20 0 1 0 x 9", ")7 (a S 3"} {
		if s, err := Parse([]byte(bad)); err == nil {
			t.Errorf("%q: %+v", bad, s)
		}
	}
}

func TestRead(t *testing.T) {
	pid := os.Getpid()
	s, err := Read("/proc", pid)
	if err != nil || s.Parent != os.Getppid() || s.Start == 0 || s.Kernel {
		t.Errorf("%+v %v", s, err)
	}
	if _, err := Read("/proc", 1<<30); !os.IsNotExist(err) {
		t.Errorf("of nobody: %v", err)
	}
	pids, err := IDs("/proc")
	if err != nil || !slices.Contains(pids, pid) || !slices.IsSorted(pids) {
		t.Errorf("%v %v", pids, err)
	}
	if _, err := IDs(t.TempDir() + "/none"); err == nil {
		t.Error("processes of nowhere")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("mysqld", "")
	f.Add("a) S 1 (b", "x")
	f.Add("\n)\n", "2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 7 0 0")
	f.Add("", "7 (a) S 3 1")
	f.Fuzz(func(t *testing.T, comm, raw string) {
		st, err := Parse([]byte("7 (" + comm + ") S 1 2 3 4 5 2097152 7 8 9 10 11 12 13 14 15 16 17 18 12345 20 21\n"))
		if err != nil || st.Name != comm || st.Start != 12345 || st.State != 'S' || !st.Kernel || st.Parent != 1 || st.Session != 3 {
			t.Errorf("%q: %+v %v", comm, st, err)
		}
		_, _ = Parse([]byte(raw))
	})
}
