// Package versitygw is a module of its own that pins, by hash, the S3 server
// that scripts/versitygw builds for tests. Nothing of it is linked into
// Lifeboat.
package versitygw
