package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/lifeboat-db/lifeboat/internal/config"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/ui"
	"github.com/lifeboat-db/lifeboat/internal/units"
	"github.com/lifeboat-db/lifeboat/internal/verify"
)

// verifyOptions are the flags of verify that are no keys of the configuration.
type verifyOptions struct {
	verify.Options
	repository string
	states     string
	rate       string
	json       bool
}

func verifyCommand() *cobra.Command {
	var o verifyOptions
	var flags *config.Flags
	cmd := &cobra.Command{
		Use:   "verify [flags]",
		Short: "Read what is stored, and say what is damaged or missing",
		Long: `Verify reads every object of the set in each repository and compares it with the
hash in its name, which needs no private key; with --decrypt also what is in it.
It then looks whether everything is there that manifests and logs name. What is
found says which backup, or which transactions of which server, are lost by it.

With --state it remembers what it has checked, goes on where it was interrupted,
and with --max-age checks only what was not checked for so long.

It ends with 4 if anything is damaged, and with 5 if something is missing.

` + exitCodes,
		Example: `  lifeboat verify
  lifeboat verify --state /var/lib/lifeboat/verify --max-age 720h --rate 50MiB --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, err := loadConfig(flags, "set", "repositories")
			if err != nil {
				return err
			}
			return runVerify(cmd.Context(), loaded, o, cmd.OutOrStdout())
		},
	}
	flags = config.AddFlags(cmd.Flags(), "set", "repositories")
	f := cmd.Flags()
	f.StringVar(&o.repository, "repository", "", "name of the repository to read (default: each)")
	f.BoolVar(&o.Decrypt, "decrypt", false, "check also what encrypted objects hold; needs the private key")
	f.StringVar(&o.states, "state", "", "directory that remembers what was checked when (default: nothing is remembered)")
	f.DurationVar(&o.MaxAge, "max-age", 0, "leave out what was checked less than that ago")
	f.StringVar(&o.rate, "rate", "0", "bytes a second; 0: no limit")
	f.IntVar(&o.Workers, "workers", 4, "objects at once")
	f.BoolVar(&o.json, "json", false, "write one JSON object a repository to standard output")
	return cmd
}

func runVerify(ctx context.Context, c *config.Loaded, o verifyOptions, out io.Writer) (err error) {
	if o.BytesPerSecond, err = units.ParseBytes(o.rate); err != nil {
		return fault.Usagef("--rate: %v", err)
	}
	if o.states != "" {
		if err := os.MkdirAll(o.states, 0o700); err != nil {
			return fault.FromOS(fmt.Errorf("verify: %w", err))
		}
	}
	named, err := repositoriesNamed(c, o.repository)
	for _, r := range named {
		err = errors.Join(err, verifyOne(ctx, c, o, r.Name, out))
	}
	return err
}

func verifyOne(ctx context.Context, c *config.Loaded, o verifyOptions, name string, out io.Writer) (err error) {
	if o.Repository, err = openOne(ctx, c, name, time.Time{}); err != nil {
		return err
	}
	o.Set = c.Set
	if o.states != "" {
		o.State = filepath.Join(o.states, name+"."+c.Set)
	}
	var now atomic.Pointer[verify.Progress]
	o.Progress = func(p verify.Progress) { now.Store(&p) }
	stop := ui.Live(os.Stderr, func() string { return ui.VerifyLine(name, now.Load()) })
	rep, err := verify.Run(ctx, o.Options)
	stop()
	if o.json {
		return writeJSON(out, rep, err)
	}
	if rep == nil {
		return err
	}
	_, werr := io.WriteString(out, ui.Verified(rep))
	return errors.Join(err, werr)
}
