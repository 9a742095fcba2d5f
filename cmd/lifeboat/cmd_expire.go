package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/lifeboat-db/lifeboat/internal/config"
	"github.com/lifeboat-db/lifeboat/internal/retain"
	"github.com/lifeboat-db/lifeboat/internal/ui"
)

func expireCommand() *cobra.Command {
	var dryRun, asJSON bool
	var repository string
	var flags *config.Flags
	cmd := &cobra.Command{
		Use:   "expire [flags]",
		Short: "Remove backups and logs that nothing needs any more",
		Long: `Expire removes what lies beyond expire.keep_full and expire.keep_for: as many full
backups stay with all their increments, it stays possible to restore to any
moment of that time, and so does every log that leads on from a backup that
stays. What a running backup or restore needs is not touched, the last full
backup never goes, and where a manifest cannot be read nothing goes.

Look first: --dry-run shows what would go, and why everything else stays.

` + exitCodes,
		Example: `  lifeboat expire --dry-run
  lifeboat expire --expire-keep-full 3 --expire-keep-for 1440h`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, err := loadConfig(flags, "set", "repositories")
			if err != nil {
				return err
			}
			named, err := repositoriesNamed(loaded, repository)
			for _, r := range named {
				err = errors.Join(err, expireOne(cmd.Context(), loaded, r.Name, dryRun, asJSON, cmd.OutOrStdout()))
			}
			return err
		},
	}
	flags = config.AddFlags(cmd.Flags(), "set", "repositories", "expire")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show what would be removed, and remove nothing")
	cmd.Flags().StringVar(&repository, "repository", "", "name of the repository (default: each)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "write one JSON object a repository to standard output")
	return cmd
}

func expireOne(ctx context.Context, c *config.Loaded, name string, dryRun, asJSON bool, out io.Writer) error {
	repo, err := openOne(ctx, c, name, time.Time{})
	if err != nil {
		return err
	}
	policy := retain.Policy{KeepFull: c.Expire.KeepFull, KeepFor: c.Expire.KeepFor}
	if err := policy.Validate(); err != nil {
		return err
	}
	inv, err := retain.Survey(ctx, repo, c.Set)
	if err != nil {
		return err
	}
	d := retain.Plan(inv, policy, time.Now())
	if asJSON {
		err = json.NewEncoder(out).Encode(d)
	} else {
		_, err = io.WriteString(out, ui.Expiry(name, d, dryRun))
	}
	if err != nil || dryRun {
		return err
	}
	return errors.Join(retain.Apply(ctx, repo, d), repo.Sweep(ctx))
}
