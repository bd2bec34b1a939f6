package ctl

import (
	"context"

	"github.com/spf13/cobra"

	"etcd.alt/client"
)

// onlyName reads the only argument of a command about a user or a role: its name.
func onlyName(cmd *cobra.Command, args []string) (string, error) {
	if len(args) != 1 {
		return "", badArguments("%[1]s %[2]s command requires %[1]s name as its argument", cmd.Parent().Name(), cmd.Name())
	}
	return args[0], nil
}

// named is a command whose only argument is the name of a user or a role, which does one
// thing to it and shows the answer.
func named[R any](t *tool, use, short string, do func(*client.Client, context.Context, string) (R, error), show func(name string, r R) shown) *cobra.Command {
	return &cobra.Command{
		Use:   use,
		Short: short,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := onlyName(cmd, args)
			if err != nil {
				return err
			}
			return t.run(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				r, err := do(c, ctx, name)
				if err != nil {
					return err
				}
				return t.show(show(name, r))
			})
		},
	}
}
