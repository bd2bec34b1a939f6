package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"etcd.alt/client"
)

func (t *tool) moveLeaderCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "move-leader <memberID>",
		Short: "Have the leader hand over to a member",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return badArguments("move-leader command needs 1 argument")
			}
			to, err := strconv.ParseUint(args[0], 16, 64)
			if err != nil {
				return badArguments("bad member ID arg (%w), expecting ID in Hex", err)
			}
			return t.moveLeader(cmd.Context(), to)
		},
	}
}

func (t *tool) moveLeader(ctx context.Context, to uint64) error {
	endpoints, err := t.endpoints(ctx)
	if err != nil {
		return err
	}
	config, err := t.config(endpoints)
	if err != nil {
		return err
	}
	leader, endpoint, err := t.findLeader(ctx, config)
	if err != nil {
		return err
	}
	config.Endpoints = []string{endpoint}
	c, err := newClient(ctx, config)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, t.global.commandTimeout)
	defer cancel()
	res, err := c.MoveLeader(ctx, to)
	if err != nil {
		return err
	}
	return t.show(shown{
		simple: func(w io.Writer) { fmt.Fprintf(w, "Leadership transferred from %x to %x\n", leader, to) },
		json:   func() any { return jsonEmpty{toJSONHeader(res.Header)} },
		proto:  res,
	})
}

// findLeader returns the leader among the endpoints, and its endpoint. One that
// does not answer is passed over: it does not lead, or not for long.
func (t *tool) findLeader(ctx context.Context, config client.Config) (uint64, string, error) {
	c, err := newClient(ctx, config)
	if err != nil {
		return 0, "", err
	}
	defer c.Close()
	for _, e := range config.Endpoints {
		status, err := t.statusOf(ctx, c, e)
		switch {
		case err != nil && errors.Is(err, context.Canceled):
			return 0, "", err
		case err != nil:
			t.log.Warn("no status", zap.String("endpoint", e), zap.Error(err))
		case status.Leader != 0 && status.Leader == status.Header.GetMemberId():
			return status.Leader, e, nil
		}
	}
	return 0, "", badArguments("no leader endpoint given at %v", config.Endpoints)
}

// statusOf asks for the status of an endpoint, within the limit of a command.
func (t *tool) statusOf(ctx context.Context, c *client.Client, endpoint string) (*client.StatusResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, t.global.commandTimeout)
	defer cancel()
	return c.Status(ctx, endpoint)
}
