package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/guard/gate"
	"github.com/lifeboat-db/lifeboat/internal/guard/policy"
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

// TestNextStep: an override is offered only where it can help.
func TestNextStep(t *testing.T) {
	for _, c := range []struct {
		denial policy.Denial
		want   string
	}{
		{policy.Denial{Code: "next-boot", Class: policy.Unknown, Waivable: true}, "override"},
		{policy.Denial{Code: "visibility", Class: policy.Unknown}, "cannot be waived"},
		{policy.Denial{Code: "command", Class: policy.RuleClass}, "cannot be waived"},
		{policy.Denial{Code: "request", Class: policy.Signature, Summary: "override: the nonce has been used before"}, "approve --help"},
		{policy.Denial{Code: "request", Class: policy.Signature, Summary: "signature 1: no"}, "request --help"},
	} {
		r := gate.Result{Verdict: gate.Refused, Class: c.denial.Class, Decision: policy.Decision{Denials: []policy.Denial{c.denial}}}
		if got := nextStep(r); !strings.Contains(got, c.want) {
			t.Errorf("%+v: %q", c.denial, got)
		}
	}
}

// TestManyOfOne: the locks of a thousand tables are not a thousand lines.
func TestManyOfOne(t *testing.T) {
	for n, want := range map[int]string{1: "", 6: "", 7: "and 3 more", 1000: "and 996 more"} {
		r := gate.Result{Verdict: gate.Refused, Class: policy.Live}
		for range n {
			r.Decision.Denials = append(r.Decision.Denials, policy.Denial{Code: "engine-lock"})
		}
		r.Decision.Denials = append(r.Decision.Denials, policy.Denial{Code: "server-source"})
		var b strings.Builder
		if err := summarize(&b, r); err != nil {
			t.Fatal(err)
		}
		got := b.String()
		if !strings.Contains(got, want) || want == "" && strings.Contains(got, " more ") || !strings.Contains(got, "server-source") || strings.Count(got, "\n") > 9 {
			t.Errorf("%d: %s", n, got)
		}
	}
}
