package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/lifeboat-db/lifeboat/internal/guard/approval"
	"github.com/lifeboat-db/lifeboat/internal/guard/machine"
	"github.com/lifeboat-db/lifeboat/internal/guard/operation"
	"github.com/lifeboat-db/lifeboat/internal/guard/request"
	"github.com/lifeboat-db/lifeboat/internal/guard/seal"
	"github.com/lifeboat-db/lifeboat/internal/guard/ticket"
)

var (
	example = regexp.MustCompile("(?s)```json\n(.*?)\n```")
	keyLine = regexp.MustCompile("`(ssh-ed25519 [^`]+)`")
)

// page returns the example of a page of docs/format and the keys it names.
func page(t *testing.T, name string, people ...string) (text []byte, keys []seal.Key) {
	t.Helper()
	all, err := os.ReadFile("../../docs/format/" + name)
	if err != nil {
		t.Fatal(err)
	}
	m := example.FindSubmatch(all)
	if m == nil {
		t.Fatalf("%s has no example", name)
	}
	for i, k := range keyLine.FindAllSubmatch(all, -1) {
		public, err := seal.ParseKey(string(k[1]))
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, seal.Key{Name: people[i], Roles: []string{request.Role, approval.Role}, PublicKey: public})
	}
	if len(keys) != len(people) {
		t.Fatalf("%s has %d keys, want %d", name, len(keys), len(people))
	}
	return m[1], keys
}

// TestFormatPages: the examples of the format pages are what the pages say.
func TestFormatPages(t *testing.T) {
	noon := time.Date(2026, 1, 2, 12, 1, 0, 0, time.UTC)
	uuid := "4c4c4544-0042-3510-8052-b4c04f4d3432"
	id := machine.Identity{Target: machine.Target{MachineID: strings.Repeat("a", 32), DMIUUID: uuid, HostKey: "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"}}
	argv := []string{"/usr/bin/systemctl", "reboot"}

	text, keys := page(t, "guard-request.md", "alice")
	r, err := request.Verify(text, keys, request.Want{Identity: id, Operation: operation.Reboot, Argv: argv, Now: noon})
	if err != nil || r.Issuer != "alice" {
		t.Errorf("%+v %v", r, err)
	}
	text, keys = page(t, "guard-approval.md", "bob", "carol")
	o, by, err := approval.Verify(text, keys, approval.Want{Identity: id, Operation: operation.Reboot, Argv: argv, Requester: "alice", Now: noon})
	if err != nil || len(by) != 2 {
		t.Errorf("%+v %v %v", o, by, err)
	}
	text, keys = page(t, "guard-ticket.md", "guard")
	known := []ticket.Known{{MachineID: id.MachineID, DMIUUID: uuid, GuardKey: string(ssh.MarshalAuthorizedKey(keys[0].PublicKey))}}
	if tk, err := ticket.Verify(text, known, ticket.Want{UUID: uuid, Now: noon}); err != nil {
		t.Errorf("%+v %v", tk, err)
	}
}
