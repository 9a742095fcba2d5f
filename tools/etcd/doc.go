// Package etcd is a module of its own that pins, by hash, the etcd server that
// scripts/etcd builds for tests. Nothing of it is linked into Lifeboat.
package etcd
