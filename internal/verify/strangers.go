package verify

import (
	"context"
	"slices"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/backup"
)

// strangers finds servers whose logs or backups are there while no record of the
// set's members has them, where there are any: the record is written first, and
// nobody removes it.
func (v *verifier) strangers(ctx context.Context, set string, backups []backup.Manifest) error {
	members, err := archive.LoadMembers(ctx, v.Repository, set)
	if err != nil {
		return err
	}
	var servers []string
	for _, f := range v.files(set) {
		servers = append(servers, f.Server)
	}
	for _, m := range backups {
		servers = append(servers, m.Server)
	}
	slices.Sort(servers)
	for _, server := range slices.Compact(servers) {
		if !members.Has(server) {
			v.found(Finding{Kind: Missing, Object: set + "/members/" + server + "-",
				Cause: "no record of the set's members has this server, and restores leave out what is there of it; if it is one, archive it with --admit"})
		}
	}
	return nil
}
