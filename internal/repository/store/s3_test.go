package store_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository/store"
	"github.com/lifeboat-db/lifeboat/internal/repository/store/storetest"
)

func TestS3(t *testing.T) {
	for _, c := range []struct {
		name  string
		start func(testing.TB) *storetest.Server
	}{
		{"gofakes3", func(t testing.TB) *storetest.Server { return storetest.Fake(t) }},
		{"versitygw", storetest.Versitygw},
	} {
		t.Run(c.name, func(t *testing.T) { storetest.Run(t, c.start(t).Place) })
	}
}

// place opens a new place with options of its own.
func place(t *testing.T, s *storetest.Server, change func(*store.Options)) store.Store {
	t.Helper()
	o := s.Options(t)
	if change != nil {
		change(&o)
	}
	return storetest.OpenStore(t, o)
}

// calls are all calls of a store that ask the server.
func calls(t *testing.T, s store.Store) map[string]error {
	_, get := s.Get(t.Context(), "x")
	_, part := s.GetRange(t.Context(), "x", 0, 1)
	var list error
	for _, list = range s.List(t.Context(), "") {
		break
	}
	return map[string]error{"put": s.Put(t.Context(), "x", []byte("x")), "get": get, "range": part, "list": list, "delete": s.Delete(t.Context(), "x")}
}

// TestS3Refuses: what will not be better the next time is said at once, with
// the next step. The server counts what it is asked.
func TestS3Refuses(t *testing.T) {
	server := storetest.Fake(t)
	for _, c := range []struct {
		status     int
		code, hint string
		class      fault.Class
	}{
		{403, "InvalidAccessKeyId", "check the access key", fault.Storage},
		{403, "SignatureDoesNotMatch", "check the access key", fault.Storage},
		{400, "ExpiredToken", "check the access key", fault.Storage},
		{403, "RequestTimeTooSkewed", "clock", fault.Storage},
		{403, "AccessDenied", "s3:PutObject", fault.Storage},
		{401, "Whatever", "s3:PutObject", fault.Storage},
		{404, "NoSuchBucket", "make the bucket first", fault.Storage},
		{400, "InvalidBucketName", "bucket's name", fault.Storage},
		{301, "PermanentRedirect", "region", fault.Storage},
		{307, "TemporaryRedirect", "region", fault.Storage},
		{400, "AuthorizationHeaderMalformed", "region", fault.Storage},
		{501, "NotImplemented", "conditional writes", fault.Storage},
		{507, "XMinioStorageFull", "free some space", fault.NoSpace},
		{507, "InsufficientStorage", "free some space", fault.NoSpace},
		{403, "QuotaExceeded", "free some space", fault.NoSpace},
		{400, "SomethingElse", "SomethingElse", fault.Storage},
	} {
		var asked atomic.Int64
		server.Break(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			asked.Add(1)
			storetest.Refuse(w, c.status, c.code)
		})
		for call, err := range calls(t, place(t, server, nil)) {
			storetest.WantClass(t, err, c.class, c.code, c.hint)
			if err != nil && strings.Contains(err.Error(), "operation error") {
				t.Errorf("%s: %v", call, err)
			}
		}
		if asked.Load() != 5 {
			t.Errorf("%s: asked %d times by 5 calls", c.code, asked.Load())
		}
	}
}

// TestS3Keys: a real server's words about wrong keys and buckets.
func TestS3Keys(t *testing.T) {
	server := storetest.Versitygw(t)
	for what, c := range map[string]struct {
		change func(*store.Options)
		hint   string
	}{
		"secret key": {func(o *store.Options) { o.SecretKey = "another" }, "check the access key and the secret key"},
		"access key": {func(o *store.Options) { o.AccessKey = "nobody" }, "check the access key and the secret key"},
		"bucket":     {func(o *store.Options) { o.URL = "s3://another/x" }, "make the bucket first"},
	} {
		t.Run(what, func(t *testing.T) {
			for _, err := range calls(t, place(t, server, c.change)) {
				storetest.WantClass(t, err, fault.Storage, c.hint)
				if err != nil && strings.Contains(err.Error(), "secret-of-a-test") {
					t.Errorf("%v: a secret", err)
				}
			}
		})
	}
}

// TestS3NoServer: nobody listens.
func TestS3NoServer(t *testing.T) {
	server := storetest.Fake(t)
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	s := place(t, server, func(o *store.Options) { o.Endpoint, o.Tries = closed.URL, 3 })
	for _, err := range calls(t, s) {
		storetest.WantClass(t, err, fault.Storage, "connection refused", "check the endpoint")
	}
}

func TestS3Options(t *testing.T) {
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	for what, c := range map[string]struct {
		change func(*store.Options)
		class  fault.Class
		text   string
	}{
		"endpoint":        {func(o *store.Options) { o.Endpoint = "localhost:9000" }, fault.Usage, "endpoint"},
		"endpoint's keys": {func(o *store.Options) { o.Endpoint = "http://a:b@localhost" }, fault.Usage, "endpoint"},
		"half a key":      {func(o *store.Options) { o.SecretKey = "" }, fault.Usage, "both"},
		"no keys":         {func(o *store.Options) { o.AccessKey, o.SecretKey = "", "" }, fault.Storage, "no keys"},
		"no CA":           {func(o *store.Options) { o.CAFile = "/none" }, fault.Storage, "certificates"},
		"an empty CA":     {func(o *store.Options) { o.CAFile = os.DevNull }, fault.Storage, "there are none"},
	} {
		o := storetest.Fake(t).Options(t)
		c.change(&o)
		_, err := store.Open(t.Context(), o)
		if storetest.WantClass(t, err, c.class, c.text); t.Failed() {
			t.Fatal(what)
		}
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "access")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret-of-a-test")
	s := place(t, storetest.Fake(t), func(o *store.Options) { o.AccessKey, o.SecretKey = "", "" })
	storetest.MustPut(t, s, "x", nil)
}

// TestS3Busy: with a third of all answers 503, and others lost or cut off, all
// goes on as if nothing were.
func TestS3Busy(t *testing.T) {
	server := storetest.Fake(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var mu sync.Mutex
	r := rand.New(rand.NewPCG(seed, 0))
	chance := func() int {
		mu.Lock()
		defer mu.Unlock()
		return r.IntN(100)
	}
	server.Break(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		switch n := chance(); {
		case n < 30:
			storetest.Refuse(w, 503, "SlowDown")
		case n < 35:
			storetest.Refuse(w, 429, "TooManyRequests")
		case n < 45:
			storetest.Reset(w)
		case n < 55:
			storetest.Lose(w, q, next)
		case n < 65:
			storetest.Cut(w, q, next, int64(chance())*10)
		default:
			next.ServeHTTP(w, q)
		}
	})
	s := place(t, server, func(o *store.Options) { o.Tries = 100 })
	var names []string
	for n := range 40 {
		name, data := fmt.Sprintf("o-%02d", n), storetest.Bytes(uint64(n), 2000)
		names = append(names, name)
		storetest.MustPut(t, s, name, data)
		if err := s.Put(t.Context(), name, storetest.Bytes(99, 2000)); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s again: %v", name, err)
		}
		if got, err := s.Get(t.Context(), name); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		if got, err := s.GetRange(t.Context(), name, 100, 500); err != nil || !bytes.Equal(got, data[100:600]) {
			t.Errorf("part of %s: %d bytes, %v", name, len(got), err)
		}
	}
	if got := storetest.Names(t, s, ""); !slices.Equal(got, names) {
		t.Errorf("%q", got)
	}
}

// TestS3GivesUp: after so many tries the last error is said, and when the
// context ends, at once.
func TestS3GivesUp(t *testing.T) {
	server := storetest.Fake(t)
	var asked atomic.Int64
	server.Break(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		asked.Add(1)
		storetest.Refuse(w, 503, "SlowDown")
	})
	s := place(t, server, func(o *store.Options) { o.Tries = 4 })
	for _, err := range calls(t, s) {
		storetest.WantClass(t, err, fault.Storage, "SlowDown", "again later")
	}
	if asked.Load() != 4*5 {
		t.Errorf("asked %d times", asked.Load())
	}
	asked.Store(0)
	server.Break(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		if asked.Add(1) < 30 {
			storetest.Refuse(w, 503, "SlowDown")
			return
		}
		next.ServeHTTP(w, q)
	})
	storetest.MustPut(t, place(t, server, func(o *store.Options) { o.Tries = -1 }), "x", nil)

	ctx, cancel := context.WithCancel(t.Context())
	patient := place(t, server, func(o *store.Options) { o.MaxWait = time.Minute })
	server.Break(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		storetest.Refuse(w, 503, "SlowDown")
		cancel()
	})
	if err := patient.Put(ctx, "x", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestS3LostAnswer: a put whose answer is lost is done, once; if another's
// object is there meanwhile, it is not.
func TestS3LostAnswer(t *testing.T) {
	server := storetest.Fake(t)
	s := place(t, server, nil)
	once := func(f storetest.Fault) {
		var done atomic.Bool
		server.Break(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
			if storetest.IsPut(q) && !done.Swap(true) {
				f(w, q, next)
				return
			}
			next.ServeHTTP(w, q)
		})
	}
	once(storetest.Lose)
	storetest.MustPut(t, s, "lost", []byte("mine"))
	once(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		next.ServeHTTP(httptest.NewRecorder(), q)
		storetest.Refuse(w, 500, "InternalError")
	})
	storetest.MustPut(t, s, "500", []byte("mine"))

	once(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		server.Break(nil)
		storetest.MustPut(t, s, "theirs", []byte("their"))
		storetest.Reset(w)
	})
	if err := s.Put(t.Context(), "theirs", []byte("mine!")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("%v, want fs.ErrExist", err)
	}
	for name, want := range map[string]string{"lost": "mine", "500": "mine", "theirs": "their"} {
		if got, err := s.Get(t.Context(), name); err != nil || string(got) != want {
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
}

// TestS3Conflict: 409 is said while another request is under way. It means that
// there is an object only if there is one.
func TestS3Conflict(t *testing.T) {
	server := storetest.Fake(t)
	s := place(t, server, nil)
	storetest.MustPut(t, s, "there", []byte("x"))
	var conflicts atomic.Int64
	server.Break(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		if storetest.IsPut(q) && conflicts.Add(1) < 3 {
			storetest.Refuse(w, 409, "ConditionalRequestConflict")
			return
		}
		next.ServeHTTP(w, q)
	})
	storetest.MustPut(t, s, "new", []byte("y"))
	conflicts.Store(0)
	if err := s.Put(t.Context(), "there", []byte("x")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("%v", err)
	}
}

// TestS3Stalls: a server that says nothing any more does not hold a call.
func TestS3Stalls(t *testing.T) {
	server := storetest.Fake(t)
	s := place(t, server, func(o *store.Options) { o.Stall = 50 * time.Millisecond; o.Tries = 50 })
	data := storetest.Bytes(5, 100_000)
	storetest.MustPut(t, s, "x", data)
	release := make(chan struct{})
	defer close(release)
	var stalled atomic.Int64
	server.Break(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		switch stalled.Add(1) {
		case 1: // no answer
			<-release
		case 2: // half of one
			w.Header().Set("Content-Length", "100000")
			_, _ = w.Write(data[:50_000])
			_ = http.NewResponseController(w).Flush()
			<-release
		default:
			next.ServeHTTP(w, q)
		}
	})
	if got, err := s.Get(t.Context(), "x"); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if stalled.Load() < 3 {
		t.Errorf("%d requests", stalled.Load())
	}
}

// TestS3Slow: a server that is slow, but goes on, is waited for.
func TestS3Slow(t *testing.T) {
	server := storetest.Fake(t)
	s := place(t, server, func(o *store.Options) { o.Stall = 500 * time.Millisecond; o.Tries = 5 })
	data := storetest.Bytes(6, 30_000) // takes longer than a stall
	storetest.MustPut(t, s, "x", data)
	server.Break(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		answer := httptest.NewRecorder()
		next.ServeHTTP(answer, q)
		for piece := range slices.Chunk(answer.Body.Bytes(), 1000) {
			_, _ = w.Write(piece)
			_ = http.NewResponseController(w).Flush()
			time.Sleep(25 * time.Millisecond)
		}
	})
	if got, err := s.Get(t.Context(), "x"); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestS3Lies: servers that do not do what S3 does are refused, and nothing
// wrong comes of them.
func TestS3Lies(t *testing.T) {
	const head = `<?xml version="1.0"?><ListBucketResult><Name>bucket</Name>`
	const key = `<Contents><Key>a/place-%d/%s</Key><Size>1</Size><LastModified>2026-01-02T03:04:05Z</LastModified></Contents>`
	server := storetest.Fake(t)
	answers := func(text string) {
		server.Break(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { fmt.Fprint(w, text) })
	}
	list := func(s store.Store) (names []string, err error) {
		for e, err := range s.List(t.Context(), "") {
			if err != nil {
				return names, err
			}
			names = append(names, e.Name)
		}
		return names, nil
	}
	answers(head + fmt.Sprintf(key, 1, "b") + fmt.Sprintf(key, 1, "a") + `</ListBucketResult>`)
	_, err := list(place(t, server, nil))
	storetest.WantClass(t, err, fault.Storage, "order")

	answers(head + fmt.Sprintf(key, 2, "a") + `<IsTruncated>true</IsTruncated></ListBucketResult>`)
	_, err = list(place(t, server, nil))
	storetest.WantClass(t, err, fault.Storage, "there is more")

	answers(head + fmt.Sprintf(key, 3, ".a") + fmt.Sprintf(key, 3, "a b") + fmt.Sprintf(key, 3, "b") + fmt.Sprintf(key, 3, "c/") + fmt.Sprintf(key, 4, "x") + `</ListBucketResult>`)
	if names, err := list(place(t, server, nil)); err != nil || !slices.Equal(names, []string{"b"}) {
		t.Errorf("%q %v", names, err)
	}

	answers("the whole object, though a part was asked for")
	_, err = place(t, server, nil).GetRange(t.Context(), "x", 5, 5)
	storetest.WantClass(t, err, fault.Storage, "parts")

	answers("<html>not S3 at all</html>")
	web := place(t, server, nil)
	_, err = list(web)
	storetest.WantClass(t, err, fault.Storage, "not the list of a bucket", "endpoint")
	storetest.WantClass(t, web.Put(t.Context(), "x", nil), fault.Storage, "put", "endpoint")
	past := place(t, server, func(o *store.Options) { o.AsOf = time.Now() })
	_, err = past.Get(t.Context(), "x")
	storetest.WantClass(t, err, fault.Storage, "not the list of a bucket")
}

// TestS3Certificates: a server of one's own authority is trusted with its file,
// and not without.
func TestS3Certificates(t *testing.T) {
	backend := s3mem.New()
	if err := backend.CreateBucket(storetest.Bucket); err != nil {
		t.Fatal(err)
	}
	web := httptest.NewUnstartedServer(gofakes3.New(backend).Server())
	web.Config.ErrorLog = log.New(io.Discard, "", 0) // what it says of clients that do not trust it
	web.StartTLS()
	t.Cleanup(web.Close)
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pemOf(web.Certificate()), 0o600); err != nil {
		t.Fatal(err)
	}
	server := storetest.Fake(t)
	secure := func(o *store.Options) { o.Endpoint = web.URL }
	for _, err := range calls(t, place(t, server, secure)) {
		storetest.WantClass(t, err, fault.Storage, "certificate", "the file of the authority's certificate")
	}
	s := place(t, server, func(o *store.Options) { secure(o); o.CAFile = file })
	storetest.MustPut(t, s, "x", storetest.Bytes(1, 3<<20))
	if got, err := s.Get(t.Context(), "x"); err != nil || len(got) != 3<<20 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func pemOf(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// TestS3AsOf: with versions, a bucket is seen as it was: what was deleted or
// overwritten since is there again, what came later is not.
func TestS3AsOf(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	clock := gofakes3.FixedTimeSource(start)
	server := storetest.Fake(t, s3mem.WithTimeSource(clock))
	server.KeepVersions(t)
	o := server.Options(t)
	s := storetest.OpenStore(t, o)
	at := func(d time.Duration) store.Store {
		past := o
		past.AsOf = start.Add(d)
		return storetest.OpenStore(t, past)
	}
	storetest.MustPut(t, s, "kept", []byte("kept"))
	storetest.MustPut(t, s, "deleted", []byte("deleted"))
	storetest.MustPut(t, s, "again", []byte("one"))
	storetest.MustPut(t, s, "brief", []byte("gone within its second"))
	if err := s.Delete(t.Context(), "brief"); err != nil {
		t.Fatal(err)
	}
	clock.Advance(time.Hour)
	for _, name := range []string{"deleted", "again"} {
		if err := s.Delete(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	clock.Advance(time.Hour)
	storetest.MustPut(t, s, "again", []byte("two"))
	storetest.MustPut(t, s, "new", []byte("new"))
	for _, c := range []struct {
		when time.Duration
		want map[string]string
	}{
		{-time.Second, nil},
		{0, map[string]string{"again": "one", "deleted": "deleted", "kept": "kept"}},
		{time.Hour - time.Second, map[string]string{"again": "one", "deleted": "deleted", "kept": "kept"}},
		{time.Hour, map[string]string{"kept": "kept"}},
		{2 * time.Hour, map[string]string{"again": "two", "kept": "kept", "new": "new"}},
	} {
		past := at(c.when)
		if got := storetest.Names(t, past, ""); len(got) != len(c.want) || !slices.IsSorted(got) {
			t.Errorf("after %v: %q, want %v", c.when, got, c.want)
		}
		for _, name := range []string{"kept", "deleted", "again", "new", "brief"} {
			want, there := c.want[name]
			got, err := past.Get(t.Context(), name)
			if string(got) != want || there == errors.Is(err, fs.ErrNotExist) {
				t.Errorf("after %v: %s is %q, %v; want %q", c.when, name, got, err, want)
			}
			if part, err := past.GetRange(t.Context(), name, 1, 1); there && (err != nil || string(part) != want[1:2]) {
				t.Errorf("after %v: part of %s is %q, %v", c.when, name, part, err)
			}
		}
		refusesChanges(t, past)
	}
}

// TestS3AsOfReal: the versions of a real server. It changes the time of a
// version that is hidden (see s3past.go), so only what is there is asked for.
func TestS3AsOfReal(t *testing.T) {
	server := storetest.Versitygw(t)
	server.KeepVersions(t)
	o := server.Options(t)
	s := storetest.OpenStore(t, o)
	for _, name := range []string{"a/deleted", "a/kept", "b/kept"} {
		storetest.MustPut(t, s, name, []byte(name))
	}
	if err := s.Delete(t.Context(), "a/deleted"); err != nil {
		t.Fatal(err)
	}
	for when, want := range map[time.Duration][]string{-time.Hour: nil, time.Hour: {"a/kept", "b/kept"}} {
		o.AsOf = time.Now().Add(when)
		past := storetest.OpenStore(t, o)
		if got := storetest.Names(t, past, ""); !slices.Equal(got, want) {
			t.Errorf("%v: %q, want %q", when, got, want)
		}
		for _, name := range []string{"a/deleted", "a/kept", "b/kept"} {
			got, err := past.Get(t.Context(), name)
			if there := slices.Contains(want, name); there == errors.Is(err, fs.ErrNotExist) || there && string(got) != name {
				t.Errorf("%v: %s: %q %v", when, name, got, err)
			}
		}
	}
}

// TestS3WithoutVersions: a bucket that keeps none shows what it has.
func TestS3WithoutVersions(t *testing.T) {
	server := storetest.Fake(t)
	o := server.Options(t)
	storetest.MustPut(t, storetest.OpenStore(t, o), "x", []byte("x"))
	for when, want := range map[time.Duration]int{-time.Hour: 0, time.Hour: 1} {
		o.AsOf = time.Now().Add(when)
		past := storetest.OpenStore(t, o)
		if got := storetest.Names(t, past, ""); len(got) != want {
			t.Errorf("%v: %q", when, got)
		}
		if got, err := past.Get(t.Context(), "x"); (err == nil) != (want == 1) || want == 1 && string(got) != "x" {
			t.Errorf("%v: %q %v", when, got, err)
		}
	}
}

// TestS3ManyKeys: lists of several pages.
func TestS3ManyKeys(t *testing.T) {
	server := storetest.Fake(t)
	s := place(t, server, nil)
	prefix := strings.TrimPrefix(s.String(), "s3://"+storetest.Bucket+"/")
	var want []string
	for n := range 2500 {
		name := fmt.Sprintf("k/%04d", n)
		want = append(want, name)
		if _, err := server.Backend.PutObject(storetest.Bucket, prefix+"/"+name, map[string]string{}, strings.NewReader("x"), 1, nil); err != nil {
			t.Fatal(err)
		}
	}
	if got := storetest.Names(t, s, "k/"); !slices.Equal(got, want) {
		t.Errorf("%d names", len(got))
	}
}
