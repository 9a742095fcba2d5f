//go:build long

package storage_test

import "time"

// How much a long test run does.
const (
	pairs   = 70
	halves  = 40
	crashes = 300
	kills   = 100
	backoff = 1 * time.Second  // the longest; an outage is 60 of it
	latency = 10 * time.Second // of each request to storage
	long    = true
)
