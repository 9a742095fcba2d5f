package restore

import (
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/server"
)

// TestFits: files want a server of their vendor and series, a dump one that is not
// older.
func TestFits(t *testing.T) {
	for _, c := range []struct {
		flavor                    server.Flavor
		version, backedUp, driver string
		want                      bool
	}{
		{server.MariaDB, "10.11.18", "10.11.6-MariaDB-0+deb12u1-log", backup.MariaDBBackup, true},
		{server.MariaDB, "11.8.9", "10.11.6-MariaDB", backup.MariaDBBackup, false},
		{server.MariaDB, "11.8.9", "10.11.6-MariaDB", backup.Dump, true},
		{server.MariaDB, "10.11.18", "11.8.9-MariaDB", backup.Dump, false},
		{server.MySQL, "9.7.4", "9.7.4-2", backup.Clone, true},
		{server.MySQL, "9.7.4", "9.6.0", backup.Clone, false},
		{server.MySQL, "10.11.1", "10.11.6-MariaDB", backup.Dump, false},
		{server.MariaDB, "10.11.18", "10.11.6", backup.Dump, false},
		{server.MySQL, "9.7.4", "?", backup.Clone, false},
	} {
		if got := fits(server.Distribution{Flavor: c.flavor, Version: c.version}, backup.Manifest{ServerVersion: c.backedUp, Driver: c.driver}); got != c.want {
			t.Errorf("%s %s for a %s of %s: %v", c.flavor, c.version, c.driver, c.backedUp, got)
		}
	}
}
