//go:build long

package collation

const long = true
