//go:build !man

package main

import "github.com/spf13/cobra"

// extras: see man.go.
func extras() []*cobra.Command { return nil }
