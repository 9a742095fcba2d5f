package main

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/lifeboat-db/lifeboat/internal/guard/agent"
	"github.com/lifeboat-db/lifeboat/internal/guard/approval"
	"github.com/lifeboat-db/lifeboat/internal/guard/audit"
	"github.com/lifeboat-db/lifeboat/internal/guard/gate"
	"github.com/lifeboat-db/lifeboat/internal/guard/machine"
	"github.com/lifeboat-db/lifeboat/internal/guard/operation"
	"github.com/lifeboat-db/lifeboat/internal/guard/request"
	"github.com/lifeboat-db/lifeboat/internal/guard/seal"
	"github.com/lifeboat-db/lifeboat/internal/guard/strictjson"
)

var noOutput gate.Output

func identityCommand() *cobra.Command {
	var socket string
	c := &cobra.Command{
		Use:   "identity",
		Short: "Print who this machine is, for requests and manifests",
		Long: `Prints the machine's identity as JSON: what a request must name as its target,
and the guard's public key, which a set's manifest holds.`,
		Example: `  lifeboat-guard identity > db17.json`,
		Args:    exactArgs(0, "identity takes no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := askStatus(c, socket)
			if err != nil {
				return err
			}
			return printJSON(c.OutOrStdout(), s.Machine)
		},
	}
	c.Flags().StringVar(&socket, "socket", agent.SocketPath, "the agent's socket")
	return c
}

func requestCommand() *cobra.Command {
	var target, key, issuer, ticket, reason string
	var devices []string
	var valid time.Duration
	c := &cobra.Command{
		Use:   "request OPERATION --target IDENTITY --issuer NAME --reason TEXT --key FILE [flags] -- COMMAND [ARGUMENT...]",
		Short: "Make a signed request for one machine, one command, once",
		Long: `Makes a signed request and prints it. It counts for the machine whose identity
file is given, for exactly this command, once, and for a few minutes. The key is
an unencrypted OpenSSH ed25519 private key. For other keys (touch-required ones
too) make the payload with --key omitted, sign it with ssh-keygen -Y sign -n ` + request.Namespace + `,
and put both together with "attach".`,
		Example: `  lifeboat-guard request reboot --target db17.json --issuer alice --reason "kernel 6.18" \
      --key ~/.ssh/id_ed25519 -- /usr/bin/systemctl reboot > request.json`,
		RunE: func(c *cobra.Command, args []string) error {
			if c.ArgsLenAtDash() != 1 || len(args) < 2 {
				return usagef("request wants one operation, two hyphens, and the command")
			}
			op, err := operation.Parse(args[0])
			if err != nil {
				return usage(err)
			}
			if issuer == "" || reason == "" || target == "" {
				return usagef("--target, --issuer and --reason are needed")
			}
			if err := checkValid(valid, longestRequest); err != nil {
				return err
			}
			who, err := readTarget(target)
			if err != nil {
				return err
			}
			now := time.Now().UTC().Truncate(time.Second)
			payload := request.Request{
				Version: request.Version, Operation: op, ArgvSHA256: operation.ArgvDigest(args[1:]), Devices: devices,
				Target: who, Nonce: request.NewNonce(), NotBefore: now.Add(-5 * time.Second), Expires: now.Add(valid), Issuer: issuer,
				Ticket: ticket, Reason: reason,
			}
			return signNew(c.OutOrStdout(), request.Namespace, payload, key)
		},
	}
	c.Flags().StringVar(&target, "target", "", "file with the machine's identity (lifeboat-guard identity)")
	c.Flags().StringVar(&key, "key", "", "OpenSSH ed25519 private key; without it only the payload is printed")
	c.Flags().StringVar(&issuer, "issuer", "", "name of the key's owner in the machine's configuration")
	c.Flags().StringVar(&ticket, "ticket", "", "your own reference, for the audit log")
	c.Flags().StringVar(&reason, "reason", "", "why, for the audit log")
	c.Flags().StringArrayVar(&devices, "device", nil, "as given to exec")
	c.Flags().DurationVar(&valid, "valid", 10*time.Minute, "how long it counts, at most "+longestRequest.String())
	c.AddCommand(attachCommand())
	return c
}

// readIdentity reads what lifeboat-guard identity prints.
func readIdentity(path string) (m agent.Machine, err error) {
	text, err := readSmall(path)
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, fmt.Errorf("%s: %w", path, err)
	}
	if m.MachineID == "" {
		return m, fmt.Errorf("%s is not what lifeboat-guard identity prints", path)
	}
	return m, nil
}

func readTarget(path string) (machine.Target, error) {
	m, err := readIdentity(path)
	if err != nil {
		return machine.Target{}, err
	}
	return machine.Target{MachineID: m.MachineID, DMIUUID: m.DMIUUID, HostKey: m.HostKey}, nil
}

// signNew prints a sealed payload, or the bare payload if there is no key.
func signNew(w io.Writer, namespace string, v any, keyFile string) error {
	payload, err := strictjson.Encode(v)
	if err != nil {
		return err
	}
	if keyFile == "" {
		_, err := w.Write(payload)
		return err
	}
	return signOnto(w, namespace, seal.Envelope{Payload: payload}, keyFile)
}

func signOnto(w io.Writer, namespace string, e seal.Envelope, keyFile string) error {
	key, err := readPrivateKey(keyFile)
	if err != nil {
		return err
	}
	s, err := seal.Sign(namespace, e.Payload, key)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(e.Signatures, func(has seal.Signature) bool { return has.Key == s.Key }) {
		return fmt.Errorf("it has the signature of %s already: another person must sign", keyFile)
	}
	e.Signatures = append(e.Signatures, s)
	return printEnvelope(w, e)
}

func printEnvelope(w io.Writer, e seal.Envelope) error {
	text, err := e.Encode()
	if err != nil {
		return err
	}
	_, err = w.Write(append(text, '\n'))
	return err
}

func readPrivateKey(path string) (crypto.Signer, error) {
	text, err := readSmall(path)
	if err != nil {
		return nil, err
	}
	raw, err := ssh.ParseRawPrivateKey(text)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w (sign with ssh-keygen -Y sign and \"request attach\" instead)", path, err)
	}
	key, ok := raw.(*ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("key %s is not an ed25519 key: sign with ssh-keygen -Y sign and \"request attach\" instead", path)
	}
	return key, nil
}

func attachCommand() *cobra.Command {
	var payloadFile, public string
	c := &cobra.Command{
		Use:   "attach --payload FILE --public-key FILE SIGNATURE",
		Short: "Put a payload and a signature of ssh-keygen together",
		Long: `Puts a payload and a signature of ssh-keygen -Y sign together, and prints the
result. The namespace (-n) depends on what is signed: ` + request.Namespace + ` for a
request, ` + approval.Namespace + ` for an override. For a second signature --payload is
the half that the first person has made; the second signs the bare payload, as
"approve --onto half.json" without --key prints it. Nothing is verified here: the
machine does.`,
		Example: `  lifeboat-guard request reboot ... -- /usr/bin/systemctl reboot > payload
  ssh-keygen -Y sign -n ` + request.Namespace + ` -f ~/.ssh/id_ecdsa_sk payload
  lifeboat-guard request attach --payload payload --public-key ~/.ssh/id_ecdsa_sk.pub payload.sig > request.json`,
		Args: exactArgs(1, "attach wants one signature file"),
		RunE: func(c *cobra.Command, args []string) error {
			if payloadFile == "" || public == "" {
				return usagef("--payload and --public-key are needed")
			}
			var e seal.Envelope
			payload, err := readSmall(payloadFile)
			if err != nil {
				return err
			}
			if e, err = seal.Parse(payload); err != nil { // not yet an envelope
				e = seal.Envelope{Payload: payload}
			}
			line, err := readSmall(public)
			if err != nil {
				return err
			}
			key, err := seal.ParseKey(string(line))
			if err != nil {
				return err
			}
			armored, err := readSmall(args[0])
			if err != nil {
				return err
			}
			if !bytes.HasPrefix(armored, []byte("-----BEGIN SSH SIGNATURE-----")) {
				return fmt.Errorf("%s is no signature of ssh-keygen -Y sign", args[0])
			}
			e.Signatures = append(e.Signatures, seal.Signature{Format: seal.SSHSIG, Key: ssh.FingerprintSHA256(key), Value: string(armored)})
			return printEnvelope(c.OutOrStdout(), e)
		},
	}
	c.Flags().StringVar(&payloadFile, "payload", "", "the signed payload, or an envelope that gets one more signature")
	c.Flags().StringVar(&public, "public-key", "", "the signer's public key")
	return c
}

func approveCommand() *cobra.Command {
	var onto, key, reason string
	var waives []string
	var valid time.Duration
	c := &cobra.Command{
		Use:   "approve REFUSAL --waive CODE... --reason TEXT --key FILE",
		Short: "Approve an override of one refusal; it takes two people",
		Long: `Approves that a refusal is waived, once. REFUSAL is what exec --json has printed.
The first person makes the override, the second adds a signature to it (--onto).
Neither may be the one who asks. The override counts only as long as the machine
shows the same evidence, for the same command, and for at most an hour. Live data
can never be waived while the set does not answer, and what the machine could
not see cannot be waived at all.`,
		Example: `  lifeboat-guard exec reinstall --json -- /usr/local/sbin/reinstall-now > refusal.json
  lifeboat-guard approve refusal.json --waive data-at-rest --reason "a test copy" --key bob > half.json
  lifeboat-guard approve refusal.json --onto half.json --key carol > override.json
  lifeboat-guard exec reinstall --override override.json -- /usr/local/sbin/reinstall-now`,
		Args: exactArgs(1, "approve wants the file with the refusal"),
		RunE: func(c *cobra.Command, args []string) error {
			refusal, err := readRefusal(args[0])
			if err != nil {
				return err
			}
			if onto != "" {
				return approveSecond(c, refusal, onto, key)
			}
			if reason == "" {
				return usagef("--reason is needed")
			}
			if err := errors.Join(approval.CheckWaives(waives), denied(refusal, waives)); err != nil {
				return usage(fmt.Errorf("--waive: %w", err))
			}
			if err := checkValid(valid, longestApproval); err != nil {
				return err
			}
			now := time.Now().UTC().Truncate(time.Second)
			o := approval.Override{
				Version: approval.Version, Operation: refusal.Operation, ArgvSHA256: operation.ArgvDigest(refusal.Argv),
				Devices: refusal.Scope.Devices, Target: refusal.Target, Evidence: refusal.Evidence, Waives: waives,
				Requester: refusal.Requester, Nonce: request.NewNonce(), Made: now.Add(-5 * time.Second), Expires: now.Add(valid), Reason: reason,
			}
			return signNew(c.OutOrStdout(), approval.Namespace, o, key)
		},
	}
	c.Flags().StringVar(&onto, "onto", "", "the override that the first person has made")
	c.Flags().StringVar(&key, "key", "", "OpenSSH ed25519 private key; without it only the payload is printed (see request attach)")
	c.Flags().StringVar(&reason, "reason", "", "why, for the audit log")
	c.Flags().StringArrayVar(&waives, "waive", nil, "code of a denial, as the refusal names it (repeatable)")
	c.Flags().DurationVar(&valid, "valid", 30*time.Minute, "how long it counts, at most "+longestApproval.String())
	return c
}

// denied says what of the codes cannot be waived in this refusal: nobody is to
// sign what will not count.
func denied(refusal gate.Result, codes []string) error {
	can := []string{}
	for _, d := range refusal.Decision.Denials {
		if d.Waivable && !slices.Contains(can, d.Code) {
			can = append(can, d.Code)
		}
	}
	for _, code := range codes {
		if !slices.Contains(can, code) {
			return fmt.Errorf("%q is not among what can be waived of this refusal: %q", code, can)
		}
	}
	return nil
}

// How long what is signed may count, less than the guards' own limits: clocks
// differ.
const (
	longestRequest  = 14*time.Minute + 50*time.Second
	longestApproval = 59 * time.Minute
)

func checkValid(valid, longest time.Duration) error {
	if valid <= 0 || valid > longest {
		return usagef("--valid must be more than 0 and at most %s", longest)
	}
	return nil
}

func readRefusal(path string) (gate.Result, error) {
	text, err := readSmall(path)
	if err != nil {
		return gate.Result{}, err
	}
	var r gate.Result
	if err := json.Unmarshal(text, &r); err != nil {
		return gate.Result{}, fmt.Errorf("%s: %w", path, err)
	}
	if r.Verdict != gate.Refused || r.Evidence == "" || r.Requester == "" {
		return gate.Result{}, fmt.Errorf("%s is not a refusal of exec --json that came after a look at the machine: there is nothing to approve", path)
	}
	return r, nil
}

// approveSecond shows what the first person has approved, and signs it only if
// it is for this refusal.
func approveSecond(c *cobra.Command, refusal gate.Result, onto, key string) error {
	text, err := readSmall(onto)
	if err != nil {
		return err
	}
	e, err := seal.Parse(text)
	if err != nil {
		return err
	}
	var o approval.Override
	if err := strictjson.Decode(e.Payload, &o); err != nil {
		return fmt.Errorf("%s: %w", onto, err)
	}
	if o.Evidence != refusal.Evidence || o.ArgvSHA256 != operation.ArgvDigest(refusal.Argv) || o.Target != refusal.Target || o.Operation != refusal.Operation {
		return fmt.Errorf("%s is not for the refusal that you have looked at", onto)
	}
	fmt.Fprintf(c.ErrOrStderr(), "lifeboat-guard: you approve %s of machine %s for %s, waiving %v, until %s: %s\n",
		o.Operation, o.Target.MachineID, o.Requester, o.Waives, o.Expires.Format(time.RFC3339), o.Reason)
	if key == "" {
		_, err := c.OutOrStdout().Write(e.Payload)
		return err
	}
	return signOnto(c.OutOrStdout(), approval.Namespace, e, key)
}

func auditCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "audit",
		Short: "Verify the audit log",
		Args:  exactArgs(0, "audit wants verify"),
		RunE:  func(*cobra.Command, []string) error { return usagef("audit wants verify") },
	}
	var state, publicKey, head string
	verify := &cobra.Command{
		Use:   "verify",
		Short: "Find any edit of the audit log",
		Long: `Reads the whole log and says where it is not what the guard has written. A head
that was noted elsewhere (from status, or from the set) can be given, to find
that the log was replaced together with its own head. The log itself is
STATE/audit.log, a record of JSON a line.

Exit codes: 0 every record is as it was written; 1 it is not, or cannot be read;
2 usage.`,
		Example: `  lifeboat-guard audit verify
  lifeboat-guard audit verify --state copy/ --public-key db17.pub
  tail -n 2 /var/lib/lifeboat-guard/audit.log | jq .     # what was done last`,
		Args: exactArgs(0, "audit verify takes no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if head != "" && len(head) != 64 {
				return usagef("--head is not a hash of 64 hexadecimal digits")
			}
			key, err := auditKey(state, publicKey)
			if err != nil {
				return err
			}
			h, err := audit.Verify(filepath.Join(state, "audit.log"), key)
			if err != nil {
				return err
			}
			if head != "" && h.Hash != head {
				found, err := holdsRecord(filepath.Join(state, "audit.log"), head)
				if err != nil {
					return err
				}
				if !found {
					return fmt.Errorf("%w: no record has the hash %s", audit.ErrDamaged, head)
				}
			}
			if h.Seq == 0 {
				fmt.Fprintln(c.OutOrStdout(), "no records: nothing has been asked for since the guard was installed, or the log was removed together with its head (--head finds that)")
				return nil
			}
			fmt.Fprintf(c.OutOrStdout(), "%d %s, every one as it was written; the last is %s\n", h.Seq, plural(h.Seq, "record"), h.Hash)
			return nil
		},
	}
	verify.Flags().StringVar(&state, "state", agent.StateDir, "the agent's state directory")
	verify.Flags().StringVar(&publicKey, "public-key", "", "the guard's public key; default: the key in the state directory")
	verify.Flags().StringVar(&head, "head", "", "hash of a record that must be there")
	c.AddCommand(verify)
	return c
}

func plural(n uint64, noun string) string {
	if n == 1 {
		return noun
	}
	return noun + "s"
}

func auditKey(state, publicKey string) (ssh.PublicKey, error) {
	if publicKey != "" {
		line, err := readSmall(publicKey)
		if err != nil {
			return nil, err
		}
		key, err := seal.ParseKey(string(line))
		if err != nil {
			return nil, fmt.Errorf("--public-key %s: %w", publicKey, err)
		}
		return key, nil
	}
	if _, err := os.Stat(filepath.Join(state, "guard.key")); err != nil {
		return nil, fmt.Errorf("%w: name the agent's state directory with --state, or, for a copy of its log, the guard's public key with --public-key", err)
	}
	key, err := machine.LoadOrCreateKey(state)
	if err != nil {
		return nil, err
	}
	return ssh.NewPublicKey(key.Public())
}

// holdsRecord: the log has been verified, so a line that ends in the hash is
// that record.
func holdsRecord(path, hash string) (bool, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return false, err
	}
	return bytes.Contains(text, []byte(`"hash":"`+hash+"\"}\n")), nil
}
