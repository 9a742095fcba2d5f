//go:build !long

package recovery

const long = false
