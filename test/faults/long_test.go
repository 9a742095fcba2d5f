//go:build long

package faults_test

// How much a long test run does; see doc.go.
const (
	transactions = 25000
	kills        = 20
	serverKills  = 10
	everywhere   = true
)
