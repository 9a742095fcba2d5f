package restore_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/restore"
	"github.com/lifeboat-db/lifeboat/test/deposit"
)

// TestHeld: what is held is what is restored, also if a backup comes, or goes,
// between the plan and the lease.
func TestHeld(t *testing.T) {
	noon := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	for _, goes := range []bool{false, true} {
		r, _ := deposit.New(t, false)
		put := func(n int) backup.Manifest {
			at := noon.AddDate(0, 0, n)
			return deposit.Backup{Manifest: backup.Manifest{Set: "s", ID: deposit.ID(at, n), Started: at, Finished: at}, Data: [][]byte{[]byte("x")}}.Put(t, r)
		}
		first, want := put(1), put(0).ID
		if !goes {
			want = deposit.ID(noon.AddDate(0, 0, 2), 2)
		}
		var held [][]string
		released, enough := 0, errors.New("enough")
		_, err := restore.Run(t.Context(), restore.Options{Repository: r, Set: "s", Dir: filepath.Join(t.TempDir(), "data"),
			Hold: func(ctx context.Context, ids []string) (context.Context, func(), error) {
				held = append(held, ids)
				switch {
				case len(held) == 2:
					return nil, nil, enough
				case goes:
					if err := r.Delete(t.Context(), first.Object); err != nil {
						t.Fatal(err)
					}
				default:
					put(2)
				}
				return ctx, func() { released++ }, nil
			}})
		if !errors.Is(err, enough) || released != 1 || len(held) != 2 || !slices.Equal(held[0], []string{first.ID}) || !slices.Equal(held[1], []string{want}) {
			t.Errorf("goes %t: held %q, released %d, %v", goes, held, released, err)
		}
	}
}
