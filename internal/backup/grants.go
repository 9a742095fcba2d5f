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
	lines, err := column(ctx, db, "SHOW GRANTS")
	if err != nil {
		return err
	}
	if missing := missingGrants(lines, wanted); len(missing) > 0 {
		return fault.New(fault.Storage, fmt.Errorf("the account lacks %s", strings.Join(missing, ", ")),
			"GRANT "+strings.Join(missing, ", ")+" ON *.* TO it")
	}
	return nil
}

// column is the one column of a query's answer.
func column(ctx context.Context, db *sql.DB, query string) (list []string, err error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, denied(err)
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, denied(rows.Err())
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
