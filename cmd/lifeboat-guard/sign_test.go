package main

import (
	"bytes"
	"crypto/ed25519"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"
)

// TestNothingInVain: what no guard would accept is not signed.
func TestNothingInVain(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key := func(name string) string {
		_, private, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		block, err := ssh.MarshalPrivateKey(private, "")
		if err != nil {
			t.Fatal(err)
		}
		return file(name, string(pem.EncodeToMemory(block)))
	}
	bob, carol := key("bob"), key("carol")
	identity := file("db.json", `{"machine_id":"a"}`)
	refusal := file("refusal.json", `{"verdict":"refused","operation":"reboot","argv":["/bin/true"],"requester":"root","evidence":"00","decision":{"denials":[
		{"code":"next-boot","waivable":true},{"code":"visibility"}]}}`)
	run := func(c *cobra.Command, args ...string) (string, int) {
		var out bytes.Buffer
		root := &cobra.Command{Use: "lifeboat-guard", SilenceErrors: true, SilenceUsage: true}
		root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err) })
		root.AddCommand(c)
		root.SetArgs(append([]string{c.Name()}, args...))
		root.SetOut(&out)
		root.SetErr(&bytes.Buffer{})
		code := exitCode(root.ExecuteContext(t.Context()))
		return out.String(), code
	}
	ask := []string{"reboot", "--target", identity, "--issuer", "bob", "--reason", "r", "--key", bob}
	for valid, want := range map[string]int{"10m": codeRan, "1h": codeUsage, "0": codeUsage, "-1m": codeUsage} {
		if _, code := run(requestCommand(), append(ask, "--valid", valid, "--", "/bin/true")...); code != want {
			t.Errorf("request --valid %s: %d", valid, code)
		}
	}
	for waive, want := range map[string]int{"next-boot": codeRan, "visibility": codeUsage, "nonsense": codeUsage} {
		if _, code := run(approveCommand(), refusal, "--waive", waive, "--reason", "r", "--key", bob); code != want {
			t.Errorf("approve --waive %s: %d", waive, code)
		}
	}
	if _, code := run(approveCommand(), refusal, "--waive", "next-boot", "--reason", "r", "--key", bob, "--valid", "3h"); code != codeUsage {
		t.Errorf("approve --valid 3h: %d", code)
	}
	half, _ := run(approveCommand(), refusal, "--waive", "next-boot", "--reason", "r", "--key", bob)
	first := file("half.json", half)
	for second, want := range map[string]int{bob: codeFailed, carol: codeRan} {
		if _, code := run(approveCommand(), refusal, "--onto", first, "--key", second); code != want {
			t.Errorf("%s signs: %d", filepath.Base(second), code)
		}
	}
	if _, code := run(requestCommand(), "attach", "--payload", identity, "--public-key", file("bob.pub", "x"), refusal); code != codeFailed {
		t.Errorf("attach: %d", code)
	}
	if _, code := run(requestCommand(), "attach", refusal); code != codeUsage {
		t.Errorf("attach without flags: %d", code)
	}
}
