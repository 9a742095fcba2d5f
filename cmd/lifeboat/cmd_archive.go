package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/config"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/metrics"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/ui"
)

// gcPercent of archive run: see there.
const gcPercent = 40

func archiveCommand() *cobra.Command {
	return family(&cobra.Command{
		Use:   "archive",
		Short: "Archive binary logs continuously, and see what is archived",
	}, archiveRunCommand(), archiveStatusCommand(), archiveFetchCommand())
}

func archiveRunCommand() *cobra.Command {
	var asJSON bool
	var admit []string
	var flags *config.Flags
	cmd := &cobra.Command{
		Use:   "run [flags]",
		Short: "Archive the log of every server into every repository, until it is ended",
		Long: `Run follows the binary log of each server of the configuration, as a replica
does, and stores what it receives in each repository, byte for byte, within
about a second of each commit. What does not answer is tried again, for ever,
and nothing waits for anything else. It may be killed at any moment, and several
may run at once. What was archived already is never received again. A server
that does not belong to the set, another database's, is refused, and the others
go on.

SIGTERM or SIGINT ends it: what has been received is stored first, which may
take 30 seconds. A second signal does not wait for that.

It writes a line to standard error when something happens, and nothing else. It
ends by itself only if nothing could ever be archived: no repository can be
opened at the beginning, or every server refuses the account.

` + exitCodes,
		Example: `  lifeboat archive run
  lifeboat archive run --archive-metrics 127.0.0.1:9104 --json
  lifeboat archive run --set orders --server1-dsn 'lifeboat@unix(/run/mysqld/mysqld.sock)/' --repo1-url /srv/lifeboat/orders`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, err := loadConfig(flags, "set", "servers", "repositories")
			if err != nil {
				return err
			}
			return runArchive(cmd.Context(), loaded, admit, newLog(cmd.ErrOrStderr(), asJSON))
		},
	}
	flags = config.AddFlags(cmd.Flags(), "set", "servers", "repositories", "archive")
	cmd.Flags().StringSliceVar(&admit, "admit", nil, "names of servers that belong to the set, though they share no history with it that could be seen")
	cmd.Flags().BoolVar(&asJSON, "json", false, "write the lines as JSON objects")
	return cmd
}

func newLog(out io.Writer, asJSON bool) *slog.Logger {
	if asJSON {
		return slog.New(slog.NewJSONHandler(out, nil))
	}
	return slog.New(slog.NewTextHandler(out, nil))
}

func runArchive(ctx context.Context, c *config.Loaded, admit []string, log *slog.Logger) (err error) {
	o, err := runOptions(c)
	if err != nil {
		return err
	}
	for _, name := range admit {
		i := slices.IndexFunc(o.Servers, func(s archive.Server) bool { return s.Name == name })
		if i < 0 {
			return fault.Usagef("--admit %s: the configuration has no server of this name", name)
		}
		o.Servers[i].Admit = true
	}
	registry := metrics.NewRegistry()
	shown, logged, told := metrics.NewArchive(registry), ui.ArchiveLog(log), newNotifier(len(o.Servers)*len(o.Places))
	o.Listen = func(server, place string) archive.Listener {
		return archive.Both(archive.Both(shown.Listen(server, place), logged(server, place)), told.listen())
	}
	kept := ui.KeptLog(log)
	o.Kept = func(server string, k archive.Kept) {
		shown.Kept(server, k)
		kept(server, k)
	}
	if c.Archive.Metrics != "" {
		at, stop, err := metrics.Serve(ctx, c.Archive.Metrics, registry)
		if err != nil {
			return err
		}
		defer func() { _ = stop() }() // nothing is lost with it
		log.Info("metrics", "url", "http://"+at+"/metrics")
	}
	// It holds few large buffers, which it uses again: room for as much garbage
	// would only be memory that it never needs.
	debug.SetGCPercent(gcPercent)
	return untilEnded(ctx, log, told, func() error { return archive.Run(ctx, o) })
}

// runOptions are those of the configuration.
func runOptions(c *config.Loaded) (archive.RunOptions, error) {
	o := archive.RunOptions{Set: c.Set, Flush: c.Archive.Flush, SegmentBytes: int(c.Archive.Segment), MaxWait: c.Archive.MaxWait,
		Hold: c.Archive.Purge == config.PurgeHold, Keep: c.Archive.Keep}
	for _, s := range c.Servers {
		dsn, err := s.Source()
		if err != nil {
			return o, err
		}
		o.Servers = append(o.Servers, archive.Server{Name: s.Name, DSN: dsn, Source: s.Source})
	}
	for _, r := range c.Repositories {
		l, err := r.Location()
		if err != nil {
			return o, err
		}
		o.Places = append(o.Places, archive.Place{Name: r.Name, Open: func(ctx context.Context) (*repository.Repository, error) {
			return repository.Open(ctx, l)
		}})
	}
	return o, nil
}

// untilEnded runs until the end that a signal has asked for. A second signal
// does not wait.
func untilEnded(ctx context.Context, log *slog.Logger, told *notifier, run func() error) error {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // a log that nobody reads any more ends nothing
	done := make(chan error, 1)
	go func() { done <- run() }()
	stop := told.begin()
	defer stop()
	for asked := ctx.Err() != nil; ; {
		select {
		case err := <-done:
			if ctx.Err() != nil && err == nil {
				log.Info("ended", "stored", "all that was received")
			}
			return err
		case s := <-signals:
			if asked {
				return fault.Errorf(fault.Stopped, "archive: ended by a second signal; not all that was received may be stored, the next run receives it again")
			}
			asked = true
			told.ending()
			log.Info("ending", "signal", s.String())
		}
	}
}

func archiveStatusCommand() *cobra.Command {
	var asJSON bool
	var flags *config.Flags
	cmd := &cobra.Command{
		Use:   "status [flags]",
		Short: "Show what is archived, its gaps, and how far servers are ahead",
		Long: `Status reads every repository of the configuration and asks every server, and
shows for each log how much of it is there, from when to when, where it is not
continuous, and how far the live server is ahead. It needs no private key.

It ends with 5 if a log has a gap and no backup was taken behind it, with 6 if a
repository refuses a server as one of another database, and with 8 if a repository
cannot be read. A server that does not answer is no failure: that is what the
archive is for.

` + exitCodes,
		Example: `  lifeboat archive status
  lifeboat archive status --json | jq -r '.repositories[].logs[] | [.name, .last_commit, .behind_bytes] | @tsv'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, err := loadConfig(flags, "set", "repositories")
			if err != nil {
				return err
			}
			return showArchive(cmd.Context(), loaded, asJSON, cmd.OutOrStdout())
		},
	}
	flags = config.AddFlags(cmd.Flags(), "set", "servers", "repositories", "archive")
	cmd.Flags().BoolVar(&asJSON, "json", false, "write one JSON object to standard output")
	return cmd
}

// takenBackups are those that a restore could take; what is wrong with others info and
// verify say.
func takenBackups(ctx context.Context, r *repository.Repository, set string) (list []archive.Backup, err error) {
	found, _, err := backup.List(ctx, r, set)
	for _, m := range found {
		list = append(list, archive.Backup{ID: m.ID, Started: m.Started})
	}
	return list, err
}

func showArchive(ctx context.Context, c *config.Loaded, asJSON bool, out io.Writer) error {
	o, err := runOptions(c)
	if err != nil {
		return err
	}
	s := archive.Look(ctx, c.Set, o.Servers, o.Places, o.Hold, takenBackups)
	if ctx.Err() != nil {
		return fmt.Errorf("archive: %w", ctx.Err())
	}
	err = s.Err()
	if !asJSON {
		_, werr := io.WriteString(out, ui.ArchiveStatus(s))
		return errors.Join(err, werr)
	}
	return writeJSON(out, s, err)
}
