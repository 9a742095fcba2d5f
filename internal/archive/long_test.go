//go:build long

package archive_test

// long: make test-long has more time.
const long = true
