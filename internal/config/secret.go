package config

import (
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/lifeboat-db/lifeboat/internal/fault"
)

// othersMay are the permissions that others than a file's owner have. Of
// credentials that systemd has brought (LoadCredential=) the group's bits are
// the mask of an access list, which names the service's user.
func othersMay(path string, mode fs.FileMode) fs.FileMode {
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" && filepath.Dir(filepath.Clean(path)) == filepath.Clean(dir) {
		return mode.Perm() & 0o007
	}
	return mode.Perm() & 0o077
}

func readAll(f io.Reader, path string) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s: larger than %d bytes", path, maxFile)
	}
	return text, err
}

// readSecret reads a file that nobody but its owner can read.
func readSecret(path string) (string, error) {
	text, private, err := readFile(path)
	if err != nil {
		return "", fault.New(fault.Storage, err, "check the name of the file and whether this user may read it")
	}
	if !private {
		return "", tooOpen(path)
	}
	secret := strings.TrimSpace(string(text))
	if secret == "" {
		return "", fault.Errorf(fault.Storage, "%s: it is empty", path)
	}
	return secret, nil
}

func tooOpen(path string) error {
	return fault.New(fault.Storage, fmt.Errorf("%s: it holds a secret, and others can read it", path), "chmod 600 "+path+" and let it belong to the user that runs this")
}

const hidden = "***"

// quote shows a value in a message.
func quote(path, text string) string { return strconv.Quote(show(path, text)) }

// show is the text of a key's value without secrets, also without such as
// stand where they do not belong.
func show(path, text string) string {
	word := path[strings.LastIndexByte(path, '.')+1:]
	switch {
	case text == "":
		return ""
	case strings.Contains(strings.ToUpper(text), "SECRET-KEY"):
		return hidden
	case word == "dsn":
		return showDSN(text)
	case word == "url" || word == "endpoint":
		return showURL(text)
	case (strings.HasSuffix(word, "_file") || word == "identities") && !filepath.IsAbs(text):
		return hidden // perhaps what belongs into the file
	}
	return text
}

func showDSN(text string) string {
	cfg, err := mysql.ParseDSN(text)
	switch {
	case err != nil:
		return hidden
	case cfg.Passwd == "":
		return text
	}
	cfg.Passwd = hidden
	return cfg.FormatDSN()
}

func showURL(text string) string {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return hidden
	case u.User == nil && u.RawQuery == "" && u.Fragment == "":
		return text
	}
	return u.Scheme + "://" + hidden + "@" + u.Host + u.Path
}

// holdsPassword tells DSNs with a password. One that cannot be read has none
// that counts.
func holdsPassword(dsn string) bool {
	cfg, err := mysql.ParseDSN(dsn)
	return err == nil && cfg.Passwd != ""
}
