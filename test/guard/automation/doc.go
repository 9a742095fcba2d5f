// Package automation holds tests of where automation meets the guard: its SSH
// forced command behind a real sshd, and the examples.
package automation
