package restore_test

import (
	"path/filepath"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// TestPasswordPolicy: a server that demands strong passwords comes back with its
// demands, and lets a restore in.
func TestPasswordPolicy(t *testing.T) {
	for _, c := range []struct {
		flavor  server.Flavor
		driver  string
		install []string
	}{
		{server.MySQL, backup.Clone, []string{"INSTALL COMPONENT 'file://component_validate_password'", "SET PERSIST validate_password.policy = STRONG", "SET PERSIST validate_password.length = 40"}},
		{server.MySQL, backup.Dump, []string{"INSTALL COMPONENT 'file://component_validate_password'"}},
		{server.MariaDB, backup.MariaDBBackup, []string{"INSTALL SONAME 'simple_password_check'", "INSTALL SONAME 'password_reuse_check'"}},
		{server.MariaDB, backup.Dump, []string{"INSTALL SONAME 'simple_password_check'", "INSTALL SONAME 'password_reuse_check'"}},
	} {
		if !long && c.driver == backup.Dump {
			continue
		}
		t.Run(string(c.flavor)+","+c.driver, func(t *testing.T) {
			w := newWorld(t, servertest.Of(t, c.flavor))
			w.exec(c.install...)
			// What a restore has left that nobody has finished.
			w.exec("CREATE USER lifeboat_restore@localhost IDENTIFIED BY 'Aa1!Bb2?Cc3.Dd4,Ee5-Ff6_Gg7+Hh8*Ii9/Jj0=Kk1'")
			w.backup(c.driver, backup.Options{})
			w.traffic(5, "after")
			w.exec("CREATE USER u@localhost IDENTIFIED BY 'Aa1!Bb2?Cc3.Dd4,Ee5-Ff6_Gg7+Hh8*Ii9/Jj0=Kk1'", "GRANT SELECT ON d.* TO u@localhost")
			w.archived()
			dir := filepath.Join(t.TempDir(), "data")
			w.restore(w.options(dir, ""))
			w.exec("DROP USER lifeboat_restore@localhost")
			w.same(dir, state(t, w.i))
		})
	}
}
