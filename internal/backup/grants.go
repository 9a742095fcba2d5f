package backup

import (
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"strings"

	"github.com/lifeboat-db/lifeboat/internal/fault"
)

// checkGrants looks for privileges on all that the account has. A role's count
// once SHOW GRANTS lists them, which is if the role is active.
func checkGrants(ctx context.Context, db *sql.DB, wanted ...string) error {
	rows, err := db.QueryContext(ctx, "SHOW GRANTS")
	if err != nil {
		return denied(err)
	}
	defer rows.Close()
	var lines []string
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return err
		}
		lines = append(lines, line)
	}
	if err := rows.Err(); err != nil {
		return denied(err)
	}
	if missing := missingGrants(lines, wanted); len(missing) > 0 {
		return fault.New(fault.Storage, fmt.Errorf("the account lacks %s", strings.Join(missing, ", ")),
			"GRANT "+strings.Join(missing, ", ")+" ON *.* TO it")
	}
	return nil
}

var globalGrant = regexp.MustCompile(`^GRANT (.*) ON \*\.\* TO `)

// missingGrants are those wanted that no line of SHOW GRANTS has.
func missingGrants(lines, wanted []string) (missing []string) {
	has := map[string]bool{}
	for _, line := range lines {
		m := globalGrant.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		for privilege := range strings.SplitSeq(m[1], ",") {
			has[strings.ToUpper(strings.TrimSpace(privilege))] = true
		}
	}
	for _, w := range wanted {
		if !has[w] && !has["ALL PRIVILEGES"] {
			missing = append(missing, w)
		}
	}
	return missing
}
