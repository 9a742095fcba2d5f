package main

import (
	"slices"
	"strings"
	"testing"
)

func TestSplitForced(t *testing.T) {
	for text, want := range map[string]string{
		"status":                "status",
		"lifeboat-guard status": "status",
		"check wipe --explain":  "check|wipe|--explain",
		"exec  wipe --device /dev/vdb --request - -- /usr/sbin/wipefs -a /dev/vdb": "exec|wipe|--device|/dev/vdb|--request|-|--|/usr/sbin/wipefs|-a|/dev/vdb",
		"exec wipe --request=- -- /bin/true --socket /x":                           "exec|wipe|--request=-|--|/bin/true|--socket|/x",
	} {
		words, err := splitForced(text)
		if got := strings.Join(words, "|"); got != want || err != nil {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", " ", "lifeboat-guard", "sh", "agent", "approve", "audit verify", "ssh", "/usr/bin/lifeboat-guard status",
		"status; rm -rf /", "status && reboot", "status | sh", "status > /etc/passwd", "status $(reboot)", "status `reboot`",
		"status 'x'", `status "x"`, "status\nreboot", "status\treboot", "status \\x", "status *", "status ~", "status #x", "status é", "status \x00",
		"status --socket /tmp/x", "check wipe --socket=/tmp/x", "exec wipe --request /etc/shadow -- /bin/true",
		"exec wipe --override=/etc/shadow -- /bin/true", "exec wipe --request", "-h", "--help", strings.Repeat("x", maxForced+1),
		"exec reboot --device -- --socket=/tmp/nope --request=/etc/hostname -- /usr/bin/systemctl reboot",
		"exec reboot --device --socket=/tmp/nope -- /bin/true", "check wipe - --socket /tmp/x", "check wipe -x", "check wipe --socket -", "status --state=-",
		"exec reboot --request -- --socket=/tmp/nope -- /bin/true",
		"internal-sftp", "/usr/lib/openssh/sftp-server", "scp -t /tmp",
	} {
		if words, err := splitForced(text); err == nil {
			t.Errorf("%.80q is taken as %q", text, words)
		}
	}
}

// FuzzSplitForced: what is taken has one of three verbs, plain words, and no
// flag that names a file.
func FuzzSplitForced(f *testing.F) {
	f.Add("exec wipe --request - -- /bin/true")
	f.Add("status;reboot")
	f.Fuzz(func(t *testing.T, text string) {
		words, err := splitForced(text)
		if err != nil {
			return
		}
		if !slices.Contains(forcedVerbs, words[0]) || strings.ContainsAny(text, ";|&$`<>(){}[]*?~#!'\"\\\n\r\t\x00") {
			t.Fatalf("%q is taken as %q", text, words)
		}
	})
}
