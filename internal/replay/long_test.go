//go:build long

package replay

const long = true
