// Package faults kills lifeboat and the server it replays into, cuts the
// connection between them and fills the disk, and then does what an operator
// is told to do: run the same command again until it exits with 0. The end
// state must be the source's.
//
//	LIFEBOAT_SEED=N           the seed; every failure names it
//	LIFEBOAT_KILLS=N          kills of lifeboat for each distribution
//	LIFEBOAT_SERVER_KILLS=N   kills of the target server
//	LIFEBOAT_TRANSACTIONS=N   transactions of the log
//	LIFEBOAT_BIN=PATH         the lifeboat to test; default: built from here
//
// Moments are of two kinds: uniform over the time of an undisturbed run, and
// directed, at a statement that a proxy sees on its way to the server, before
// the server has it or before lifeboat has the answer.
package faults
