package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/guard/config"
	"github.com/lifeboat-db/lifeboat/internal/guard/interlock"
	"github.com/lifeboat-db/lifeboat/internal/guard/policy"
	"github.com/lifeboat-db/lifeboat/internal/guard/seal"
)

// joinSet makes the gate ask the machine's set, if it belongs to one. etcd need
// not be there: as long as it is not, everything is refused.
func (a *Agent) joinSet(keys []seal.Key) error {
	c := a.config.Interlock
	if c == nil {
		return nil
	}
	o, err := interlockOptions(c)
	if err != nil {
		return fmt.Errorf("configuration: interlock: %w", err)
	}
	o.Machine, o.BootID, o.Key, o.Keys = a.identity.MachineID, a.identity.BootID, a.key, keys
	o.StateFile = a.state("interlock")
	client, err := interlock.Open(o)
	if err != nil {
		return err
	}
	a.member = &member{
		client: client, sight: a.sight, config: a.config, locker: a.locker,
		last: lastServer{path: a.state("last-server"), key: a.key}, idle: a.gate.Idle,
		status: SetStatus{Name: c.Set, Problem: "nothing has been published yet"}, now: time.Now,
	}
	a.gate.Set = interlock.Set{Client: client, Local: a.member.local}
	return nil
}

// interlockOptions reads what the configuration only names.
func interlockOptions(c *config.Interlock) (o interlock.Options, err error) {
	o = interlock.Options{
		Endpoints: c.Endpoints, Username: c.Username, Prefix: c.Prefix, Set: c.Set, Timeout: c.Timeout, HealthTTL: c.HealthTTL,
		IntentTTL: c.IntentTTL, Limits: interlock.Limits{MaxLag: c.MaxLag}, PaceSlots: c.Pace.Operations, PaceInterval: c.Pace.Interval,
	}
	if c.PasswordFile != "" {
		text, err := os.ReadFile(c.PasswordFile)
		if err != nil {
			return o, err
		}
		o.Password = strings.TrimRight(string(text), "\r\n")
	}
	if c.CAFile == "" && c.CertFile == "" {
		return o, nil
	}
	o.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		text, err := os.ReadFile(c.CAFile)
		if err != nil {
			return o, err
		}
		o.TLS.RootCAs = x509.NewCertPool()
		if !o.TLS.RootCAs.AppendCertsFromPEM(text) {
			return o, fmt.Errorf("%s holds no certificate", c.CAFile)
		}
	}
	if c.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return o, err
		}
		o.TLS.Certificates = []tls.Certificate{pair}
	}
	return o, nil
}

// Attend keeps the machine's part in its set, until the context ends: its
// health is published, and disruptions that are over are cleared.
func (a *Agent) Attend(ctx context.Context) {
	if a.member == nil {
		return
	}
	tick := time.NewTicker(a.config.Interlock.HealthTTL / 3)
	defer tick.Stop()
	for {
		a.member.beat(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// spendInSet uses the nonce of an override up in the set as well: a machine that
// is installed anew has forgotten its own. A set that does not answer cannot
// remember; then the gate asks it in vain as well, and that must be waived.
func (a *Agent) spendInSet(ctx context.Context, nonce string, expiry time.Time) error {
	if a.member == nil {
		return nil
	}
	err := a.member.client.SpendNonce(ctx, nonce, expiry)
	if errors.Is(err, interlock.ErrUnavailable) {
		return nil
	}
	return err
}

// SetCall is what people do with a set. Everybody who may connect may: what
// changes anything is signed.
type SetCall struct {
	Verb     string `json:"verb"`
	Envelope []byte `json:"envelope,omitempty"`
}

// Verbs of a SetCall.
const (
	SetLook    = "look"
	SetPublish = "publish" // a sealed manifest
	SetClear   = "clear"   // a sealed clearance
)

// SetView is a set as etcd has it.
type SetView struct {
	Set        string                `json:"set"`
	Epoch      int64                 `json:"epoch,omitempty"`
	Problem    string                `json:"problem,omitempty"` // why there is no manifest
	Members    []MemberView          `json:"members,omitempty"`
	Disruption *interlock.Disruption `json:"disruption,omitempty"`
	// Token is the revision of the disruption record, which a clearance names.
	Token int64 `json:"token,omitempty"`
}

// MemberView is one member's health.
type MemberView struct {
	Name    string          `json:"name"`
	Machine string          `json:"machine"`
	Self    bool            `json:"self,omitempty"`
	Made    time.Time       `json:"made,omitzero"`
	State   interlock.State `json:"state"`
	Problem string          `json:"problem,omitempty"` // why its record is none
}

// Set implements Handler. The error's class is why it failed.
func (a *Agent) Set(ctx context.Context, call SetCall) (SetView, *policy.Denial) {
	if a.member == nil {
		return SetView{}, &policy.Denial{Code: "set", Class: policy.RuleClass, Summary: "this machine belongs to no set: its configuration has no interlock"}
	}
	client := a.member.client
	var err error
	switch call.Verb {
	case SetLook:
	case SetPublish:
		err = a.recorded("manifest", call, client.PutManifest(ctx, call.Envelope))
	case SetClear:
		err = a.recorded("clearance", call, client.Clear(ctx, call.Envelope))
	default:
		err = fmt.Errorf("unknown verb %q", call.Verb)
	}
	var view SetView
	if err == nil {
		view, err = a.member.view(ctx)
	}
	if err != nil {
		denial := interlock.Denials(err)[0]
		if errors.Is(err, seal.ErrSignature) {
			denial.Class = policy.Signature
		}
		return SetView{}, &denial
	}
	return view, nil
}

// recorded notes in the audit log what people have done to the set.
func (a *Agent) recorded(event string, call SetCall, err error) error {
	outcome := "done"
	if err != nil {
		outcome = err.Error()
	}
	return errors.Join(err, a.log.Append(event, struct {
		Envelope []byte `json:"envelope"`
		Outcome  string `json:"outcome"`
	}{call.Envelope, outcome}))
}
