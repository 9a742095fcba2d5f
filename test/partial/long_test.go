//go:build long

package partial_test

const long = true
