package store

import (
	"context"

	"github.com/lifeboat-db/lifeboat/internal/fault"
)

func openS3(context.Context, string, string, Options) (Store, error) {
	return nil, fault.Usagef("S3 is not built yet")
}
