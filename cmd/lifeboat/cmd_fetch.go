package main

import (
	"context"
	"errors"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/config"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/ui"
)

type fetchOptions struct {
	dir, repository, asOf string
	server, since, until  string
	json                  bool
}

func archiveFetchCommand() *cobra.Command {
	var o fetchOptions
	var flags *config.Flags
	cmd := &cobra.Command{
		Use:   "fetch --dir DIR [flags]",
		Short: "Bring archived binary logs back as files",
		Long: `Fetch writes archived binary logs into a directory, as files of their own names,
byte for byte as the server had them: for lifeboat inspect, to find the accident
that a restore is to stop before or to skip, or for the vendor's mysqlbinlog. The
server need not be there any more. A restore needs no fetch.

Without --since and --until it brings the whole log; else the files with commits
of that time, and all between them. Every byte is verified. A file that is there
already is kept if it is the same, goes on if it is the beginning of what is
archived by now, and else is refused: run again, it goes on.

It ends with 5 if there is nothing of that time, or if the files have a gap.

` + exitCodes,
		Example: `  lifeboat archive fetch --dir /srv/logs --since 2014-01-10T17:00:00-08:00 --until 2014-01-10T18:00:00-08:00
  lifeboat inspect /srv/logs/*

  lifeboat archive fetch --dir /srv/logs --server 3e11fa47-71ca-11e1-9e33-c80aa9429562 --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, err := loadConfig(flags, "set", "repositories")
			if err != nil {
				return err
			}
			return runFetch(cmd.Context(), loaded, o, cmd.OutOrStdout())
		},
	}
	flags = config.AddFlags(cmd.Flags(), "set", "repositories")
	f := cmd.Flags()
	f.StringVar(&o.dir, "dir", "", "directory for the files; it is made if it is missing")
	f.StringVar(&o.server, "server", "", "server whose log is wanted, as archive status calls it where it does not answer (default: the only one)")
	f.StringVar(&o.since, "since", "", "time with zone: files with commits at it or later")
	f.StringVar(&o.until, "until", "", "time with zone: files with commits at it or before")
	f.StringVar(&o.repository, "repository", "", "name of the repository to read (default: the first of the configuration)")
	f.StringVar(&o.asOf, "repository-as-of", "", "read the repository as it was at this time (a bucket with versioning)")
	f.BoolVar(&o.json, "json", false, "write one JSON object to standard output")
	return cmd
}

func runFetch(ctx context.Context, c *config.Loaded, o fetchOptions, out io.Writer) error {
	if o.dir == "" {
		return fault.Usagef("--dir is missing: the directory for the files")
	}
	var times [3]time.Time
	for i, t := range []struct{ flag, text string }{{"since", o.since}, {"until", o.until}, {"repository-as-of", o.asOf}} {
		var err error
		if times[i], err = moment(t.flag, t.text); err != nil {
			return err
		}
	}
	r, err := openOne(ctx, c, o.repository, times[2])
	if err != nil {
		return err
	}
	logs, err := archive.Load(ctx, r, c.Set)
	if err != nil {
		return err
	}
	log, err := archive.Choose(logs, archive.Want{Server: o.server, Since: times[0], Until: times[1]})
	if err != nil {
		return err
	}
	var now atomic.Pointer[archive.FetchProgress]
	begun := time.Now()
	stop := ui.Live(os.Stderr, func() string { return ui.FetchLine(now.Load(), time.Since(begun)) })
	rep, err := archive.FetchLog(ctx, r, c.Set, log, o.dir, func(p archive.FetchProgress) { now.Store(&p) })
	stop()
	if o.json {
		return writeJSON(out, rep, err)
	}
	_, werr := io.WriteString(out, ui.FetchedLog(rep))
	return errors.Join(err, werr)
}

// moment parses the value of a flag that is a time; the zero Time is none.
func moment(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return t, fault.Usagef("--%s %s: want a time such as 2014-01-10T17:30:00Z", flag, text)
	}
	return t, nil
}
