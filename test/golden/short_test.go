//go:build !long

package golden

const long = false
