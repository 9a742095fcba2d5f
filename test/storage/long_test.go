//go:build long

package storage_test

// How much a long test run does.
const (
	pairs   = 70
	halves  = 40
	crashes = 300
	kills   = 100
	long    = true
)
