// Package afterwards holds tests of what comes after a replay: README's
// commands, and a replica that attaches to what was restored.
package afterwards
