package storage_test

import (
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/repository/store"
	"github.com/lifeboat-db/lifeboat/internal/repository/store/storetest"
	"github.com/lifeboat-db/lifeboat/internal/server"
)

// TestPairs: two that archive one server into one place, with segments of their
// own sizes, started and ended at any moment: what both have stored is the
// server's log, and neither has overwritten anything: every object is what its
// name says, and a bucket that keeps versions has one of each.
func TestPairs(t *testing.T) {
	one(t, 8, func(t *testing.T, d server.Distribution) {
		r := random(t)
		s := start(t, d)
		gateway := storetest.Versitygw(t)
		gateway.KeepVersions(t)
		objects := 0
		for n := range pairs {
			o := store.Options{URL: t.TempDir()}
			if n%2 == 1 {
				o = gateway.Options(t)
			}
			repo := create(t, o)
			s.pair(repo, o, r)
			objects += whole(t, o)
			if n%2 == 1 {
				putOnce(t, o)
			}
			logs := s.logs()
			s.exec("PURGE BINARY LOGS TO '" + filepath.Base(logs[len(logs)-1]) + "'")
		}
		t.Logf("%d rounds, %d objects", pairs, objects)
	})
}

// pair lets two archive a while; one of them is ended and comes back. What is
// archived then is the server's log.
func (s *source) pair(repo *repository.Repository, o store.Options, r *rand.Rand) {
	s.t.Helper()
	all := make([]*archiver, 2)
	stops := make([]func(), 2)
	for i := range all {
		all[i] = s.archiver(open(s.t, o))
		all[i].SegmentBytes, all[i].Flush = 1<<(8+r.IntN(14)), time.Duration(1+r.IntN(60))*time.Millisecond
		stops[i] = all[i].run(s.t)
	}
	s.write(r.IntN(15), r)
	one := r.IntN(2)
	stops[one]()
	s.write(r.IntN(10), r)
	stops[one] = all[one].run(s.t)
	s.write(1+r.IntN(10), r)
	s.same(repo)
	for i, stop := range stops {
		stop()
		if len(all[i].alarms) > 0 {
			s.t.Errorf("alarms: %v", all[i].alarms)
		}
	}
}

func open(t *testing.T, o store.Options) *repository.Repository {
	t.Helper()
	r, err := repository.Open(t.Context(), repository.Location{Name: "r", Options: o})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// whole checks that each object of a place fits its name, and counts them.
func whole(t *testing.T, o store.Options) int {
	t.Helper()
	s := storetest.OpenStore(t, o)
	names := storetest.Names(t, s, "s/")
	for _, name := range names {
		data, err := s.Get(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(data)
		if !strings.HasPrefix(hex.EncodeToString(sum[:]), name[strings.LastIndexByte(name, '-')+1:]) {
			t.Errorf("%s is not what was put", name)
		}
	}
	return len(names)
}

// putOnce checks that no key of a place has two versions, or was deleted.
func putOnce(t *testing.T, o store.Options) {
	t.Helper()
	for key, n := range versions(t, o) {
		if n != 1 {
			t.Errorf("%s was put %d times", key, n)
		}
	}
}

// versions counts how often each key of a place was put.
func versions(t *testing.T, o store.Options) map[string]int {
	t.Helper()
	bucket, prefix, _ := strings.Cut(strings.TrimPrefix(o.URL, "s3://"), "/")
	c := s3.New(s3.Options{BaseEndpoint: &o.Endpoint, Region: "us-east-1", UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(o.AccessKey, o.SecretKey, "")})
	count := map[string]int{}
	pages := s3.NewListObjectVersionsPaginator(c, &s3.ListObjectVersionsInput{Bucket: &bucket, Prefix: aws.String(prefix + "/")})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range page.Versions {
			count[aws.ToString(v.Key)]++
		}
		for _, d := range page.DeleteMarkers {
			count[aws.ToString(d.Key)]++
		}
	}
	if len(count) == 0 {
		t.Error("no versions")
	}
	return count
}
