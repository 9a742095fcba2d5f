package store

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/lifeboat-db/lifeboat/internal/fault"
)

// S3 is a Store in a bucket of S3 or a server that speaks its protocol. An
// object NAME has the key PREFIX/NAME.
//
// Put is one PutObject with If-None-Match: *, which servers must know: one that
// ignores it would overwrite. Content-MD5, which all of them check, and the
// hash of the content in the signature keep damaged bytes out. A server that
// lists in another order than that of the bytes of keys is refused.
//
// A call is tried again, after a growing and random wait, when the server
// says that it cannot now, or the connection fails. That leaves open whether
// a Put has been done; if the next try finds the object, its bytes decide.
type S3 struct {
	client *s3.Client
	keys   *keyRing // nil: the SDK's own
	bucket string
	prefix string // empty, or ends in a slash
	asOf   time.Time
	tries  int           // negative: until the context ends
	wait   time.Duration // the longest
}

const (
	defaultTries = 10
	longestWait  = time.Minute
	firstWait    = 200 * time.Millisecond
)

func openS3(ctx context.Context, bucket, prefix string, o Options) (*S3, error) {
	if prefix != "" {
		if err := CheckName(prefix); err != nil {
			return nil, fault.Usagef("the prefix in the bucket: %w", err)
		}
		prefix += "/"
	}
	client, keys, err := newClient(ctx, o)
	if err != nil {
		return nil, err
	}
	s := &S3{client: client, keys: keys, bucket: bucket, prefix: prefix, asOf: o.AsOf, tries: o.Tries, wait: o.MaxWait}
	if s.tries == 0 {
		s.tries = defaultTries
	}
	if s.wait <= 0 || s.wait > longestWait {
		s.wait = longestWait
	}
	return s, nil
}

// String is the URL.
func (s *S3) String() string { return "s3://" + strings.TrimSuffix(s.bucket+"/"+s.prefix, "/") }

// again marks an error after which the call is tried again whatever it is.
type again struct{ error }

func (e again) Unwrap() error { return e.error }

// try calls until that has come to an end.
func (s *S3) try(ctx context.Context, op string, call func() error) error {
	for n := 1; ; n++ {
		keys := s.keys.current()
		err := call()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("%s: %w", op, ctx.Err())
		case refusesKeys(err) && s.keys.others(keys):
			continue
		case !transient(err) || s.tries > 0 && n >= s.tries:
			return explain(op, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w; the last try: %w", op, ctx.Err(), explain(op, err))
		case <-time.After(backoff(n, s.wait)):
		}
	}
}

// backoff is the wait after try n, from 1 on: doubled each time up to longest,
// of which the second half is random, so that many do not come back at once.
func backoff(n int, longest time.Duration) time.Duration {
	wait := min(firstWait<<min(n-1, 16), longest)
	return wait/2 + rand.N(wait/2+1)
}

// Put makes an object.
func (s *S3) Put(ctx context.Context, name string, data []byte) error {
	if err := checkPut(ctx, name, data, s.asOf); err != nil {
		return err
	}
	unsure := false // whether an earlier try has made it
	return s.try(ctx, "put", func() error {
		err := s.putOnce(ctx, name, data)
		switch statusOf(err) {
		case http.StatusConflict:
			return s.settle(ctx, name, data, unsure, err)
		case http.StatusPreconditionFailed:
			if !unsure {
				return fs.ErrExist
			}
			return s.settle(ctx, name, data, unsure, err)
		}
		unsure = true
		return err
	})
}

func (s *S3) putOnce(ctx context.Context, name string, data []byte) error {
	sum := md5.Sum(data)
	out, err := s.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket:        &s.bucket,
		Key:           aws.String(s.prefix + name),
		Body:          bytes.NewReader(data),
		ContentLength: aws.Int64(int64(len(data))),
		ContentMD5:    aws.String(base64.StdEncoding.EncodeToString(sum[:])),
		ContentType:   aws.String("application/octet-stream"),
		IfNoneMatch:   aws.String("*"),
	})
	if err == nil && aws.ToString(out.ETag) == "" {
		return errNoPut
	}
	return err
}

// settle decides what a conflict means: 409 is also said while another put or
// delete is under way, and 412 of what an earlier try of this call has made.
func (s *S3) settle(ctx context.Context, name string, data []byte, unsure bool, conflict error) error {
	there, err := s.getOnce(ctx, &s3.GetObjectInput{}, name)
	switch {
	case err == nil && unsure && bytes.Equal(there, data):
		return nil
	case err == nil:
		return fs.ErrExist
	case isMissing(err):
		return again{conflict}
	}
	return err
}

// Get reads an object.
func (s *S3) Get(ctx context.Context, name string) ([]byte, error) {
	return s.get(ctx, name, &s3.GetObjectInput{})
}

// GetRange reads a part of an object.
func (s *S3) GetRange(ctx context.Context, name string, offset, length int64) ([]byte, error) {
	if err := checkRange(offset, length); err != nil {
		return nil, err
	}
	data, err := s.get(ctx, name, &s3.GetObjectInput{Range: aws.String(fmt.Sprintf("bytes=%d-%d", offset, offset+length-1))})
	if statusOf(err) == http.StatusRequestedRangeNotSatisfiable {
		return nil, nil // behind the end
	}
	return data, err
}

func (s *S3) get(ctx context.Context, name string, in *s3.GetObjectInput) (data []byte, err error) {
	if err := check(ctx, name); err != nil {
		return nil, err
	}
	if in.VersionId, err = s.versionOf(ctx, name); err != nil {
		return nil, err
	}
	err = s.try(ctx, "get", func() error {
		data, err = s.getOnce(ctx, in, name)
		return err
	})
	return data, err
}

// getOnce reads an object, or the part that in asks for. A body that ends before
// its Content-Length is an error of net/http.
func (s *S3) getOnce(ctx context.Context, in *s3.GetObjectInput, name string) (data []byte, err error) {
	in.Bucket, in.Key = &s.bucket, aws.String(s.prefix+name)
	out, err := s.client.GetObject(ctx, in)
	if err != nil {
		return nil, err
	}
	data, err = io.ReadAll(io.LimitReader(out.Body, MaxObject+1))
	err = errors.Join(err, out.Body.Close())
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the object: %w", err)
	case len(data) > MaxObject:
		return nil, fault.Errorf(fault.VerifyFailed, "more than %d bytes", MaxObject)
	}
	return data, checkPart(in.Range, out.ContentRange)
}

// checkPart compares the part that came, "bytes 0-9/100", with the one that was
// asked for, "bytes=0-19".
func checkPart(asked, came *string) error {
	if asked == nil {
		return nil
	}
	first, _, _ := strings.Cut(strings.TrimPrefix(*asked, "bytes="), "-")
	if came == nil || !strings.HasPrefix(*came, "bytes "+first+"-") {
		return fault.Errorf(fault.Storage, "the server does not give parts of objects")
	}
	return nil
}

// Delete removes an object. In a bucket with versions, a marker hides it.
func (s *S3) Delete(ctx context.Context, name string) error {
	if !s.asOf.IsZero() {
		return errPast
	}
	if err := check(ctx, name); err != nil {
		return err
	}
	return s.try(ctx, "delete", func() error {
		_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: aws.String(s.prefix + name)})
		if isMissing(err) {
			return nil
		}
		return err
	})
}

// List asks for the keys, a thousand at a time.
func (s *S3) List(ctx context.Context, prefix string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		if err := s.list(ctx, prefix, yield); err != nil && !errors.Is(err, errStopped) {
			yield(Entry{}, err)
		}
	}
}

func (s *S3) list(ctx context.Context, prefix string, yield func(Entry, error) bool) error {
	if err := checkPrefix(prefix); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	l := listing{store: s, yield: yield}
	if !s.asOf.IsZero() {
		return l.past(ctx, prefix)
	}
	return l.present(ctx, prefix)
}

// listing is one listing.
type listing struct {
	store *S3
	yield func(Entry, error) bool
	last  string // key that was given last
}

func (l *listing) present(ctx context.Context, prefix string) error {
	in := &s3.ListObjectsV2Input{Bucket: &l.store.bucket, Prefix: aws.String(l.store.prefix + prefix)}
	for {
		page, err := l.store.page(ctx, in)
		if err != nil {
			return err
		}
		for _, o := range page.Contents {
			if err := l.give(aws.ToString(o.Key), aws.ToInt64(o.Size), aws.ToTime(o.LastModified)); err != nil {
				return err
			}
		}
		if !aws.ToBool(page.IsTruncated) {
			return nil
		}
		if in.ContinuationToken = page.NextContinuationToken; aws.ToString(in.ContinuationToken) == "" {
			return errTorn
		}
	}
}

func (s *S3) page(ctx context.Context, in *s3.ListObjectsV2Input) (page *s3.ListObjectsV2Output, err error) {
	err = s.try(ctx, "list", func() error {
		page, err = s.client.ListObjectsV2(ctx, in)
		return err
	})
	if err == nil && aws.ToString(page.Name) == "" {
		err = errNoList
	}
	return page, err
}

// What no S3 server says; a web server might.
var (
	errNoList = fault.New(fault.Storage, errors.New("list: the answer is not the list of a bucket"), "check the endpoint")
	errNoPut  = fault.New(fault.Storage, errors.New("the answer is not that to a put"), "check the endpoint")
)

var (
	errTorn  = fault.Errorf(fault.Storage, "list: the server says that there is more, and not where")
	errOrder = fault.New(fault.Storage, errors.New("list: the server's order is not that of the bytes of keys"), "directory buckets cannot be used")
)

// give hands a key to the caller, unless it is none of an object.
func (l *listing) give(key string, size int64, modified time.Time) error {
	if key <= l.last && l.last != "" {
		return errOrder
	}
	l.last = key
	name, ok := strings.CutPrefix(key, l.store.prefix)
	if !ok || CheckName(name) != nil {
		return nil
	}
	if !l.yield(Entry{Name: name, Size: size, Modified: modified}, nil) {
		return errStopped
	}
	return nil
}
