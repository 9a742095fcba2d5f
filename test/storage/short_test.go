//go:build !long

package storage_test

import "time"

// How much a plain test run does.
const (
	pairs   = 2                      // rounds of two archivers at once, for each server
	halves  = 1                      // crashes that leave half an event, for each server
	crashes = 8                      // acknowledged segments at which the power is cut
	kills   = 3                      // kill -9 of the archiver, for each kind of place
	backoff = 50 * time.Millisecond  // the longest; an outage is 60 of it
	latency = 200 * time.Millisecond // of each request to storage
	long    = false
)
