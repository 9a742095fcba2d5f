//go:build man

package main

import (
	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// extras are the commands that only scripts/package builds: cobra/doc brings a
// renderer of Markdown.
func extras() []*cobra.Command {
	return []*cobra.Command{{
		Use:    "man DIR",
		Short:  "Write a man page of each command",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			root.DisableAutoGenTag = true
			return doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "lifeboat-guard " + version, Manual: "Lifeboat"}, args[0])
		},
	}}
}
