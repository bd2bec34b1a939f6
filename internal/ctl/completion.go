package ctl

import (
	"io"

	"github.com/spf13/cobra"
)

func (t *tool) completionCommand() *cobra.Command {
	shells := []struct {
		name  string
		write func(root *cobra.Command, w io.Writer) error
	}{
		{"bash", func(root *cobra.Command, w io.Writer) error { return root.GenBashCompletionV2(w, true) }},
		{"fish", func(root *cobra.Command, w io.Writer) error { return root.GenFishCompletion(w, true) }},
		{"powershell", func(root *cobra.Command, w io.Writer) error { return root.GenPowerShellCompletionWithDesc(w) }},
		{"zsh", func(root *cobra.Command, w io.Writer) error { return root.GenZshCompletion(w) }},
	}
	g := group("completion", "Commands that print completion scripts")
	for _, s := range shells {
		g.AddCommand(&cobra.Command{
			Use:   s.name,
			Short: "Print the completion script for " + s.name,
			Args:  cobra.NoArgs,
			RunE:  func(cmd *cobra.Command, _ []string) error { return s.write(cmd.Root(), t.stdout) },
		})
	}
	return g
}
