package etcdtest

import (
	"testing"
	"time"
)

func TestTrio(t *testing.T) {
	r := StartTrio(t)
	r.Servers[0].Put(t, "a", "b")
	time.Sleep(10*time.Millisecond)
}
