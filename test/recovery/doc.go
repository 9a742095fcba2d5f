// Package recovery holds the whole way of a recovery, on real servers: backup,
// traffic, archive, loss, restore, proof.
package recovery
