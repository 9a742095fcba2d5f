//go:build !long

package packages

// long: make test-long has more time.
const long = false
