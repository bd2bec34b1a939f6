package ctl

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"etcd.alt/client/concurrency"
)

// electionTTL is how long a leader that has gone silent stays one, in seconds.
const electionTTL = 60

// errElectionExpired is a candidacy, or a leadership, whose lease was lost.
var errElectionExpired = errors.New("elect: session expired")

func (t *tool) electCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "elect [options] <election-name> [proposal]",
		Short: "Be elected, and lead until a signal comes; or see who leads",
	}
	listen := cmd.Flags().BoolP("listen", "l", false, "show each leader, and take no part")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) != 1 && len(args) != 2:
			return badArguments("elect takes one election name argument and an optional proposal argument")
		case *listen && len(args) == 2:
			return badArguments("proposal given but -l is set")
		case *listen:
			return t.observe(cmd.Context(), args[0])
		case len(args) == 1:
			return badArguments("no proposal argument but -l not set")
		}
		return t.inSession(cmd.Context(), electionTTL, errElectionExpired, func(ctx context.Context, s *concurrency.Session) error {
			e := concurrency.NewElection(s, args[0])
			if err := e.Campaign(ctx, args[1]); err != nil {
				return err
			}
			if err := t.showHeld(ctx, s, e.Key(), errElectionExpired); err != nil {
				return err
			}
			<-ctx.Done()
			return nil
		})
	}
	return cmd
}

// observe shows each leader until a signal comes.
func (t *tool) observe(ctx context.Context, name string) error {
	c, err := t.reach(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	for res, err := range concurrency.Observe(ctx, c, name) {
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		if err := t.show(t.shownGet(res, false)); err != nil {
			return err
		}
	}
	return nil
}
