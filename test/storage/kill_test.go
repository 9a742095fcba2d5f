package storage_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/repository/store"
	"github.com/lifeboat-db/lifeboat/internal/repository/store/storetest"
)

// writerOptions is the environment of a writer that is to be killed.
const writerOptions = "LIFEBOAT_TEST_WRITER"

// TestKilledPut: a writer that is killed in the midst of a put of some megabytes
// leaves nothing that is seen: each object is there as a whole or not at all.
// What it has left in a directory is swept away; a bucket has nothing, as there
// are no multipart uploads.
func TestKilledPut(t *testing.T) {
	if text := os.Getenv(writerOptions); text != "" {
		writeUntilKilled(t, text)
	}
	r := random(t)
	bucket := storetest.Versitygw(t).Options(t)
	for name, o := range map[string]store.Options{"directory": {URL: t.TempDir()}, "S3": bucket} {
		t.Run(name, func(t *testing.T) {
			s := storetest.OpenStore(t, o)
			for n := range kills {
				killWriter(t, o, fmt.Sprintf("r%d", n), time.Duration(r.IntN(150))*time.Millisecond)
			}
			names := storetest.Names(t, s, "")
			for _, name := range names {
				if got, err := s.Get(t.Context(), name); err != nil || !bytes.Equal(got, content(name)) {
					t.Errorf("%s: %d bytes, %v", name, len(got), err)
				}
			}
			t.Logf("%d writers were killed, %d objects are there", kills, len(names))
			if name == "directory" {
				sweep(t, o.URL, s, len(names))
			}
		})
	}
}

// sweep checks that half a day later only objects are there.
func sweep(t *testing.T, dir string, s store.Store, objects int) {
	t.Helper()
	then := time.Now().Add(-13 * time.Hour)
	files := func() (list []string) {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				list = append(list, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	before := files()
	for _, path := range before {
		if err := os.Chtimes(path, then, then); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d temporary files are left", len(before)-objects)
	sweeper, ok := s.(store.Sweeper)
	if !ok {
		t.Fatal("nobody sweeps")
	}
	if err := sweeper.Sweep(t.Context()); err != nil {
		t.Error(err)
	}
	if left := len(files()) - objects; left != 0 {
		t.Errorf("%d are there half a day later", left)
	}
}

// content is what the object of a name holds.
func content(name string) []byte {
	var seed uint64
	for _, c := range name {
		seed = seed*31 + uint64(c)
	}
	return storetest.Bytes(seed, int(1<<20+seed%(3<<20)))
}

func writeUntilKilled(t *testing.T, text string) {
	t.Helper()
	var o store.Options
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		t.Fatal(err)
	}
	s := storetest.OpenStore(t, o)
	fmt.Println("ready")
	for n := 0; ; n++ {
		name := fmt.Sprintf("%s/%d", os.Getenv("LIFEBOAT_TEST_FOLDER"), n)
		storetest.MustPut(t, s, name, content(name))
	}
}

// killWriter starts a writer and kills it after a while.
func killWriter(t *testing.T, o store.Options, folder string, while time.Duration) {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run", "^TestKilledPut$")
	cmd.Env = append(os.Environ(), writerOptions+"="+string(text), "LIFEBOAT_TEST_FOLDER="+folder)
	out, err := cmd.StdoutPipe()
	if err := errors.Join(err, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 6)); err != nil {
		t.Error(err)
	}
	time.Sleep(while)
	_ = cmd.Process.Kill() // it goes on until then
	_ = cmd.Wait()
}
