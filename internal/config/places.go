package config

import (
	"fmt"

	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/repository/store"
)

// Location is what package repository needs to write there, and to read what
// is not encrypted. It reads the files of the access keys, and so does Keys when
// these are refused.
func (r Repository) Location() (repository.Location, error) {
	l := repository.Location{Name: r.Name, Recipients: r.Recipients, Options: store.Options{
		URL: r.URL, Endpoint: r.Endpoint, Region: r.Region, CAFile: r.CAFile, PathStyle: r.PathStyle,
	}}
	if r.AccessKeyFile == "" && r.SecretKeyFile == "" {
		return l, nil
	}
	l.Keys = r.keys
	var err error
	l.AccessKey, l.SecretKey, err = r.keys()
	return l, err
}

func (r Repository) keys() (access, secret string, err error) {
	for path, into := range map[string]*string{r.AccessKeyFile: &access, r.SecretKeyFile: &secret} {
		if path == "" {
			continue
		}
		if *into, err = readSecret(path); err != nil {
			return "", "", fmt.Errorf("repository %s: key for S3: %w", r.Name, err)
		}
	}
	return access, secret, nil
}

// Readable is Location with the private keys, for hosts that restore.
func (r Repository) Readable() (repository.Location, error) {
	l, err := r.Location()
	if err != nil {
		return l, err
	}
	for _, path := range r.Identities {
		if _, err := readSecret(path); err != nil {
			return repository.Location{}, fmt.Errorf("repository %s: identity: %w", r.Name, err)
		}
	}
	l.Identities = r.Identities
	return l, nil
}

// Source is the data source name of a server, the password in it: not to be
// shown. It reads the option file, which others must not be able to read if
// there is a password in it.
func (s Server) Source() (string, error) {
	if s.DefaultsFile == "" {
		return s.DSN, nil
	}
	dsn, err := WithDefaults(s.DSN, s.DefaultsFile)
	if err != nil {
		return "", fmt.Errorf("server %s: %w", s.Name, err)
	}
	if _, private, err := readFile(s.DefaultsFile); err != nil || private || !holdsPassword(dsn) {
		return dsn, fault.FromOS(err)
	}
	return "", fmt.Errorf("server %s: %w", s.Name, tooOpen(s.DefaultsFile))
}
