package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestEmptyRequest: a file without a request is not the same as no request.
func TestEmptyRequest(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "request.json")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, f := range []askFlags{{request: empty}, {override: empty}} {
		if _, err := f.ask("reboot", []string{"/bin/true"}); exitCode(err) != codeSignature {
			t.Errorf("%+v: %v", f, err)
		}
	}
	if _, err := (&askFlags{}).ask("reboot", []string{"/bin/true"}); err != nil {
		t.Error(err)
	}
}

// TestAuditWithoutVerify: what has verified nothing does not end with 0.
func TestAuditWithoutVerify(t *testing.T) {
	for _, args := range [][]string{{}, {"verfy"}, {"verify", "--head", "12"}, {"verify", "x"}} {
		c := auditCommand()
		c.SetArgs(args)
		c.SilenceErrors, c.SilenceUsage = true, true
		if err := c.ExecuteContext(t.Context()); exitCode(err) != codeUsage {
			t.Errorf("%q: %v", args, err)
		}
	}
}
