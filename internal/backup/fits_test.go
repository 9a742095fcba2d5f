package backup

import (
	"strings"
	"testing"
)

// TestFits: files want a server of their vendor and series, a dump one that is not
// older.
func TestFits(t *testing.T) {
	for _, c := range []struct {
		flavor, version, backedUp, driver string
		want                              bool
	}{
		{"mariadb", "10.11.18", "10.11.6-MariaDB-0+deb12u1-log", MariaDBBackup, true},
		{"mariadb", "11.8.9", "10.11.6-MariaDB", MariaDBBackup, false},
		{"mariadb", "11.8.9", "10.11.6-MariaDB", Dump, true},
		{"mariadb", "10.11.18", "11.8.9-MariaDB", Dump, false},
		{"mysql", "9.7.4", "9.7.4-2", Clone, true},
		{"mysql", "9.7.4", "9.6.0", Clone, false},
		{"mysql", "10.11.1", "10.11.6-MariaDB", Dump, false},
		{"mariadb", "10.11.18", "10.11.6", Dump, false},
		{"mysql", "9.7.4", "?", Clone, false},
	} {
		m := Manifest{Flavor: "MySQL", ServerVersion: c.backedUp, Driver: c.driver}
		if strings.Contains(c.backedUp, "MariaDB") {
			m.Flavor = "MariaDB"
		}
		if got := m.Fits(c.flavor, c.version); got != c.want {
			t.Errorf("%s %s for a %s of %s: %v", c.flavor, c.version, c.driver, c.backedUp, got)
		}
	}
}
