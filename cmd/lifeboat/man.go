//go:build man

package main

import (
	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/lifeboat-db/lifeboat/internal/fault"
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
			return fault.FromOS(doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "lifeboat " + version, Manual: "Lifeboat"}, args[0]))
		},
	}}
}
