//go:build long

package verify_test

const long = true
