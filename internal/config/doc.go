// Package config reads what people have written: one YAML file, variables of
// the environment, and flags. All of them set the same keys, and Config is
// the only list of these.
//
// A key is a path in the file, such as archive.flush or servers[0].dsn. The
// flag and the variable follow from it: dashes between and within the words,
// members of lists by their singular and counted from 1.
//
//	archive.flush           --archive-flush           LIFEBOAT_ARCHIVE_FLUSH
//	servers[0].dsn          --server1-dsn             LIFEBOAT_SERVER1_DSN
//	repositories[1].ca_file --repo2-ca-file           LIFEBOAT_REPO2_CA_FILE
//
// A flag counts more than a variable, a variable more than the file, and the
// file more than the default. A flag or variable changes its one key: the other
// keys of a list's member stay those of the file. In flags and variables a list
// of texts is divided by commas.
//
// Nothing is passed over in silence: unknown keys and variables, two documents,
// wrong types and impossible values are errors, all of them told at once, each
// with its Origin.
//
// Passwords and private keys stand in files and nowhere else, because command
// lines and environments can be seen by others; and in no file that others can
// read. No message and no Value has one in it.
package config
