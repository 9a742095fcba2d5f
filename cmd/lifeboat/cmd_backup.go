package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/config"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/retain"
	"github.com/lifeboat-db/lifeboat/internal/ui"
	"github.com/lifeboat-db/lifeboat/internal/units"
)

// backupOptions are the flags of backup that are no keys of the configuration.
type backupOptions struct {
	server string
	tools  map[string]string
	lock   bool
	admit  bool
	json   bool
}

func backupCommand() *cobra.Command {
	var o backupOptions
	var flags *config.Flags
	cmd := &cobra.Command{
		Use:   "backup [flags]",
		Short: "Take a full or incremental backup into every repository",
		Long: `Backup copies a running server into every repository of the configuration,
without a second copy on disk: what the driver reads is cut into parts,
compressed, encrypted if the repository is, and stored while it is read. Until
the last part is there, there is no backup. A server that does not belong to the
set, another database's, is refused (6).

Drivers: mariadb-backup (MariaDB; full and incremental), clone (MySQL 8.4 and
later, with the clone plugin; Lifeboat itself is the recipient), and dump, the
vendor's own tool, for what neither can do. auto takes the first that suits.

` + exitCodes,
		Example: `  lifeboat backup
  lifeboat backup --backup-incremental --server db2
  lifeboat backup --backup-driver dump --backup-throttle 20MiB --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, err := loadConfig(flags, "set", "servers", "repositories")
			if err != nil {
				return err
			}
			return runBackup(cmd.Context(), loaded, o, cmd.OutOrStdout())
		},
	}
	flags = config.AddFlags(cmd.Flags(), "set", "servers", "repositories", "backup")
	cmd.Flags().StringVar(&o.server, "server", "", "name of the server to copy (default: the first of the configuration)")
	cmd.Flags().StringToStringVar(&o.tools, "tool", nil, "NAME=PATH of a tool of the vendor (default: in PATH)")
	cmd.Flags().BoolVar(&o.lock, "lock", false, "of a dump: lock all tables meanwhile, so that MyISAM tables may be in it")
	cmd.Flags().BoolVar(&o.admit, "admit", false, "the server belongs to the set, though it shares no history with it that could be seen")
	cmd.Flags().BoolVar(&o.json, "json", false, "write one JSON object to standard output")
	return cmd
}

func runBackup(ctx context.Context, c *config.Loaded, o backupOptions, out io.Writer) error {
	source, err := serverNamed(c, o.server)
	if err != nil {
		return err
	}
	dsn, err := source.Source()
	if err != nil {
		return err
	}
	repositories, err := openAll(ctx, c)
	if err != nil {
		return err
	}
	var now atomic.Pointer[backup.Progress]
	stop := ui.Live(os.Stderr, func() string { return backupLine(now.Load()) })
	m, err := backup.Take(ctx, backup.Options{
		Repositories: repositories, Set: c.Set, Driver: driverOf(c), Incremental: c.Backup.Incremental,
		PartBytes: int(c.Backup.Part), Workers: c.Backup.Workers, Held: c.Backup.Held,
		Source: backup.Source{DSN: dsn, Tools: o.tools, Throttle: int64(c.Backup.Throttle), Lock: o.lock},
		Hold:   holder(c.Set, retain.WhatBackup, repositories...),
		Admit: func(ctx context.Context, r *repository.Repository) error {
			return archive.Admit(ctx, archive.Admission{Repository: r, Set: c.Set, DSN: dsn, Asked: o.admit})
		},
		Progress: func(p backup.Progress) { now.Store(&p) },
	})
	stop()
	if o.json {
		return writeJSON(out, m, err)
	}
	if err != nil {
		return err
	}
	_, err = io.WriteString(out, ui.Backup(m))
	return err
}

func backupLine(p *backup.Progress) string {
	switch {
	case p == nil:
		return "backup: starting"
	case p.Total > p.Bytes:
		return fmt.Sprintf("backup: %s of about %s", units.Bytes(p.Bytes), units.Bytes(p.Total))
	default:
		return "backup: " + units.Bytes(p.Bytes)
	}
}

// driverOf is the name of the driver; empty: the first that suits.
func driverOf(c *config.Loaded) string {
	if c.Backup.Driver == "auto" {
		return ""
	}
	return c.Backup.Driver
}

// serverNamed is a server of the configuration; without a name the first.
func serverNamed(c *config.Loaded, name string) (config.Server, error) {
	for _, s := range c.Servers {
		if name == "" || s.Name == name {
			return s, nil
		}
	}
	return config.Server{}, fault.Usagef("--server %s: the configuration has no server of this name", name)
}

// openAll opens every repository, for writing.
func openAll(ctx context.Context, c *config.Loaded) (list []*repository.Repository, err error) {
	for _, r := range c.Repositories {
		l, err := r.Location()
		if err != nil {
			return nil, err
		}
		opened, err := repository.Open(ctx, l)
		if err != nil {
			return nil, err
		}
		list = append(list, opened)
	}
	return list, nil
}

// openOne opens a repository by its name, with the private keys; none: the
// first.
func openOne(ctx context.Context, c *config.Loaded, name string, asOf time.Time) (*repository.Repository, error) {
	named, err := repositoriesNamed(c, name)
	if err != nil {
		return nil, err
	}
	l, err := named[0].Readable()
	if err != nil {
		return nil, err
	}
	l.AsOf = asOf
	return repository.Open(ctx, l)
}

// repositoriesNamed are those of the configuration, or the one of a name.
func repositoriesNamed(c *config.Loaded, name string) ([]config.Repository, error) {
	if name == "" {
		return c.Repositories, nil
	}
	for _, r := range c.Repositories {
		if r.Name == name {
			return []config.Repository{r}, nil
		}
	}
	return nil, fault.Usagef("--repository %s: the configuration has no repository of this name", name)
}
