package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// house are the rooms that the guard may use; outside are the modules of
// others that may be in a program that runs as root on every database machine.
// Nothing of a cloud, no workflow engine, no web framework.
var (
	house   = []string{"internal/atomicfile", "internal/gtid", "internal/dbconn", "internal/binlog", "internal/guard"}
	outside = []string{
		"cel.dev/cel-go", "cel.dev/expr", "filippo.io/edwards25519", "github.com/antlr4-go/antlr/v4",
		"github.com/go-sql-driver/mysql", "github.com/hiddeco/sshsig", "github.com/klauspost/compress",
		"github.com/spf13/cobra", "github.com/spf13/pflag", "go.yaml.in/yaml/v3", "golang.org/x/crypto",
		"golang.org/x/exp", "golang.org/x/sys", "golang.org/x/text", "golang.org/x/net", "google.golang.org/genproto/googleapis/api",
		"google.golang.org/genproto/googleapis/rpc", "google.golang.org/protobuf",
		// The interlock.
		"github.com/coreos/go-semver", "github.com/coreos/go-systemd/v22", "github.com/golang/protobuf",
		"github.com/grpc-ecosystem/grpc-gateway/v2", "go.etcd.io/etcd/api/v3", "go.etcd.io/etcd/client/pkg/v3",
		"go.etcd.io/etcd/client/v3", "go.uber.org/multierr", "go.uber.org/zap", "google.golang.org/grpc",
	}
)

func TestImportSet(t *testing.T) {
	const module = "github.com/lifeboat-db/lifeboat/"
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}} {{.Module.Path}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range strings.Lines(string(out)) {
		path, from, _ := strings.Cut(strings.TrimSpace(line), " ")
		seen++
		ours, isOurs := strings.CutPrefix(path, module)
		switch {
		case isOurs && ours == "cmd/lifeboat-guard":
		case isOurs && !slices.ContainsFunc(house, func(room string) bool { return ours == room || strings.HasPrefix(ours, room+"/") }):
			t.Errorf("the guard uses %s: it is a tree of its own", ours)
		case !isOurs && !slices.Contains(outside, from):
			t.Errorf("the guard uses %s of %s: is that needed in a program that runs as root everywhere?", path, from)
		}
	}
	if seen < 20 {
		t.Errorf("only %d packages were seen", seen)
	}
}
