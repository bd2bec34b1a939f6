package ctl

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"etcd.alt/client"
)

func (t *tool) defragCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "defrag [options]",
		Short: "Have the members of --endpoints give back space, one after the other",
		Args:  cobra.NoArgs,
	}
	cluster := cmd.Flags().Bool("cluster", false, "all members of the cluster")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		endpoints, err := t.every(ctx, *cluster)
		if err != nil {
			return err
		}
		c, err := t.connectTo(ctx, endpoints)
		if err != nil {
			return err
		}
		defer c.Close()
		failed := false
		for _, e := range endpoints {
			failed = t.defragment(ctx, c, e) != nil || failed
		}
		if failed {
			return said()
		}
		return nil
	}
	return cmd
}

func (t *tool) defragment(ctx context.Context, c *client.Client, endpoint string) error {
	ctx, cancel := context.WithTimeout(ctx, t.global.commandTimeout)
	defer cancel()
	began := time.Now()
	_, err := c.Defragment(ctx, endpoint)
	took := time.Since(began)
	if err != nil {
		fmt.Fprintf(t.stderr, "Failed to defragment etcd member[%s]. took %v. (%s)\n", endpoint, took, t.brief(err))
	} else {
		fmt.Fprintf(t.stdout, "Finished defragmenting etcd member[%s]. took %v\n", endpoint, took)
	}
	return err
}
