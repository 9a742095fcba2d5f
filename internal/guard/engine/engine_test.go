package engine

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

var update = flag.Bool("update", false, "write testdata/heads.txt anew from the installed servers")

const headsFile = "testdata/heads.txt"

// TestClassifyRealHeads reads heads taken from real files: server, path, class
// and bytes a line.
func TestClassifyRealHeads(t *testing.T) {
	if *update {
		t.Skip("being written")
	}
	f, err := os.Open(headsFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	seen := map[Class]int{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		field := strings.Split(lines.Text(), "\t")
		head, err := hex.DecodeString(field[3])
		if err != nil {
			t.Fatal(err)
		}
		got := Classify(head)
		seen[got]++
		if string(got) != field[2] {
			t.Errorf("%s %s: %q, want %q", field[0], field[1], got, field[2])
		}
	}
	for _, c := range []Class{BinaryLog, SystemSpace, Tablespace, RedoLog, AriaControl, AriaLog, AriaIndex, MyISAMIndex, Definition, Identity} {
		if seen[c] == 0 {
			t.Errorf("no real file of class %q", c)
		}
	}
}

// headless are files of a data directory that no first byte tells, and that no
// name needs to: nothing is lost with them alone, or others stand beside them.
func headless(rel string) bool {
	base := filepath.Base(rel)
	return slices.Contains([]string{".pem", ".index", ".idx", ".CSM", ".opt", ".info", ".log", ".err", ".state"}, filepath.Ext(base)) ||
		slices.Contains([]string{"ib_buffer_pool", "mysql_upgrade_history", "mariadb_upgrade_info", "mysql_upgrade_info"}, base)
}

// TestRealServers classifies every file of a running server of each kind.
func TestRealServers(t *testing.T) {
	var heads []string
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		i := servertest.Start(t, d, "--log-bin=binlog", "--relay-log=relay")
		servertest.Exec(t, servertest.Open(t, i, ""), tables(d)...)
		wanted := map[string]bool{}
		err := filepath.WalkDir(i.DataDir(), func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return nil
			}
			rel, _ := filepath.Rel(i.DataDir(), path)
			head := readHead(t, path)
			class, name := Classify(head), ByName(path)
			if class == None && name == None && !headless(rel) {
				t.Errorf("%s: neither bytes nor name tell what it is: %x", rel, head)
			}
			key := fmt.Sprint(class, filepath.Ext(rel))
			if class != None && !wanted[key] {
				wanted[key] = true
				heads = append(heads, fmt.Sprintf("%s\t%s\t%s\t%x", d.Name, rel, class, head))
			}
			if base := filepath.Base(rel); (base == "ibdata1" && class != SystemSpace) || (base == "aria_log_control" && class != AriaControl) ||
				(strings.HasPrefix(base, "undo") && class != Tablespace) || (base == "binlog.000001" && class != BinaryLog) {
				t.Errorf("%s: %q", rel, class)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	if *update && !t.Failed() {
		if err := os.WriteFile(headsFile, []byte(strings.Join(heads, "\n")+"\n"), 0o644); err != nil {
			t.Error(err)
		}
	}
}

func tables(d server.Distribution) []string {
	s := []string{
		"create database t", "use t",
		"create table a (i int primary key, b longtext)", "insert into a values (1, repeat('x', 10000))",
		"create table m (i int) engine=myisam", "insert into m values (1)",
		"create table c (i int not null) engine=csv",
		"create view v as select * from a",
	}
	if d.Flavor == server.MySQL {
		return append(s, "create table p (i int primary key, b longtext) compression='zlib'",
			"create undo tablespace u2 add datafile 'u2.ibu'", "create tablespace ts add datafile 'ts.ibd'")
	}
	return append(s, "create table s (i int) engine=aria", "create sequence sq",
		"create table p (i int primary key, b longtext) page_compressed=1", "insert into p values (1, repeat('a', 10000))",
		"create table z (i int primary key, b longtext) row_format=compressed key_block_size=4",
		"flush tables a, p, z for export", "unlock tables")
}

func readHead(t testing.TB, path string) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil // the server has removed it since
	}
	defer f.Close()
	head := make([]byte, HeadSize)
	n, err := io.ReadFull(f, head)
	if err != nil && n == 0 && !errors.Is(err, io.EOF) {
		t.Logf("%s: %v", path, err)
	}
	return head[:n]
}

// TestNothingOfTheSystem: no file of the operating system is an engine's.
func TestNothingOfTheSystem(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	files := 0
	for _, root := range []string{"/etc", "/usr/bin", "/usr/lib", "/usr/share"} {
		_ = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if ctx.Err() != nil {
				return fs.SkipAll
			}
			if err != nil || !e.Type().IsRegular() {
				return nil
			}
			files++
			if c := Classify(readHead(t, path)); c != None {
				t.Errorf("%s is taken for a %s", path, c)
			}
			return nil
		})
	}
	if files < 100 {
		t.Errorf("only %d files looked at", files)
	}
}

func TestByName(t *testing.T) {
	for name, want := range map[string]Class{
		"/d/ibdata1": SystemSpace, "ibdata1 (deleted)": SystemSpace, "/d/mysql.ibd": Tablespace, "undo_001": Tablespace, "undo001": Tablespace,
		"t/a.ibd": Tablespace, "a#P#p0.ibd": Tablespace, "ib_logfile0": RedoLog, "#ib_redo12": RedoLog, "#ib_redo12_tmp": RedoLog,
		"#ib_16384_0.dblwr": DoubleWrite, "#ib_16384_0.bdblwr": DoubleWrite, "aria_log_control": AriaControl, "aria_log.00000001": AriaLog,
		"auto.cnf": Identity, "x.MAI": AriaIndex, "x.MYI": MyISAMIndex, "x.MYD": TableData, "x.frm": Definition, "x_12.sdi": Definition,
		"#rocksdb": RocksDB, "binlog.000001": BinaryLog, "relay-bin.0000001": BinaryLog, "temp_1.ibt": Tablespace,
		"": None, "/": None, "passwd": None, "libfoo.so.6": None, "myibdata1.txt": None, "log.1": None,
	} {
		if got := ByName(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if Definition.Strong() == TableData.Strong() || None.Strong() || RocksDB.Strong() || DoubleWrite.Strong() {
		t.Error("strong and name-only classes are not told apart")
	}
}

// FuzzClassify: no bytes make it panic, and what it says is strong.
func FuzzClassify(f *testing.F) {
	f.Add([]byte("\xfebin"))
	f.Add([]byte("\xfe\xfe\x0c"))
	f.Add(make([]byte, HeadSize))
	f.Fuzz(func(t *testing.T, head []byte) {
		if c := Classify(head); c != None && !c.Strong() {
			t.Fatalf("%x is %q", head, c)
		}
	})
}

// TestRandomBytes: a disk of random bytes, such as an encrypted one, is not
// taken for files of Aria because of three bytes.
func TestRandomBytes(t *testing.T) {
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(uint64(seed), 0))
	head := make([]byte, HeadSize)
	found := 0
	for range 100_000 {
		for i := range head {
			head[i] = byte(r.Uint32())
		}
		copy(head, []string{"\xfe\xfe\x0c", "\xfe\xfe\x09"}[r.IntN(2)])
		if Classify(head) != None {
			found++
		}
	}
	if found > 20 { // 0.06 are to be expected
		t.Errorf("%d of 100,000 random heads behind Aria's magic are taken for its files", found)
	}
}
