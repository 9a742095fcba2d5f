package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/server"
)

// serial recovers a second time, as the manuals of both vendors say.
func (d *demo) serial(ctx context.Context) error {
	if !d.opt.Compare {
		return nil
	}
	return d.screen.step("The same with mysqlbinlog | mysql, for comparison", func() (string, error) {
		i, err := d.restoreInto(ctx, "serial")
		if err != nil {
			return "", err
		}
		began := time.Now()
		if err := d.pipe(ctx, i); err != nil {
			return "", fmt.Errorf("mysqlbinlog | mysql: %w", err)
		}
		d.rep.Serial = &Serial{Seconds: time.Since(began).Seconds()}
		after, err := takeState(ctx, i)
		d.rep.Serial.Equal = err == nil && unequal(Compare(d.before, after)) == 0
		d.rep.Serial.Ratio = d.rep.Serial.Seconds / d.rep.Replay.Seconds
		return "For comparison: restored the backup into a third server and replayed the logs with mysqlbinlog | mysql.", err
	})
}

func (d *demo) pipe(ctx context.Context, i *server.Instance) error {
	mysqlbinlog, err := d.dist.Tool("mysqlbinlog")
	if err != nil {
		return err
	}
	mysql, err := d.dist.Tool("mysql")
	if err != nil {
		return err
	}
	read := exec.CommandContext(ctx, mysqlbinlog, append([]string{"--no-defaults",
		fmt.Sprintf("--start-position=%d", d.backup.offset())}, d.archive...)...)
	write := exec.CommandContext(ctx, mysql, "--no-defaults", "--binary-mode", "--user=root",
		"--socket="+i.Socket(), "--max-allowed-packet=1G")
	return pipe(read, write)
}

// pipe runs two programs, one reading what the other writes.
func pipe(read, write *exec.Cmd) error {
	var readSaid, writeSaid bytes.Buffer
	out, err := read.StdoutPipe()
	if err != nil {
		return err
	}
	read.Stderr, write.Stdin, write.Stdout, write.Stderr = &readSaid, out, &writeSaid, &writeSaid
	if err := read.Start(); err != nil {
		return err
	}
	writeErr := write.Run()
	_ = out.Close() // a writer that is still at work would wait forever
	return errors.Join(said(writeErr, &writeSaid), said(read.Wait(), &readSaid))
}

// said adds the end of what a program printed to its error.
func said(err error, text *bytes.Buffer) error {
	if err == nil {
		return nil
	}
	s := strings.TrimSpace(text.String())
	return fmt.Errorf("%w: %s", err, s[max(0, len(s)-1000):])
}
