package interlock

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"
	"google.golang.org/grpc"

	"github.com/lifeboat-db/lifeboat/internal/guard/operation"
	"github.com/lifeboat-db/lifeboat/internal/guard/seal"
	"github.com/lifeboat-db/lifeboat/internal/guard/strictjson"
)

// Errors of a Client. Everything else is a *Refused, or a fault of the caller.
var (
	// ErrUnavailable: etcd has not answered, or has no majority. What was
	// asked may have been done or not.
	ErrUnavailable = errors.New("etcd does not answer")
	// ErrBusy: not now; ask again.
	ErrBusy = errors.New("the set is busy")
)

// Refused is a no, with all its reasons.
type Refused struct{ Reasons []Reason }

func (r *Refused) Error() string {
	texts := make([]string, len(r.Reasons))
	for i, reason := range r.Reasons {
		texts[i] = reason.String()
	}
	return "the set refuses: " + strings.Join(texts, "; ")
}

func refuse(code Code, format string, args ...any) error {
	return &Refused{[]Reason{{Code: code, Detail: fmt.Sprintf(format, args...)}}}
}

// Options of a Client. Zero durations and numbers get defaults.
type Options struct {
	Endpoints          []string
	TLS                *tls.Config
	Username, Password string
	Prefix             string // default /lifeboat/v1
	Set                string
	Machine            string // machine-id
	BootID             string
	Key                ed25519.PrivateKey // the guard's own, for health records
	Keys               []seal.Key         // people's, for manifests and clearances
	StateFile          string             // what must outlive the agent, see memory
	Timeout            time.Duration      // of one request, 3 s
	HealthTTL          time.Duration      // 15 s
	IntentTTL          time.Duration      // 30 s
	Limits             Limits             // 60 s of lag, 30 s of age
	PaceSlots          int                // operations at a time over all sets, 10
	PaceInterval       time.Duration      // for which one counts, 10 min
	Now                func() time.Time
}

func (o *Options) setDefaults() {
	for _, d := range []struct {
		to *time.Duration
		by time.Duration
	}{
		{&o.Timeout, 3 * time.Second}, {&o.HealthTTL, 15 * time.Second}, {&o.IntentTTL, 30 * time.Second},
		{&o.Limits.MaxLag, time.Minute}, {&o.Limits.MaxAge, 30 * time.Second}, {&o.PaceInterval, 10 * time.Minute},
	} {
		if *d.to == 0 {
			*d.to = d.by
		}
	}
	if o.Prefix == "" {
		o.Prefix = "/lifeboat/v1"
	}
	if o.PaceSlots == 0 {
		o.PaceSlots = 10
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

// Client is one machine's side of its set. Safe for concurrent use.
type Client struct {
	o      Options
	etcd   *clientv3.Client
	mu     sync.Mutex
	memory memory
	seen   int64            // highest revision since Open
	kept   time.Time        // when that was written last
	lease  clientv3.LeaseID // of the health record
}

// Open makes a client; etcd need not be there.
func Open(o Options) (*Client, error) {
	o.setDefaults()
	if !nameForm.MatchString(o.Set) || !machineForm.MatchString(o.Machine) {
		return nil, fmt.Errorf("interlock: set %q or machine %q has not its form", o.Set, o.Machine)
	}
	m, err := loadMemory(o.StateFile)
	if err != nil {
		return nil, fmt.Errorf("interlock: %w", err)
	}
	etcd, err := clientv3.New(clientv3.Config{
		Endpoints: o.Endpoints, TLS: o.TLS, Username: o.Username, Password: o.Password,
		DialTimeout: o.Timeout, DialKeepAliveTime: 5 * time.Second, DialKeepAliveTimeout: o.Timeout, Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithNoProxy()}, // the environment decides nothing
	})
	if err != nil {
		return nil, fmt.Errorf("interlock: %w", err)
	}
	return &Client{o: o, etcd: etcd, memory: m}, nil
}

// Machine is the machine-id whose side this is.
func (c *Client) Machine() string { return c.o.Machine }

// Close ends a client; its leases run out.
func (c *Client) Close() error { return c.etcd.Close() }

func (c *Client) key(parts ...string) string {
	return c.o.Prefix + "/sets/" + c.o.Set + "/" + strings.Join(parts, "/")
}

func (c *Client) pace(slot int) string  { return c.o.Prefix + "/pace/" + strconv.Itoa(slot) }
func (c *Client) nonce(n string) string { return c.o.Prefix + "/nonces/" + n }
func unavailable(err error) error       { return fmt.Errorf("%w: %w", ErrUnavailable, err) }
func seconds(d time.Duration) int64     { return max(1, int64((d+time.Second-1)/time.Second)) }
func unchanged(k string, rev int64) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(k), "=", rev) // 0: absent
}

func (c *Client) txn(ctx context.Context, cmps []clientv3.Cmp, then ...clientv3.Op) (*clientv3.TxnResponse, error) {
	return request(ctx, c, func(ctx context.Context) (*clientv3.TxnResponse, error) {
		return c.etcd.Txn(ctx).If(cmps...).Then(then...).Commit()
	})
}

// request asks one server of etcd after the other until one has a leader. A
// server without says so before it does anything (rpctypes.ErrNoLeader), so
// that even a change can be asked for again; all other errors leave open
// whether it has been made. A server that is cut off from the others notices
// within its election timeout.
func request[R any](ctx context.Context, c *Client, ask func(context.Context) (R, error)) (R, error) {
	ctx, cancel := context.WithTimeout(clientv3.WithRequireLeader(ctx), c.o.Timeout)
	defer cancel()
	for {
		resp, err := ask(ctx)
		if err == nil {
			return resp, nil
		}
		if !errors.Is(err, rpctypes.ErrNoLeader) {
			return resp, unavailable(err)
		}
		select {
		case <-ctx.Done():
			return resp, unavailable(err)
		case <-time.After(noLeaderPause):
		}
	}
}

// noLeaderPause is how long to wait before the next server is asked.
const noLeaderPause = 20 * time.Millisecond

func (c *Client) grantLease(ctx context.Context, ttl time.Duration) (clientv3.LeaseID, error) {
	resp, err := request(ctx, c, func(ctx context.Context) (*clientv3.LeaseGrantResponse, error) {
		return c.etcd.Grant(ctx, seconds(ttl))
	})
	if err != nil {
		return 0, err
	}
	return resp.ID, nil
}

// prolong prolongs a lease once.
func (c *Client) prolong(ctx context.Context, lease clientv3.LeaseID) error {
	_, err := request(ctx, c, func(ctx context.Context) (*clientv3.LeaseKeepAliveResponse, error) {
		return c.etcd.KeepAliveOnce(ctx, lease)
	})
	return err
}

// drop revokes leases; those it cannot revoke run out by themselves.
func (c *Client) drop(ctx context.Context, leases ...clientv3.LeaseID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.o.Timeout)
	defer cancel()
	for _, l := range leases {
		_, _ = c.etcd.Revoke(ctx, l)
	}
}

// snapshot is all that is in etcd about a set, at one revision.
type snapshot struct {
	View
	revisions map[string]int64 // by key, of manifest and health
	mod       int64            // revision of the disruption record, 0: none
	slot      int              // a free one, -1: none
}

func (s snapshot) fresh(c *Client) bool {
	return s.Disruption != nil && s.revisions[c.key("health", s.Disruption.Machine)] > s.mod
}

// same compares everything that was decided upon; records that were absent
// must be so still.
func (s snapshot) same(c *Client) []clientv3.Cmp {
	cmps := []clientv3.Cmp{unchanged(c.key("manifest"), s.revisions[c.key("manifest")]), unchanged(c.key("disruption"), s.mod)}
	for _, m := range s.Manifest.Members {
		k := c.key("health", m.Machine)
		cmps = append(cmps, unchanged(k, s.revisions[k]))
	}
	return cmps
}

// read is linearizable: a transaction of reads goes through the leader.
func (c *Client) read(ctx context.Context) (snapshot, error) {
	s := snapshot{revisions: map[string]int64{}, slot: -1}
	floor := c.floor()
	resp, err := c.txn(ctx, nil, clientv3.OpGet(c.key("manifest")), clientv3.OpGet(c.key("disruption")),
		clientv3.OpGet(c.key("health")+"/", clientv3.WithPrefix()), clientv3.OpGet(c.o.Prefix+"/pace/", clientv3.WithPrefix(), clientv3.WithKeysOnly()))
	if err != nil {
		return s, err
	}
	s.ManifestErr = errors.New("etcd has none")
	for _, kv := range resp.Responses[0].GetResponseRange().Kvs {
		s.revisions[string(kv.Key)] = kv.ModRevision
		s.Manifest, s.ManifestErr = ParseManifest(kv.Value, c.o.Keys)
	}
	if err := c.recognise(resp.Header, floor, s.Manifest, s.ManifestErr); err != nil { //check:interlock-recognise
		return s, err
	}
	for _, kv := range resp.Responses[1].GetResponseRange().Kvs {
		s.mod = kv.ModRevision
		d, _ := ParseDisruption(kv.Value) // one that cannot be read has no ID
		s.Disruption = &d
	}
	s.Records = map[string]Record{}
	for _, kv := range resp.Responses[2].GetResponseRange().Kvs {
		s.revisions[string(kv.Key)] = kv.ModRevision
		machine := strings.TrimPrefix(string(kv.Key), c.key("health")+"/")
		if member, ok := s.Manifest.Member(machine); ok {
			h, err := ParseHealth(kv.Value, s.Manifest, member)
			s.Records[machine] = Record{h, err}
		}
	}
	taken := map[string]bool{}
	for _, kv := range resp.Responses[3].GetResponseRange().Kvs {
		taken[string(kv.Key)] = true
	}
	for i := range c.o.PaceSlots {
		if !taken[c.pace(i)] {
			s.slot = i
			break
		}
	}
	return s, nil
}

// recognise refuses an etcd that is not the one known here, or that was set
// back, until a manifest with a higher epoch says that people know of it.
func (c *Client) recognise(h *pb.ResponseHeader, floor int64, m Manifest, manifestErr error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	cluster := fmt.Sprintf("%016x", h.ClusterId)
	other := c.memory.Cluster != "" && c.memory.Cluster != cluster
	back := h.Revision < floor || c.memory.Back
	if manifestErr == nil && m.Set == c.o.Set && m.Epoch > c.memory.Epoch {
		next := memory{Cluster: cluster, Epoch: m.Epoch, Token: c.memory.Token, Seen: h.Revision}
		if other || back {
			next.Token = 0
		}
		if err := next.save(c.o.StateFile); err != nil {
			return fmt.Errorf("interlock: %w", err)
		}
		c.memory, c.seen = next, h.Revision
		return nil
	}
	if other { //check:interlock-other-cluster
		return refuse(Frozen, "this is etcd cluster %s, the set's was %s: publish a manifest with a higher epoch than %d", cluster, c.memory.Cluster, c.memory.Epoch)
	}
	if back { //check:interlock-set-back
		if err := c.keepBack(); err != nil {
			return fmt.Errorf("interlock: %w", err)
		}
		return refuse(Frozen, "etcd is at revision %d, and was at %d: it was set back; publish a manifest with a higher epoch than %d", h.Revision, floor, c.memory.Epoch)
	}
	c.seen = max(c.seen, h.Revision)
	return c.keepSeen()
}

// keepBack remembers on disk that etcd was set back.
func (c *Client) keepBack() error {
	if c.memory.Back {
		return nil
	}
	next := c.memory
	next.Back = true
	if err := next.save(c.o.StateFile); err != nil {
		return err
	}
	c.memory = next
	return nil
}

// seenEvery is how often the revision that was seen is written: a copy of etcd
// that is younger may go unnoticed by an agent that is started anew.
const seenEvery = 10 * time.Second

// keepSeen remembers on disk, from time to time, how far etcd was.
func (c *Client) keepSeen() error {
	now := c.o.Now()
	if since := now.Sub(c.kept); c.memory.Cluster == "" || c.seen <= c.memory.Seen || since >= 0 && since < seenEvery {
		return nil
	}
	next := c.memory
	next.Seen = c.seen
	if err := next.save(c.o.StateFile); err != nil {
		return fmt.Errorf("interlock: %w", err)
	}
	c.memory, c.kept = next, now
	return nil
}

// floor is the least revision that an answer to what is asked from now on can
// have: what has been seen, and the last token. Answers to several requests at
// a time may come in any order.
func (c *Client) floor() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return max(c.memory.Token, c.memory.Seen, c.seen)
}

func (c *Client) epoch() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.memory.Epoch
}

// Want is what a machine wants, and what it knows of itself.
type Want struct {
	Operation operation.Operation
	Requester string
	Nonce     string // of the request; empty: none
	Expiry    time.Time
	Local     State
}

func (c *Client) ask(w Want, own string) Ask {
	return Ask{Set: c.o.Set, Machine: c.o.Machine, Operation: w.Operation, Local: w.Local, Own: own,
		Epoch: c.epoch(), Now: c.o.Now(), Limits: c.o.Limits}
}

// Look returns what etcd has of the set, for people, and the revision of the
// disruption record, which a clearance names.
func (c *Client) Look(ctx context.Context) (View, int64, error) {
	s, err := c.read(ctx)
	return s.View, s.mod, err
}

// Inquire says what Acquire would, and changes nothing.
func (c *Client) Inquire(ctx context.Context, w Want) error {
	s, err := c.read(ctx)
	if err != nil {
		return err
	}
	if reasons := Decide(s.View, c.ask(w, "")); len(reasons) > 0 {
		return &Refused{reasons}
	}
	return c.free(s)
}

func (c *Client) free(s snapshot) error {
	if s.slot < 0 { //check:interlock-pace
		return fmt.Errorf("%w: %d operations within %s in all sets", ErrBusy, c.o.PaceSlots, c.o.PaceInterval)
	}
	return nil
}

// attempts are made when what was read changes before it is acted upon: other
// guards refresh their records all the time.
const attempts = 5

// Acquire announces that this machine leaves. The intent lives as long as the
// Grant is held by a living agent.
func (c *Client) Acquire(ctx context.Context, w Want) (*Grant, error) {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	d := Disruption{Version: Version, ID: hex.EncodeToString(id[:]), Machine: c.o.Machine, BootID: c.o.BootID,
		Operation: w.Operation, Requester: w.Requester, Phase: Intent, Made: c.o.Now().UTC()}
	for range attempts {
		s, err := c.read(ctx)
		if err != nil {
			return nil, err
		}
		if reasons := Decide(s.View, c.ask(w, "")); len(reasons) > 0 { //check:interlock-acquire-decides
			return nil, &Refused{reasons}
		}
		if err := c.free(s); err != nil {
			return nil, err
		}
		d.Epoch = s.Manifest.Epoch
		g, err := c.announce(ctx, s, d, w)
		if g != nil || err != nil {
			return g, err
		}
	}
	return nil, fmt.Errorf("%w: its records changed %d times while they were looked at", ErrBusy, attempts)
}

// nonceMargin is how long a nonce is kept after its request has expired: more
// than clocks may differ.
const nonceMargin = time.Hour

// announce returns neither grant nor error if something has changed. An earlier
// disruption of this machine, whose command has ended, is taken over: the new
// record has no lease, since the machine stays down whatever becomes of it.
func (c *Client) announce(ctx context.Context, s snapshot, d Disruption, w Want) (*Grant, error) {
	value, err := strictjson.Encode(d)
	if err != nil {
		return nil, err
	}
	var leases []clientv3.LeaseID
	var bind []clientv3.OpOption
	var intent clientv3.LeaseID
	if s.Disruption == nil {
		if intent, err = c.grantLease(ctx, c.o.IntentTTL); err != nil {
			return nil, err
		}
		leases, bind = append(leases, intent), append(bind, clientv3.WithLease(intent))
	}
	pace, err := c.grantLease(ctx, c.o.PaceInterval)
	if err != nil {
		c.drop(ctx, leases...)
		return nil, err
	}
	leases = append(leases, pace)
	cmps := append(s.same(c), unchanged(c.pace(s.slot), 0))
	puts := []clientv3.Op{
		clientv3.OpPut(c.key("disruption"), string(value), bind...),
		clientv3.OpPut(c.pace(s.slot), c.o.Set, clientv3.WithLease(pace)),
	}
	if w.Nonce != "" {
		if err := c.checkNonce(ctx, w.Nonce); err != nil {
			c.drop(ctx, leases...)
			return nil, err
		}
		nonce, err := c.grantLease(ctx, max(0, w.Expiry.Sub(c.o.Now()))+nonceMargin)
		if err != nil {
			c.drop(ctx, leases...)
			return nil, err
		}
		leases = append(leases, nonce)
		cmps = append(cmps, unchanged(c.nonce(w.Nonce), 0))
		puts = append(puts, clientv3.OpPut(c.nonce(w.Nonce), c.o.Machine, clientv3.WithLease(nonce)))
	}
	resp, err := c.txn(ctx, cmps, puts...)
	if err != nil {
		if intent != 0 {
			c.drop(ctx, intent) // pace and nonce may count: they run out
		}
		return nil, err
	}
	if !resp.Succeeded { //check:interlock-announced
		c.drop(ctx, leases...)
		return nil, nil
	}
	alive, stop := context.WithCancel(context.WithoutCancel(ctx))
	if intent != 0 {
		go c.keep(alive, intent)
	}
	return &Grant{c: c, want: w, d: d, before: s.Disruption, token: resp.Header.Revision, rev: resp.Header.Revision, intent: intent, stop: stop}, nil
}

// keep prolongs the intent's lease until the grant is done with.
func (c *Client) keep(ctx context.Context, lease clientv3.LeaseID) {
	tick := time.NewTicker(max(c.o.IntentTTL/3, 100*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := c.prolong(ctx, lease); errors.Is(err, rpctypes.ErrLeaseNotFound) || c.etcd.Ctx().Err() != nil {
			return // Commit finds the record gone; or the client is closed
		}
	}
}

func (c *Client) checkNonce(ctx context.Context, nonce string) error {
	resp, err := c.txn(ctx, nil, clientv3.OpGet(c.nonce(nonce)))
	if err != nil {
		return err
	}
	if len(resp.Responses[0].GetResponseRange().Kvs) > 0 {
		return refuse(NonceSpent, "the request has been used before")
	}
	return nil
}

// SpendNonce uses a nonce up, once in all sets that share the etcd.
func (c *Client) SpendNonce(ctx context.Context, nonce string, expiry time.Time) error {
	lease, err := c.grantLease(ctx, max(0, expiry.Sub(c.o.Now()))+nonceMargin)
	if err != nil {
		return err
	}
	resp, err := c.txn(ctx, []clientv3.Cmp{unchanged(c.nonce(nonce), 0)}, clientv3.OpPut(c.nonce(nonce), c.o.Machine, clientv3.WithLease(lease)))
	if err != nil {
		return err
	}
	if !resp.Succeeded { //check:interlock-nonce-twice
		c.drop(ctx, lease)
		return refuse(NonceSpent, "the request has been used before")
	}
	return nil
}

// Grant is the set's word that this machine may go, in steps.
type Grant struct {
	c          *Client
	want       Want
	d          Disruption
	before     *Disruption // what the record was, of this machine too; put back by Release
	token, rev int64       // revisions at which it was announced, and last changed by us
	intent     clientv3.LeaseID
	stop       func()
}

// Token is the fencing token: it is higher than that of every disruption
// before, and stays the same.
func (g *Grant) Token() int64 { return g.token }

// ours returns what is in etcd, if the record is as we left it.
func (g *Grant) ours(ctx context.Context) (snapshot, error) {
	s, err := g.c.read(ctx)
	if err != nil {
		return s, err
	}
	if s.mod != g.rev { // 0 if there is none //check:interlock-lost
		return s, refuse(Lost, "the disruption record is gone or is somebody else's")
	}
	return s, nil
}

// Commit decides again, with what the machine now knows of itself, and makes
// the record stay.
func (g *Grant) Commit(ctx context.Context, local State) error {
	w := g.want
	w.Local = local
	d := g.d
	d.Phase = Committed
	value, err := strictjson.Encode(d)
	if err != nil {
		return err
	}
	for range attempts {
		s, err := g.ours(ctx)
		if err != nil {
			return err
		}
		if reasons := Decide(s.View, g.c.ask(w, g.d.ID)); len(reasons) > 0 { //check:interlock-commit-decides
			return &Refused{reasons}
		}
		resp, err := g.c.txn(ctx, s.same(g.c), clientv3.OpPut(g.c.key("disruption"), string(value)))
		if err != nil {
			return err
		}
		if resp.Succeeded { //allow:interlock-committed
			g.d, g.rev = d, resp.Header.Revision
			g.stop()
			return nil
		}
	}
	return fmt.Errorf("%w: its records changed %d times while they were looked at", ErrBusy, attempts)
}

// Confirm is the last look before the command: the record is committed and
// ours, and no later token has been seen on this machine.
func (g *Grant) Confirm(ctx context.Context) error {
	s, err := g.ours(ctx)
	if err != nil {
		return err
	}
	if s.Disruption.Phase != Committed { //check:interlock-not-committed
		return refuse(Lost, "the disruption record is not committed")
	}
	g.c.mu.Lock()
	defer g.c.mu.Unlock()
	if g.token < g.c.memory.Token { //check:interlock-fenced
		return refuse(Fenced, "token %d, and %d has been seen here", g.token, g.c.memory.Token)
	}
	next := g.c.memory
	next.Token = g.token
	if err := next.save(g.c.o.StateFile); err != nil { //check:interlock-token-on-disk
		return fmt.Errorf("interlock: %w", err)
	}
	g.c.memory = next
	return nil
}

// Release takes the record back: nothing has run. A Commit whose outcome is
// not known is taken back as well, or cannot succeed any more.
func (g *Grant) Release(ctx context.Context) error {
	g.stop()
	if g.intent != 0 {
		defer g.c.drop(ctx, g.intent)
	}
	_, err := g.c.change(ctx, func(d Disruption, _ *mvccpb.KeyValue) (*Disruption, bool) { return g.before, d.ID == g.d.ID })
	return err
}

// Finish records that the command has ended. The set stays disrupted until the
// machine is healthy again.
func (g *Grant) Finish(ctx context.Context, outcome string) error {
	g.stop()
	done, err := g.c.change(ctx, func(d Disruption, _ *mvccpb.KeyValue) (*Disruption, bool) {
		if d.ID != g.d.ID { //check:interlock-finish-own
			return nil, false
		}
		return g.c.ended(d, outcome), true
	})
	if err == nil && !done {
		return refuse(Lost, "there is no disruption %d of this machine", g.token)
	}
	return err
}

func (c *Client) ended(d Disruption, outcome string) *Disruption {
	d.Phase, d.Outcome, d.Ended = Done, outcome, c.o.Now().UTC()
	return &d
}

// Settle records that the command of this machine's disruption has ended,
// where nobody else will: an earlier agent has been killed, or etcd was away
// when the command ended. idle says, after the record has been read, whether
// nothing runs here; a record that changes meanwhile is left alone.
func (c *Client) Settle(ctx context.Context, idle func() bool, outcome string) error {
	_, err := c.change(ctx, func(d Disruption, kv *mvccpb.KeyValue) (*Disruption, bool) {
		if d.Machine != c.o.Machine || d.Phase == Done { //check:interlock-settle-own
			return nil, false
		}
		if kv.Lease != 0 { // an intent: it ends by itself
			return nil, false
		}
		if !idle() { //check:interlock-settle-running
			return nil, false
		}
		return c.ended(d, outcome), true
	})
	return err
}

// change replaces (or removes) the disruption record as long as to says so.
func (c *Client) change(ctx context.Context, to func(d Disruption, kv *mvccpb.KeyValue) (*Disruption, bool)) (changed bool, err error) {
	k := c.key("disruption")
	for range attempts {
		resp, err := c.txn(ctx, nil, clientv3.OpGet(k))
		if err != nil {
			return false, err
		}
		kvs := resp.Responses[0].GetResponseRange().Kvs
		if len(kvs) == 0 {
			return false, nil
		}
		d, err := ParseDisruption(kvs[0].Value)
		if err != nil {
			return false, err
		}
		next, ok := to(d, kvs[0])
		if !ok {
			return false, nil
		}
		op := clientv3.OpDelete(k)
		if next != nil {
			value, err := strictjson.Encode(*next)
			if err != nil {
				return false, err
			}
			op = clientv3.OpPut(k, string(value))
		}
		resp, err = c.txn(ctx, []clientv3.Cmp{unchanged(k, kvs[0].ModRevision)}, op)
		if err != nil {
			return false, err
		}
		if resp.Succeeded {
			return true, nil
		}
	}
	return false, ErrBusy
}

// ClearIfHealthy removes the disruption if DecideClear has nothing against it.
func (c *Client) ClearIfHealthy(ctx context.Context) error {
	s, err := c.read(ctx)
	if err != nil || s.Disruption == nil {
		return err
	}
	if reasons := DecideClear(s.View, c.ask(Want{}, ""), s.fresh(c)); len(reasons) > 0 { //check:interlock-clear-decides
		return &Refused{reasons}
	}
	return c.clear(ctx, s)
}

// Clear removes the disruption by the word of two people: a sealed Clearance.
func (c *Client) Clear(ctx context.Context, envelope []byte) error {
	clearance, people, err := ParseClearance(envelope, c.o.Keys)
	if err != nil {
		return err
	}
	s, err := c.read(ctx)
	if err != nil {
		return err
	}
	if s.ManifestErr != nil {
		return refuse(NoManifest, "%v", s.ManifestErr)
	}
	if s.Disruption == nil {
		return refuse(NotCleared, "there is no disruption")
	}
	if err := JudgeClearance(clearance, people, c.o.Set, s.Manifest.Epoch, *s.Disruption, s.mod, c.o.Now()); err != nil { //check:interlock-clearance-judged
		return refuse(NotCleared, "%v", err)
	}
	return c.clear(ctx, s)
}

func (c *Client) clear(ctx context.Context, s snapshot) error {
	resp, err := c.txn(ctx, s.same(c), clientv3.OpDelete(c.key("disruption")))
	if err != nil {
		return err
	}
	if !resp.Succeeded {
		return fmt.Errorf("%w: its records changed", ErrBusy)
	}
	return nil
}

// PutManifest publishes a sealed manifest. Its epoch must be higher than that
// of the present one, and of every one seen here.
func (c *Client) PutManifest(ctx context.Context, envelope []byte) error {
	m, err := ParseManifest(envelope, c.o.Keys)
	if err != nil {
		return err
	}
	if m.Set != c.o.Set { //check:interlock-put-other-set
		return refuse(OtherSet, "the manifest is of set %q", m.Set)
	}
	k := c.key("manifest")
	resp, err := c.txn(ctx, nil, clientv3.OpGet(k))
	if err != nil {
		return err
	}
	highest, rev := c.epoch(), int64(0)
	for _, kv := range resp.Responses[0].GetResponseRange().Kvs {
		rev = kv.ModRevision
		if old, err := ParseManifest(kv.Value, c.o.Keys); err == nil {
			highest = max(highest, old.Epoch)
		}
	}
	if m.Epoch <= highest { //check:interlock-put-epoch
		return refuse(WrongEpoch, "the manifest has epoch %d, there has been %d", m.Epoch, highest)
	}
	resp, err = c.txn(ctx, []clientv3.Cmp{unchanged(k, rev)}, clientv3.OpPut(k, string(envelope)))
	if err != nil {
		return err
	}
	if !resp.Succeeded { //check:interlock-put-race
		return fmt.Errorf("%w: somebody else has published a manifest", ErrBusy)
	}
	return nil
}

// Publish publishes this machine's state, as it was observed at a time, for as
// long as HealthTTL.
func (c *Client) Publish(ctx context.Context, state State, observed time.Time) error {
	k, floor := c.key("manifest"), c.floor()
	resp, err := c.txn(ctx, nil, clientv3.OpGet(k))
	if err != nil {
		return err
	}
	kvs := resp.Responses[0].GetResponseRange().Kvs
	if len(kvs) == 0 {
		return refuse(NoManifest, "etcd has none")
	}
	m, err := ParseManifest(kvs[0].Value, c.o.Keys)
	if err != nil {
		return refuse(NoManifest, "%v", err)
	}
	if err := c.recognise(resp.Header, floor, m, nil); err != nil {
		return err
	}
	if err := c.isMember(m); err != nil {
		return err
	}
	text, err := Health{Version: Version, Set: m.Set, Epoch: m.Epoch, Machine: c.o.Machine, BootID: c.o.BootID,
		Made: observed.UTC(), State: state}.Encode(c.o.Key)
	if err != nil {
		return err
	}
	lease, err := c.healthLease(ctx)
	if err != nil {
		return err
	}
	put := clientv3.OpPut(c.key("health", c.o.Machine), string(text), clientv3.WithLease(lease))
	resp, err = c.txn(ctx, []clientv3.Cmp{unchanged(k, kvs[0].ModRevision)}, put)
	if err != nil {
		return err
	}
	if !resp.Succeeded {
		return fmt.Errorf("%w: the manifest changed", ErrBusy)
	}
	return nil
}

func (c *Client) isMember(m Manifest) error {
	member, ok := m.Member(c.o.Machine)
	if !ok {
		return refuse(NotMember, "the manifest does not have machine %s", c.o.Machine)
	}
	want, err := seal.ParseKey(member.Key)
	if err != nil {
		return err
	}
	have, err := ssh.NewPublicKey(c.o.Key.Public())
	if err != nil {
		return err
	}
	if !seal.Same(want, have) {
		return refuse(NotMember, "the manifest has another key for this machine: %s", ssh.FingerprintSHA256(want))
	}
	return nil
}

// healthLease returns the lease of the record, prolonged, or a new one.
func (c *Client) healthLease(ctx context.Context) (clientv3.LeaseID, error) {
	c.mu.Lock()
	lease := c.lease
	c.mu.Unlock()
	if lease != 0 {
		err := c.prolong(ctx, lease)
		if err == nil {
			return lease, nil
		}
		if !errors.Is(err, rpctypes.ErrLeaseNotFound) {
			return 0, err
		}
	}
	lease, err := c.grantLease(ctx, c.o.HealthTTL)
	if err != nil {
		return 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lease = lease
	return lease, nil
}
