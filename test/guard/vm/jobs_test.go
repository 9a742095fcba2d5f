//go:build long

package vm

import (
	"context"
	"path/filepath"
	"testing"
)

// TestJobs: lifeboat as packaged, run by systemd with all that its units forbid
// it: archive, backups, drill and the other jobs beside a live server, which is
// brought back at the end.
func TestJobs(t *testing.T) {
	said := bootWith(t, script(t, "jobs.sh"), func(ctx context.Context, payload string) {
		dist := t.TempDir()
		run(ctx, t, "../../../scripts/package", "--format", "deb", dist)
		found, err := filepath.Glob(filepath.Join(dist, "lifeboat_*.deb"))
		if err != nil || len(found) != 1 {
			t.Fatalf("packages: %v, %v", found, err)
		}
		run(ctx, t, "cp", found[0], filepath.Join(payload, "lifeboat.deb"))
		copyServer(ctx, t, payload)
	})
	for _, want := range []string{
		"dpkg -i 0", "enabled: 0",
		"archive: active, 1 of 1 connections stand",
		"full: success 0", "incremental: success 0", "verify: success 0", "drill: success 0", "check: success 0", "expire: success 0",
		"killed: restarted 1 times", "behind: nothing", "watched: active, restarted 1 times", "stopped: 1",
		"restore: 0", "rows: x,y,z",
		"dpkg -r 0, 0 units are active, 0 have failed", "kept: 2",
	} {
		if !said[want] {
			t.Errorf("the machine did not say %q", want)
		}
	}
}
