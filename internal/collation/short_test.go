//go:build !long

package collation

const long = false
