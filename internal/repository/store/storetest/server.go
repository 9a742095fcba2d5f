package storetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/lifeboat-db/lifeboat/internal/installed"
	"github.com/lifeboat-db/lifeboat/internal/repository/store"
)

// Bucket that the servers have.
const Bucket = "bucket"

// Server is an S3 server on loopback.
type Server struct {
	Endpoint string
	Backend  *s3mem.Backend // of Fake
	faults   atomic.Pointer[Fault]
	places   atomic.Int64
}

// Fault answers a request in the server's stead, or lets it through by next.
type Fault func(w http.ResponseWriter, r *http.Request, next http.Handler)

// Options of a place of its own in the bucket.
func (s *Server) Options(t testing.TB) store.Options {
	t.Helper()
	return store.Options{
		URL:      fmt.Sprintf("s3://%s/a/place-%d", Bucket, s.places.Add(1)),
		Endpoint: s.Endpoint, PathStyle: true, AccessKey: "access", SecretKey: "secret-of-a-test",
		MaxWait: time.Millisecond,
	}
}

// Place is one for Run.
func (s *Server) Place(t *testing.T) Open {
	o := s.Options(t)
	return func(t *testing.T) store.Store { return OpenStore(t, o) }
}

// OpenStore opens a place.
func OpenStore(t testing.TB, o store.Options) store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Break lets a fault stand before the server from now on; nil takes it away.
func (s *Server) Break(f Fault) {
	if f == nil {
		s.faults.Store(nil)
		return
	}
	s.faults.Store(&f)
}

// serve puts the server's faults before h.
func (s *Server) serve(t testing.TB, h http.Handler) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := s.faults.Load(); f != nil {
			(*f)(w, r, h)
			return
		}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(web.Close)
	s.Endpoint = web.URL
}

// Fake is gofakes3 in this process. It checks no signatures.
func Fake(t testing.TB, options ...s3mem.Option) *Server {
	t.Helper()
	s := &Server{Backend: s3mem.New(options...)}
	if err := s.Backend.CreateBucket(Bucket); err != nil {
		t.Fatal(err)
	}
	s.serve(t, gofakes3.New(s.Backend).Server())
	return s
}

// KeepVersions turns versioning on in the bucket.
func (s *Server) KeepVersions(t testing.TB) {
	t.Helper()
	c := s3.New(s3.Options{
		BaseEndpoint: &s.Endpoint, Region: "us-east-1", UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider("access", "secret-of-a-test", ""),
	})
	_, err := c.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{
		Bucket: aws.String(Bucket), VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Versitygw is the server that scripts/versitygw has installed, as a process.
// It keeps objects as files, and checks signatures.
func Versitygw(t testing.TB) *Server {
	t.Helper()
	program, dir := versitygw(t), t.TempDir()
	for _, d := range []string{"root/" + Bucket, "versions"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	address := freePort(t)
	run(t, program, "--access", "access", "--secret", "secret-of-a-test", "--port", address, "--quiet",
		"posix", "--versioning-dir", filepath.Join(dir, "versions"), filepath.Join(dir, "root"))
	s := &Server{Endpoint: "http://" + address}
	wait(t, s.Endpoint)
	return s
}

// Front is a server through which another one is reached: its faults stand
// between. A request whose body breaks off on the way is broken off at the
// other server, too.
func (s *Server) Front(t testing.TB) *Server {
	t.Helper()
	target, err := url.Parse(s.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target) // it leaves the Host, which is signed, as it is
	proxy.ErrorLog = log.New(io.Discard, "", 0)
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { Reset(w) }
	front := &Server{}
	front.serve(t, proxy)
	return front
}

func versitygw(t testing.TB) string {
	path := os.Getenv("LIFEBOAT_VERSITYGW")
	if path == "" {
		path = filepath.Join(installed.Dir(), "versitygw", "versitygw")
	}
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no S3 server: run scripts/versitygw (%v)", err)
	}
	return path
}

func freePort(t testing.TB) string {
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // nothing was sent
	return l.Addr().String()
}

// run starts a program that ends with the test, or with this process: the
// kernel's parent death signal comes when the thread ends that has started it,
// so one thread stays for that.
func run(t testing.TB, argv ...string) {
	t.Helper()
	cmd := exec.CommandContext(context.Background(), argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	started, ended := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(ended)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // killed
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended by itself
		<-ended
	})
}

// wait waits until a server answers anything.
func wait(t testing.TB, url string) {
	t.Helper()
	for {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(r)
		if err == nil {
			_ = answer.Body.Close() // only read
			return
		}
		if t.Context().Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Refuse answers with an error of S3.
func Refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, `<?xml version="1.0"?><Error><Code>%s</Code><Message>a test says so</Message></Error>`, code)
}

// Lose lets a request be done and its answer be lost: the connection is reset.
func Lose(w http.ResponseWriter, r *http.Request, next http.Handler) {
	next.ServeHTTP(httptest.NewRecorder(), r)
	Reset(w)
}

// Cut lets an answer be cut off after n bytes of its body.
func Cut(w http.ResponseWriter, r *http.Request, next http.Handler, n int64) {
	answer := httptest.NewRecorder()
	next.ServeHTTP(answer, r)
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Length", fmt.Sprint(answer.Body.Len()))
	w.WriteHeader(answer.Code)
	_, _ = io.Copy(w, io.LimitReader(bytes.NewReader(answer.Body.Bytes()), n))
	_ = http.NewResponseController(w).Flush()
	Reset(w)
}

// Reset ends the connection of a request, as a machine does that has died.
func Reset(w http.ResponseWriter) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // reset instead of an orderly end
	}
	_ = c.Close()
}

// IsPut tells puts of objects.
func IsPut(r *http.Request) bool { return r.Method == http.MethodPut }

// IsGet tells reads of objects from lists.
func IsGet(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.Count(strings.Trim(r.URL.Path, "/"), "/") > 0
}
