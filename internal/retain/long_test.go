//go:build long

package retain

const long = true
