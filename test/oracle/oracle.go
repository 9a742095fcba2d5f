// Package oracle replays binary logs with the vendors' own tools, one
// statement after the other: `mysqlbinlog FILES | mysql`. What Lifeboat's
// replay is compared with.
//
// The oracle can be wrong itself. Known to be:
//   - MySQL 9.6 and later with REPLACE of a row that others refer to by
//     ON DELETE CASCADE: the source keeps the children and logs a delete and a
//     write; the delete, replayed, takes the children with it.
//   - MariaDB with XA: the client's one session takes nothing else between
//     XA PREPARE and XA COMMIT, and where mysqlbinlog has set
//     pseudo_slave_mode, XA PREPARE drops the session's temporary tables.
//   - A user variable that holds a DOUBLE is printed with 14 digits, and without
//     its exponent if it becomes an integer so.
//   - A statement without a default database that calls DATABASE():
//     mysqlbinlog cannot unset the one before.
//   - MyISAM in statement format with a statement that failed half-way: the
//     client stops at the error that the source logged.
package oracle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/lifeboat-db/lifeboat/internal/server"
)

// Replay applies binary logs to a running server, from a position in the
// first file.
func Replay(ctx context.Context, target *server.Instance, files []string, position int64) error {
	if err := replay(ctx, target, files, position); err != nil {
		return fmt.Errorf("oracle: %w", err)
	}
	return nil
}

// Piece is a part of a binary log that lies between two transactions.
type Piece struct {
	File     string
	From, To int64
}

// ReplayPieces applies parts of binary logs, one after the other, in one session
// each: what lies between them is left out.
func ReplayPieces(ctx context.Context, target *server.Instance, pieces []Piece) error {
	for _, p := range pieces {
		if err := replay(ctx, target, []string{p.File}, p.From, fmt.Sprintf("--stop-position=%d", p.To)); err != nil {
			return fmt.Errorf("oracle: %s from %d to %d: %w", p.File, p.From, p.To, err)
		}
	}
	return nil
}

func replay(ctx context.Context, target *server.Instance, files []string, position int64, more ...string) error {
	d := target.Distribution()
	mysqlbinlog, err := d.Tool("mysqlbinlog")
	if err != nil {
		return err
	}
	mysql, err := d.Tool("mysql")
	if err != nil {
		return err
	}
	args := append([]string{"--no-defaults", "--verify-binlog-checksum", "--local-load=" + os.TempDir(), "--force-if-open",
		fmt.Sprintf("--start-position=%d", position)}, more...)
	read := exec.CommandContext(ctx, mysqlbinlog, append(args, files...)...)
	apply := exec.CommandContext(ctx, mysql, "--no-defaults", "--binary-mode", "--local-infile=1",
		"--max-allowed-packet=1G", "--user=root", "--socket="+target.Socket())
	return pipe(read, apply)
}

// pipe runs two programs, one reading what the other writes, and reports the
// errors of both. When the reader ends early the writer's broken pipe is no
// news.
func pipe(from, to *exec.Cmd) error {
	var fromSaid, toSaid bytes.Buffer
	out, err := from.StdoutPipe()
	if err != nil {
		return err
	}
	from.Stderr, to.Stdin, to.Stderr, to.Stdout = &fromSaid, out, &toSaid, &toSaid
	if err := from.Start(); err != nil {
		return err
	}
	toErr := to.Run()
	// The reader's end must be closed, or a writer that is still at work
	// waits forever; Wait does so after what Run has consumed.
	if toErr != nil {
		_ = out.Close()
	}
	fromErr := from.Wait()
	return errors.Join(explain(to, toErr, &toSaid), explain(from, fromErr, &fromSaid))
}

func explain(cmd *exec.Cmd, err error, said *bytes.Buffer) error {
	if err == nil {
		return nil
	}
	text := strings.TrimSpace(said.String())
	if len(text) > 2000 {
		text = text[:1000] + "\n…\n" + text[len(text)-1000:]
	}
	return fmt.Errorf("%s: %w\n\t%s", cmd.Path, err, text)
}
