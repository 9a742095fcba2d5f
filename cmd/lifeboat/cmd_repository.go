package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lifeboat-db/lifeboat/internal/config"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository"
)

func repositoryCommand() *cobra.Command {
	return family(&cobra.Command{
		Use:   "repository",
		Short: "Make repositories, where logs and backups are kept",
	}, repositoryCreateCommand())
}

func repositoryCreateCommand() *cobra.Command {
	var asJSON bool
	var flags *config.Flags
	cmd := &cobra.Command{
		Use:   "create [flags] [NAME...]",
		Short: "Make the repositories of the configuration",
		Long: `Create makes each repository of the configuration, or those that are named, in
an empty place: a directory, or an existing bucket with a prefix. With recipients
everything in it will be encrypted for them; that cannot be changed later. What
is there already is never touched, and is an error.

` + exitCodes,
		Example: `  lifeboat repository create
  lifeboat repository create main
  lifeboat repository create --repo1-url /srv/lifeboat/orders --repo1-recipients age1…`,
		RunE: func(cmd *cobra.Command, names []string) error {
			loaded, err := loadConfig(flags, "repositories")
			if err != nil {
				return err
			}
			return createRepositories(cmd.Context(), loaded, names, asJSON, cmd.OutOrStdout())
		},
	}
	flags = config.AddFlags(cmd.Flags(), "repositories")
	cmd.Flags().BoolVar(&asJSON, "json", false, "write one JSON object to standard output")
	return cmd
}

// loadConfig reads the configuration, in which these keys must have a value.
func loadConfig(flags *config.Flags, need ...string) (*config.Loaded, error) {
	loaded, err := config.Load(flags.Sources(os.Environ()))
	if err != nil {
		return nil, err
	}
	return loaded, loaded.Need(need...)
}

// created is a repository that has been made.
type created struct {
	Name       string   `json:"name"`
	Place      string   `json:"place"` // name and URL
	ID         string   `json:"id"`
	Recipients []string `json:"recipients"` // none: it is not encrypted
}

func createRepositories(ctx context.Context, c *config.Loaded, names []string, asJSON bool, out io.Writer) error {
	for _, name := range names {
		if !slices.ContainsFunc(c.Repositories, func(r config.Repository) bool { return r.Name == name }) {
			return fault.Usagef("repository create: the configuration has no repository %q", name)
		}
	}
	report := struct {
		SchemaVersion int       `json:"schema_version"`
		Repositories  []created `json:"repositories"`
	}{1, []created{}}
	var errs []error
	for _, r := range c.Repositories {
		if len(names) > 0 && !slices.Contains(names, r.Name) {
			continue
		}
		made, err := createRepository(ctx, r)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		report.Repositories = append(report.Repositories, made)
	}
	err := errors.Join(errs...)
	if asJSON {
		return writeJSON(out, report, err)
	}
	for _, made := range report.Repositories {
		fmt.Fprint(out, made.text())
	}
	return err
}

func createRepository(ctx context.Context, r config.Repository) (created, error) {
	l, err := r.Location()
	if err != nil {
		return created{}, err
	}
	made, err := repository.Create(ctx, l, r.Recipients)
	if err != nil {
		return created{}, err
	}
	return created{Name: made.Name(), Place: made.String(), ID: made.ID(), Recipients: append([]string{}, made.Recipients()...)}, nil
}

func (c created) text() string {
	if len(c.Recipients) == 0 {
		return fmt.Sprintf("Made %s, id %s. It is not encrypted: the configuration has no recipients for it.\n", c.Place, c.ID)
	}
	return fmt.Sprintf("Made %s, id %s, encrypted for %s.\n", c.Place, c.ID, strings.Join(c.Recipients, ", "))
}
