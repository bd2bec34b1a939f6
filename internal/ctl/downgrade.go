package ctl

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"etcd.alt/client"
)

func (t *tool) downgradeCommand() *cobra.Command {
	return group("downgrade", "Commands about an earlier version of the cluster",
		t.downgradeTo("validate", "Say whether the members may be brought back to a version", (*client.Client).DowngradeValidate),
		t.downgradeTo("enable", "Begin to bring the members back to a version", (*client.Client).DowngradeEnable),
		&cobra.Command{
			Use:   "cancel",
			Short: "Give a downgrade up",
			Args:  cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return t.downgrade(cmd.Context(), "cancel", (*client.Client).DowngradeCancel)
			},
		})
}

func (t *tool) downgradeTo(name, short string, do func(*client.Client, context.Context, string) (*client.DowngradeResponse, error)) *cobra.Command {
	return &cobra.Command{
		Use:   name + " <TARGET_VERSION>",
		Short: short,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch len(args) {
			case 0:
				return badArguments("TARGET_VERSION not provided")
			case 1:
			default:
				return badArguments("too many arguments")
			}
			return t.downgrade(cmd.Context(), name, func(c *client.Client, ctx context.Context) (*client.DowngradeResponse, error) {
				return do(c, ctx, args[0])
			})
		},
	}
}

func (t *tool) downgrade(ctx context.Context, name string, do func(*client.Client, context.Context) (*client.DowngradeResponse, error)) error {
	return t.run(ctx, func(ctx context.Context, c *client.Client) error {
		res, err := do(c, ctx)
		if err != nil {
			return err
		}
		return t.show(shown{
			simple: func(w io.Writer) { fmt.Fprintf(w, "Downgrade %s success, cluster version %s\n", name, res.Version) },
			json:   func() any { return jsonVersion{toJSONHeader(res.Header), res.Version} },
			proto:  res,
		})
	})
}
