// Package nfpm is a module of its own that pins, by hash, the tool with which
// scripts/package makes .deb and .rpm. Nothing of it is linked into Lifeboat.
//
// It is v2.43.4: later ones (v2.48.0) need modules that cannot be had through
// the Go module proxy.
package nfpm
