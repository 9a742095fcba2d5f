package store

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/lifeboat-db/lifeboat/internal/fault"
)

const (
	defaultRegion = "us-east-1"
	defaultStall  = time.Minute
)

// newClient makes a client that tries each request once: S3.try repeats whole
// calls. It sends no checksums but those that it is given, and demands none,
// since servers other than AWS's know not all of them. It does not correct a
// wrong clock: logs and points in time depend on it as well.
func newClient(ctx context.Context, o Options) (*s3.Client, *keyRing, error) {
	if err := o.checkS3(); err != nil {
		return nil, nil, err
	}
	transport, err := newTransport(o)
	if err != nil {
		return nil, nil, err
	}
	keys, region, err := findKeys(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	opts := s3.Options{
		Region: region, Credentials: keys, UsePathStyle: o.PathStyle,
		HTTPClient: &http.Client{Transport: transport, CheckRedirect: noRedirect},
		Retryer:    aws.NopRetryer{}, DisableClockSkewCorrection: true,
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
	}
	if o.Endpoint != "" {
		opts.BaseEndpoint = &o.Endpoint
	}
	ring, _ := keys.(*keyRing)
	return s3.New(opts), ring, nil
}

// noRedirect: a redirect is how a wrong region shows.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func (o *Options) checkS3() error {
	if o.Endpoint != "" {
		u, err := url.Parse(o.Endpoint)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
			return fault.Usagef("the S3 endpoint: want http://HOST or https://HOST")
		}
	}
	if (o.AccessKey == "") != (o.SecretKey == "") {
		return fault.Usagef("S3 needs both the access key and the secret key")
	}
	return nil
}

// findKeys gives the keys of o or, without any, those that AWS's own tools
// would use: of the environment, of ~/.aws, of the machine.
func findKeys(ctx context.Context, o Options) (aws.CredentialsProvider, string, error) {
	if o.AccessKey != "" {
		return newKeyRing(o), cmp.Or(o.Region, defaultRegion), nil
	}
	c, err := config.LoadDefaultConfig(ctx)
	if err == nil {
		_, err = c.Credentials.Retrieve(ctx)
	}
	if ctx.Err() != nil {
		return nil, "", ctx.Err()
	}
	if err != nil {
		return nil, "", fault.New(fault.Storage, errors.New("no keys for S3"), "give the access key and the secret key")
	}
	return c.Credentials, cmp.Or(o.Region, c.Region, defaultRegion), nil
}

// newTransport makes connections that end when nothing has moved for a while.
func newTransport(o Options) (*http.Transport, error) {
	roots, err := readRoots(o.CAFile)
	if err != nil {
		return nil, err
	}
	stall := o.Stall
	if stall <= 0 {
		stall = defaultStall
	}
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dialMoving(stall),
		TLSClientConfig:       &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   stall,
		ExpectContinueTimeout: time.Second,
		IdleConnTimeout:       stall / 2, // before the connection's own end
		MaxIdleConnsPerHost:   16,
		DisableCompression:    true,
	}, nil
}

// readRoots adds the certificates of a file to those of the system.
func readRoots(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fault.Errorf(fault.Storage, "certificates: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(text) {
		return nil, fault.New(fault.Storage, fmt.Errorf("certificates: there are none in %s", path), "want PEM: BEGIN CERTIFICATE")
	}
	return roots, nil
}

// movingConn is a connection that fails if nothing has been sent or received
// for the time of stall. An upload of any length may take its time, and a
// server that has gone away does not hold it forever.
type movingConn struct {
	net.Conn
	stall time.Duration
}

func dialMoving(stall time.Duration) func(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: stall}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &movingConn{c, stall}, nil
	}
}

func (c *movingConn) Read(b []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(c.stall)); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

// Write moves the deadline of a Read that waits, too.
func (c *movingConn) Write(b []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(c.stall)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}
