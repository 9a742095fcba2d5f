package mysqld

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/lifeboat-db/lifeboat/internal/gtid"
)

// GrantError says which privileges an account lacks, and how to give them.
type GrantError struct {
	Account   string // as CURRENT_USER() has it
	Missing   []string
	Statement string // what an administrator runs, "" if that would not help
	Reason    string
}

func (e *GrantError) Error() string {
	if e.Statement == "" {
		return fmt.Sprintf("the grants of %s are not proven to be sufficient: %s", e.Account, e.Reason)
	}
	return fmt.Sprintf("%s lacks %s: without them the server hides what it should say; run: %s",
		e.Account, strings.Join(e.Missing, ", "), e.Statement)
}

// Needed are the privileges, all on *.*, without which a server hides things or
// refuses to say them. MariaDB's names are those since 10.5.2.
func Needed(f gtid.Flavor) []string {
	if f == gtid.MariaDB {
		return []string{"PROCESS", "BINLOG MONITOR", "SLAVE MONITOR", "REPLICATION MASTER ADMIN"}
	}
	return []string{"PROCESS", "REPLICATION CLIENT", "REPLICATION SLAVE", "XA_RECOVER_ADMIN"}
}

const schemaSelect = "SELECT ON performance_schema.*"

// grantLine is a line of SHOW GRANTS about privileges, not roles or proxies.
var grantLine = regexp.MustCompile("^GRANT ([A-Za-z_, ]+) ON (\\*\\.\\*|`?performance_schema`?\\.\\*) TO [`'\\w]")

// CheckGrants returns nil if the lines of SHOW GRANTS, which has those of the
// active roles among them, name all that is needed. Lines that are not
// understood grant nothing; a REVOKE line makes all unproven.
func CheckGrants(f gtid.Flavor, account string, lines []string) error {
	var have []string
	for _, line := range lines {
		if strings.HasPrefix(strings.TrimSpace(line), "REVOKE") { //check:grants-partial-revoke
			return &GrantError{Account: account, Reason: "partial revokes are not understood: " + line}
		}
		have = append(have, granted(f, line)...)
	}
	var missing []string
	for _, need := range Needed(f) {
		if !slices.Contains(have, need) { //check:grants-missing
			missing = append(missing, need)
		}
	}
	if f == gtid.MySQL && !slices.Contains(have, "SELECT") && !slices.Contains(have, schemaSelect) { //check:grants-performance-schema
		return lacking(account, missing, true)
	}
	return lacking(account, missing, false)
}

func lacking(account string, missing []string, schema bool) error {
	if len(missing) == 0 && !schema {
		return nil
	}
	to := quoteAccount(account)
	var statements []string
	if len(missing) > 0 {
		statements = append(statements, fmt.Sprintf("GRANT %s ON *.* TO %s;", strings.Join(missing, ", "), to))
	}
	if schema {
		missing = append(missing, schemaSelect)
		statements = append(statements, fmt.Sprintf("GRANT SELECT ON performance_schema.* TO %s;", to))
	}
	return &GrantError{Account: account, Missing: missing, Statement: strings.Join(statements, " ")}
}

// granted lists the privileges a line gives, on *.* by their names.
func granted(f gtid.Flavor, line string) (names []string) {
	m := grantLine.FindStringSubmatch(line)
	if m == nil {
		return nil
	}
	global := m[2] == "*.*"
	for _, name := range strings.Split(m[1], ",") {
		name = strings.TrimSpace(name)
		switch {
		case !global:
			if name == "SELECT" || name == "ALL PRIVILEGES" {
				names = append(names, schemaSelect)
			}
		case name == "ALL PRIVILEGES":
			names = append(names, all(f)...)
		default:
			names = append(names, name)
		}
	}
	return names
}

// all is what ALL PRIVILEGES gives: on MySQL no dynamic privilege, which
// SHOW GRANTS lists in a line of their own.
func all(f gtid.Flavor) []string {
	if f == gtid.MariaDB {
		return Needed(f)
	}
	return []string{"PROCESS", "REPLICATION CLIENT", "REPLICATION SLAVE", "SELECT"}
}

// quoteAccount makes user@host, as CURRENT_USER() has it, an account name.
func quoteAccount(account string) string {
	at := strings.LastIndexByte(account, '@')
	if at < 0 {
		return quoteText(account)
	}
	return quoteText(account[:at]) + "@" + quoteText(account[at+1:])
}

func quoteText(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
