//go:build long

package badinput_test

// everywhere says that every case is tried on every server.
const everywhere = true
