// Package badinput gives lifeboat what an operator in a hurry gives it: wrong
// files, damaged files, wrong positions, accounts that may not do enough,
// nonsense. Each case has its documented exit code, one clear line on the
// standard error, and leaves the target as it was: rows, databases and global
// variables.
//
//	LIFEBOAT_BIN=PATH   the lifeboat to test; default: built from here
package badinput
