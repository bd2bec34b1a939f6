package ctl

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"etcd.alt/client"
)

func (t *tool) compactionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "compaction [options] <revision>",
		Short: "Give up the history before a revision",
	}
	physical := cmd.Flags().Bool("physical", false, "wait until the space is free")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return badArguments("compaction command needs 1 argument")
		}
		rev, err := strconv.ParseInt(args[0], 10, 64)
		if err != nil {
			return err
		}
		var options []client.CompactOption
		if *physical {
			options = append(options, client.WithCompactPhysical())
		}
		return t.run(cmd.Context(), func(ctx context.Context, c *client.Client) error {
			if _, err := c.Compact(ctx, rev, options...); err != nil {
				return err
			}
			_, err := fmt.Fprintln(t.stdout, "compacted revision", rev)
			return err
		})
	}
	return cmd
}
