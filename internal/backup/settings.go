package backup

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lifeboat-db/lifeboat/internal/dbconn"
)

// settingNames are variables that decide what a statement of the log does, what is
// one name, or how an index is built, and that neither log nor files carry. A replica
// has them from a configuration that is its source's; so must a private server.
// (For what the log carries with each statement see package replay.)
var settingNames = []string{
	"lower_case_table_names", "innodb_page_size",
	"default_storage_engine", "default_tmp_storage_engine", "innodb_default_row_format", "innodb_file_per_table", "innodb_strict_mode",
	"character_set_server", "collation_server", "explicit_defaults_for_timestamp", "old_mode", "system_versioning_alter_history",
	"div_precision_increment", "default_week_format", "group_concat_max_len", "max_sort_length", "default_regex_flags",
	"cte_max_recursion_depth", "max_recursive_iterations", "max_sp_recursion_depth",
	"ft_min_word_len", "ft_max_word_len", "innodb_ft_min_token_size", "innodb_ft_max_token_size", "innodb_ft_enable_stopword", "ngram_token_size",
}

// engines are those that every server has; one with another default does not start
// where that is missing.
var engines = []string{"INNODB", "MYISAM", "ARIA", "MEMORY"}

// readSettings asks a server for what it has of settingNames.
func readSettings(ctx context.Context, q dbconn.Querier) (map[string]string, error) {
	settings, err := dbconn.Pairs(ctx, q, "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('"+strings.Join(settingNames, "', '")+"')")
	if err != nil {
		return nil, fmt.Errorf("ask for its settings: %w", err)
	}
	maps.DeleteFunc(settings, func(name, value string) bool {
		return strings.HasSuffix(name, "_engine") && !slices.Contains(engines, strings.ToUpper(value))
	})
	return settings, nil
}
