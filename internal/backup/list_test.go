package backup_test

import (
	"reflect"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/backup"
)

func equal(t *testing.T, got, want backup.Manifest) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant\n%+v", got, want)
	}
}
