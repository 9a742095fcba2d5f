package clone

import (
	"errors"
	"fmt"
	"strings"

	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/lifeboat-db/lifeboat/internal/fault"
)

// The server's error numbers that go-mysql lacks (MySQL 9.7
// share/messages_to_clients.txt).
const (
	accountLocked   = 3118 // ER_ACCOUNT_HAS_BEEN_LOCKED
	lockWaitTimeout = 1205 // ER_LOCK_WAIT_TIMEOUT, of the Go driver
	pluginMissing   = 1524 // ER_PLUGIN_IS_NOT_LOADED
	tooManyClones   = 3634 // ER_CLONE_TOO_MANY_CONCURRENT_CLONES
	ddlInProgress   = 3633 // ER_CLONE_DDL_IN_PROGRESS
	secureRequired  = 3872 // ER_CLONE_ENCRYPTION
)

// classify gives an error of the server the sentinel and the next step that it
// stands for.
func classify(err error) error {
	var e *mysql.MyError
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code {
	case mysql.ER_ACCESS_DENIED_ERROR, mysql.ER_SPECIFIC_ACCESS_DENIED_ERROR, mysql.ER_DBACCESS_DENIED_ERROR, accountLocked:
		return hinted(fault.Storage, ErrDenied, err, deniedHint)
	case pluginMissing, mysql.ER_UNKNOWN_COM_ERROR:
		return hinted(fault.Refused, ErrNoPlugin, err, "on the server: INSTALL PLUGIN clone SONAME 'mysql_clone.so'")
	case tooManyClones, ddlInProgress, mysql.ER_LOCK_WAIT_TIMEOUT:
		return hinted(fault.Busy, ErrBusy, err, "run again when the other clone, or the DDL, has ended")
	case mysql.ER_INTERNAL_ERROR:
		if strings.Contains(e.Message, notFree) {
			return hinted(fault.Busy, ErrBusy, err, "run again later")
		}
		return err
	case secureRequired:
		return hinted(fault.Refused, ErrUnsupported, err, encryptedHint)
	default:
		return err
	}
}

// notFree is in the text of ER_INTERNAL_ERROR when the donor has not got rid of a
// snapshot that nobody wants any more (clone0clone.cc find_free_index).
const notFree = "failed to abort idle clone"

const deniedHint = "the account needs BACKUP_ADMIN, REPLICATION CLIENT and, if gtid_mode is not ON, RELOAD; and its password"

const encryptedHint = "encrypted data has to be backed up another way, or to be decrypted first (ALTER TABLE … ENCRYPTION = 'N')"

func hinted(class fault.Class, sentinel, err error, hint string) error {
	return fault.New(class, fmt.Errorf("%w: %w", sentinel, err), hint)
}

// unsupported refuses something of the server, with the next step.
func unsupported(hint, format string, args ...any) error {
	return fault.New(fault.Refused, fmt.Errorf("%w: %s", ErrUnsupported, fmt.Sprintf(format, args...)), hint)
}
