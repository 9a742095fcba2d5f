package store_test

import (
	"testing"

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
