package store

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// The time of a version is when it was made, so the server says. One that moves
// what it replaces elsewhere may say when that was (versitygw 1.8.0 does:
// backend/posix, createObjVersion): there, what was deleted is not found by the
// time before.

// version is one of a key. In a bucket without versioning each key has one, of
// the id "null".
type version struct {
	id       string
	size     int64
	modified time.Time // whole seconds
	deleted  bool      // a delete marker
	latest   bool      // what the key has now
}

// covers tells whether v hides other: it is the later one. Of the same second,
// a version hides a marker, since what can be read is worth more; and of two
// versions the one that is listed first is the later.
func (v version) covers(other version) bool {
	if v.latest || other.latest {
		return v.latest
	}
	if !v.modified.Equal(other.modified) {
		return v.modified.After(other.modified)
	}
	return other.deleted
}

// moment has what keys were at a time, for keys whose listing is not complete.
type moment struct {
	asOf time.Time
	keys map[string]version
}

func (m *moment) add(key string, v version) {
	if v.modified.After(m.asOf) {
		return
	}
	if seen, ok := m.keys[key]; !ok || v.covers(seen) {
		m.keys[key] = v
	}
}

// page adds a page of a listing, and returns the last key in it: of all before
// it everything has been said.
func (m *moment) page(page *s3.ListObjectVersionsOutput) (last string) {
	for _, v := range page.Versions {
		last = max(last, aws.ToString(v.Key))
		m.add(aws.ToString(v.Key), version{aws.ToString(v.VersionId), aws.ToInt64(v.Size), aws.ToTime(v.LastModified), false, aws.ToBool(v.IsLatest)})
	}
	for _, d := range page.DeleteMarkers {
		last = max(last, aws.ToString(d.Key))
		m.add(aws.ToString(d.Key), version{aws.ToString(d.VersionId), 0, aws.ToTime(d.LastModified), true, aws.ToBool(d.IsLatest)})
	}
	return last
}

// versions goes through the pages of a listing of versions. complete is called
// after each, with the key before which all is known; it says when to stop.
func (s *S3) versions(ctx context.Context, prefix string, m *moment, complete func(before string) error) error {
	in := &s3.ListObjectVersionsInput{Bucket: &s.bucket, Prefix: aws.String(s.prefix + prefix)}
	for {
		page, err := s.versionsPage(ctx, in)
		if err != nil {
			return err
		}
		last := m.page(page)
		if !aws.ToBool(page.IsTruncated) {
			return complete(endOfKeys)
		}
		if err := complete(last); err != nil {
			return err
		}
		in.KeyMarker, in.VersionIdMarker = page.NextKeyMarker, page.NextVersionIdMarker
		if aws.ToString(in.KeyMarker) == "" {
			return errTorn
		}
	}
}

func (s *S3) versionsPage(ctx context.Context, in *s3.ListObjectVersionsInput) (page *s3.ListObjectVersionsOutput, err error) {
	err = s.try(ctx, "list versions", func() error {
		page, err = s.client.ListObjectVersions(ctx, in)
		return err
	})
	if err == nil && aws.ToString(page.Name) == "" {
		err = errNoList
	}
	return page, err
}

// endOfKeys is greater than every key: no UTF-8 has this byte.
const endOfKeys = "\xff"

// past lists what was there at the time that is shown.
func (l *listing) past(ctx context.Context, prefix string) error {
	m := &moment{asOf: l.store.asOf, keys: map[string]version{}}
	return l.store.versions(ctx, prefix, m, func(before string) error {
		for _, key := range slices.Sorted(maps.Keys(m.keys)) {
			if key >= before {
				break
			}
			v := m.keys[key]
			delete(m.keys, key)
			if v.deleted {
				continue
			}
			if err := l.give(key, v.size, v.modified); err != nil {
				return err
			}
		}
		return nil
	})
}

// versionOf finds the version of an object at the time that is shown; none if
// that is now.
func (s *S3) versionOf(ctx context.Context, name string) (*string, error) {
	if s.asOf.IsZero() {
		return nil, nil
	}
	m := &moment{asOf: s.asOf, keys: map[string]version{}}
	key := s.prefix + name
	err := s.versions(ctx, name, m, func(before string) error {
		if strings.Compare(key, before) < 0 {
			return errStopped
		}
		return nil
	})
	if err != nil && !errors.Is(err, errStopped) {
		return nil, err
	}
	v, ok := m.keys[key]
	if !ok || v.deleted {
		return nil, missing("get")
	}
	return &v.id, nil
}
