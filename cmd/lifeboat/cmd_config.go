package main

import (
	"errors"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/lifeboat-db/lifeboat/internal/config"
	"github.com/lifeboat-db/lifeboat/internal/ui"
)

func configCommand() *cobra.Command {
	return family(&cobra.Command{
		Use:   "config",
		Short: "Check the configuration, or see an example",
	}, configCheckCommand(), configExampleCommand())
}

func configCheckCommand() *cobra.Command {
	var asJSON bool
	var flags *config.Flags
	cmd := &cobra.Command{
		Use:   "check [flags]",
		Short: "Read and validate the configuration, and show what holds and why",
		Long: `Check reads the configuration as all commands do, the files with passwords and
keys included, and shows every key, its value and where that is from. Passwords
and keys are never shown. It asks no server and no repository.

Every key is a flag of every command that reads the configuration, and a
variable: archive.flush is --archive-flush and LIFEBOAT_ARCHIVE_FLUSH,
servers[0].dsn is --server1-dsn and LIFEBOAT_SERVER1_DSN. A flag counts more than
a variable, and that more than the file.

` + exitCodes,
		Example: `  lifeboat config check
  lifeboat config check --config ./lifeboat.yaml --json | jq -r '.values[] | [.key, .value] | @tsv'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return checkConfig(flags.Sources(os.Environ()), asJSON, cmd.OutOrStdout())
		},
	}
	flags = config.AddFlags(cmd.Flags(), "set", "servers", "repositories", "archive", "backup", "restore", "expire", "drill")
	cmd.Flags().BoolVar(&asJSON, "json", false, "write one JSON object to standard output")
	return cmd
}

// checked is the report of config check.
type checked struct {
	SchemaVersion int            `json:"schema_version"`
	File          string         `json:"file,omitempty"`
	Values        []config.Value `json:"values"`
}

func checkConfig(s config.Sources, asJSON bool, out io.Writer) error {
	report := checked{SchemaVersion: 1, Values: []config.Value{}}
	loaded, err := config.Load(s)
	if err == nil {
		report.File, report.Values = loaded.File, loaded.Values()
		err = checkSecrets(loaded)
	}
	if asJSON {
		return writeJSON(out, report, err)
	}
	if loaded == nil {
		return err
	}
	rows := make([][]string, len(report.Values))
	for i, v := range report.Values {
		rows[i] = []string{v.Key, v.Value, v.Origin.String()}
	}
	_, werr := io.WriteString(out, ui.Columns([]string{"Key", "value", "from"}, rows))
	return errors.Join(err, werr)
}

// checkSecrets reads the files that the configuration names.
func checkSecrets(c *config.Loaded) error {
	var errs []error
	for _, s := range c.Servers {
		_, err := s.Source()
		errs = append(errs, err)
	}
	for _, r := range c.Repositories {
		_, err := r.Readable()
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func configExampleCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "example",
		Short: "Print a configuration file with every key and what it is for",
		Example: `  lifeboat config example > lifeboat.yaml
  lifeboat config check --config lifeboat.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := io.WriteString(cmd.OutOrStdout(), config.Example())
			return err
		},
	}
}
