//go:build !long

package schedules

// ordinary is how many schedules run in make test.
const ordinary = 36
