//go:build !long

package retain

const long = false
