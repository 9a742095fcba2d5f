//go:build !long

package restore_test

// long: make test-long has more time.
const long = false
