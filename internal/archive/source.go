package archive

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/dbconn"
)

// sourceFile is a file that the server has.
type sourceFile struct {
	Name string
	Size int64
}

// Source is what a server says of its log.
type Source struct {
	Server string          // under which its log is kept
	End    binlog.Position // the zero Position: it has no log
	files  []sourceFile    // in their order
	expiry expiry
}

// askTime bounds Ask: the server opens each of its files to tell the sizes.
const askTime = time.Minute

// Ask asks a server who it is and which files it has.
func Ask(ctx context.Context, dsn string) (s Source, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	err = withServer(ctx, dsn, func(db *sql.DB, who dbconn.Server) error {
		if s.Server, err = dbconn.ServerName(ctx, db, who); err != nil {
			return fmt.Errorf("archive: %w", err)
		}
		if s.expiry, err = askExpiry(ctx, db); err != nil {
			return err
		}
		s.files, err = files(ctx, db)
		return err
	})
	if n := len(s.files); n > 0 {
		s.End = binlog.Position{File: s.files[n-1].Name, Offset: s.files[n-1].Size}
	}
	return s, err
}

// files lists the log's files. The columns are more on some versions.
func files(ctx context.Context, db *sql.DB) (list []sourceFile, err error) {
	rows, err := dbconn.Records(ctx, db, "SHOW BINARY LOGS")
	if err != nil {
		if dbconn.Number(err) == errNoBinaryLogging {
			return nil, nil
		}
		return nil, fmt.Errorf("archive: list binary logs: %w", err)
	}
	for _, said := range rows {
		f := sourceFile{Name: said["Log_name"]}
		if f.Size, err = strconv.ParseInt(said["File_size"], 10, 64); err != nil {
			return nil, fmt.Errorf("archive: size of %s: %w", f.Name, err)
		}
		if said["Encrypted"] == "Yes" {
			f.Size -= encryptionHeader
		}
		list = append(list, f)
	}
	return list, nil
}

// encryptionHeader is what a file of MySQL has before its first byte if it is
// encrypted (MySQL 8.0 sql/rpl_log_encryption.h, Rpl_encryption_header): SHOW
// BINARY LOGS counts it, the log's offsets do not.
const encryptionHeader = 512

// errNoBinaryLogging is ER_NO_BINARY_LOGGING of both vendors.
const errNoBinaryLogging = 1381
