//go:build !long

package faults_test

// How much a plain test run does; see doc.go.
const (
	transactions = 2500
	kills        = 4
	serverKills  = 2
	everywhere   = false
)
