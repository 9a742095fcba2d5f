//go:build long

package schedules

// ordinary is how many schedules run in make test-long.
const ordinary = 1000
