//go:build long

package threeway_test

// histories is how many random histories each distribution gets.
const histories = 50
