package store

import (
	"context"
	"net/http"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// keyRing holds the keys that requests are signed with. They are read again when
// the server refuses them: a daemon outlives its keys.
type keyRing struct {
	read func() (access, secret string, err error) // nil: they never change

	mu   sync.Mutex
	keys aws.Credentials
	age  int // how often they have changed
}

func newKeyRing(o Options) *keyRing {
	return &keyRing{read: o.Keys, keys: aws.Credentials{AccessKeyID: o.AccessKey, SecretAccessKey: o.SecretKey, SessionToken: o.SessionToken, Source: "lifeboat"}}
}

// Retrieve is called for every request.
func (k *keyRing) Retrieve(context.Context) (aws.Credentials, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.keys, nil
}

// current says which keys a call begins with.
func (k *keyRing) current() int {
	if k == nil {
		return 0
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.age
}

// others reports whether there are other keys than those of that age. A file that
// cannot be read just now has none.
func (k *keyRing) others(age int) bool {
	if k == nil || k.read == nil {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.age != age {
		return true // another call has read them
	}
	access, secret, err := k.read()
	if err != nil || access == k.keys.AccessKeyID && secret == k.keys.SecretAccessKey {
		return false
	}
	k.keys.AccessKeyID, k.keys.SecretAccessKey, k.keys.SessionToken = access, secret, ""
	k.age++
	return true
}

// refusesKeys tells errors that other keys may mend: any refusal, since servers
// differ in how they say that they do not know a key.
func refusesKeys(err error) bool {
	switch statusOf(err) {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusBadRequest:
		return true
	}
	return false
}
