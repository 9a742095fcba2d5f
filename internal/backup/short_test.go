//go:build !long

package backup_test

// everywhere: see cases and TestFullAndIncrements.
const everywhere = false
