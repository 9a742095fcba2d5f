package main

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/lifeboat-db/lifeboat/internal/config"
	"github.com/lifeboat-db/lifeboat/internal/drill"
	"github.com/lifeboat-db/lifeboat/internal/restore"
	"github.com/lifeboat-db/lifeboat/internal/ui"
)

func infoCommand() *cobra.Command {
	var asJSON bool
	var repository string
	var flags *config.Flags
	cmd := &cobra.Command{
		Use:   "info [flags]",
		Short: "Show backups, and from when to when a database can be brought back",
		Long: `Info reads what a repository holds of the set: its backups, and for each the
moments to which it leads by the archived log. It needs no private key.

How long a restore will take is told at the rates of the last drill, or of the
last restore; without any of them it is unknown.

It ends with 5 if no backup leads to the end of the archive, and with 4 if a
manifest is damaged or a restore will take longer than drill.objective.

` + exitCodes,
		Example: `  lifeboat info
  lifeboat info --json | jq -r '.backups[] | [.id, .from, .until] | @tsv'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, err := loadConfig(flags, "set", "repositories")
			if err != nil {
				return err
			}
			return showInfo(cmd.Context(), loaded, repository, asJSON, cmd.OutOrStdout())
		},
	}
	flags = config.AddFlags(cmd.Flags(), "set", "repositories", "drill")
	cmd.Flags().StringVar(&repository, "repository", "", "name of the repository to read (default: each)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "write one JSON object a repository to standard output")
	return cmd
}

func showInfo(ctx context.Context, c *config.Loaded, name string, asJSON bool, out io.Writer) (err error) {
	named, err := repositoriesNamed(c, name)
	for _, r := range named {
		err = errors.Join(err, showOne(ctx, c, r.Name, asJSON, out))
	}
	return err
}

func showOne(ctx context.Context, c *config.Loaded, name string, asJSON bool, out io.Writer) error {
	repo, err := openOne(ctx, c, name, time.Time{})
	if err != nil {
		return err
	}
	inv, err := restore.Look(ctx, repo, c.Set)
	info := restore.Inform(inv, c.Drill.Objective, func(p *restore.Plan) { drill.Predict(c.Drill.Report, p) })
	err = errors.Join(err, info.Err())
	if asJSON {
		return writeJSON(out, info, err)
	}
	_, werr := io.WriteString(out, ui.Info(info))
	return errors.Join(err, werr)
}
