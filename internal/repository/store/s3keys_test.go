package store_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository/store/storetest"
)

// TestKeysChange: keys that the server refuses are read again, and the call is
// done with the new ones; if these are refused, too, or cannot be read, or are the
// same, the call fails, and a later one goes on when they are right.
func TestKeysChange(t *testing.T) {
	s3 := storetest.Fake(t)
	var valid, read atomic.Pointer[string]
	set := func(p *atomic.Pointer[string], key string) { p.Store(&key) }
	s3.Break(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if !strings.Contains(r.Header.Get("Authorization"), "Credential="+*valid.Load()+"/") {
			storetest.Refuse(w, http.StatusForbidden, "InvalidAccessKeyId")
			return
		}
		next.ServeHTTP(w, r)
	})
	o := s3.Options(t)
	o.Keys = func() (string, string, error) {
		if key := *read.Load(); key != "" {
			return key, "secret of " + key, nil
		}
		return "", "", errors.New("the file is being written")
	}
	set(&valid, o.AccessKey)
	set(&read, o.AccessKey)
	s := storetest.OpenStore(t, o)
	storetest.MustPut(t, s, "a", []byte("a"))
	set(&valid, "second")
	for _, key := range []string{"", o.AccessKey, "another"} {
		set(&read, key)
		err := s.Put(t.Context(), "b", []byte("b"))
		storetest.WantClass(t, err, fault.Storage, "InvalidAccessKeyId", "check the access key")
	}
	set(&read, "second")
	storetest.MustPut(t, s, "b", []byte("b"))
	set(&valid, "third")
	set(&read, "third")
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			if err := s.Put(t.Context(), fmt.Sprintf("c%d", n), []byte("c")); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got := storetest.Names(t, s, ""); len(got) != 10 {
		t.Errorf("%q", got)
	}
}
