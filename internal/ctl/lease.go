package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"etcd.alt/client"
)

func (t *tool) leaseCommand() *cobra.Command {
	return group("lease", "Commands about leases",
		t.leaseGrantCommand(), t.leaseRevokeCommand(), t.leaseTimeToLiveCommand(), t.leaseKeepAliveCommand(), t.leaseListCommand())
}

// parseLeaseID reads the only argument of a command; missing is said if it is not
// the only one, or not there.
func parseLeaseID(args []string, missing string) (client.LeaseID, error) {
	if len(args) != 1 {
		return 0, badArguments("%s", missing)
	}
	id, err := strconv.ParseInt(args[0], 16, 64)
	if err != nil {
		return 0, badArguments("bad lease ID arg (%w), expecting ID in Hex", err)
	}
	return client.LeaseID(id), nil
}

// leaseRefused is the status of commands that only ask about leases.
func leaseRefused(err error) error { return &failure{exitConnection, err} }

func (t *tool) leaseGrantCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "grant <ttl>",
		Short: "Make a lease of so many seconds",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return badArguments("lease grant command needs TTL argument")
			}
			ttl, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil {
				return badArguments("bad TTL (%w)", err)
			}
			return t.run(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				res, err := c.Grant(ctx, ttl)
				if err != nil {
					return errors.New("failed to grant lease (" + t.brief(err) + ")")
				}
				return t.show(t.shownLeaseGrant(res))
			})
		},
	}
}

func (t *tool) shownLeaseGrant(r *client.LeaseGrantResponse) shown {
	return shown{
		simple: func(w io.Writer) { fmt.Fprintf(w, "lease %016x granted with TTL(%ds)\n", r.ID, r.TTL) },
		fields: func(w io.Writer) {
			t.fieldHeader(w, r.Header)
			fmt.Fprintf(w, "\"ID\" : %s\n\"TTL\" : %d\n", t.idText(uint64(r.ID)), r.TTL)
		},
		json:  func() any { return toJSONLeaseGrant(r) },
		proto: r.Header,
	}
}

func (t *tool) leaseRevokeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "revoke <leaseID>",
		Short: "End a lease, and delete its keys",
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := parseLeaseID(args, "lease revoke command needs 1 argument")
			if err != nil {
				return err
			}
			return t.run(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				res, err := c.Revoke(ctx, id)
				if err != nil {
					return errors.New("failed to revoke lease (" + t.brief(err) + ")")
				}
				return t.show(t.shownLeaseRevoke(id, res))
			})
		},
	}
}

func (t *tool) shownLeaseRevoke(id client.LeaseID, r *client.LeaseRevokeResponse) shown {
	return shown{
		simple: func(w io.Writer) { fmt.Fprintf(w, "lease %016x revoked\n", id) },
		fields: func(w io.Writer) { t.fieldHeader(w, r.Header) },
		json:   func() any { return jsonEmpty{toJSONHeader(r.Header)} },
		proto:  r.Header,
	}
}

func (t *tool) leaseTimeToLiveCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "timetolive [options] <leaseID>", Short: "Show how long a lease has left"}
	keys := cmd.Flags().Bool("keys", false, "the keys that hang on it, too")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := parseLeaseID(args, "lease timetolive command needs lease ID as argument")
		if err != nil {
			return err
		}
		var options []client.LeaseOption
		if *keys {
			options = append(options, client.WithAttachedKeys())
		}
		return t.run(cmd.Context(), func(ctx context.Context, c *client.Client) error {
			res, err := c.TimeToLive(ctx, id, options...)
			if err != nil {
				return leaseRefused(err)
			}
			return t.show(t.shownTimeToLive(res, *keys))
		})
	}
	return cmd
}

// shownTimeToLive has the keys only if they were asked for.
func (t *tool) shownTimeToLive(r *client.LeaseTimeToLiveResponse, keys bool) shown {
	return shown{
		simple: func(w io.Writer) {
			if r.GrantedTTL == 0 && r.TTL < 0 {
				fmt.Fprintf(w, "lease %016x already expired\n", r.ID)
				return
			}
			fmt.Fprintf(w, "lease %016x granted with TTL(%ds), remaining(%ds)", r.ID, r.GrantedTTL, r.TTL)
			if keys {
				fmt.Fprintf(w, ", attached keys(%s)", r.Keys)
			}
			fmt.Fprintln(w)
		},
		fields: func(w io.Writer) {
			t.fieldHeader(w, r.Header)
			fmt.Fprintf(w, "\"ID\" : %s\n\"TTL\" : %d\n\"GrantedTTL\" : %d\n", t.idText(uint64(r.ID)), r.TTL, r.GrantedTTL)
			for _, k := range r.Keys {
				fmt.Fprintf(w, "\"Key\" : %q\n", k)
			}
		},
		json:  func() any { return toJSONTimeToLive(r) },
		proto: r.Header,
	}
}

func (t *tool) leaseKeepAliveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keep-alive [options] <leaseID>",
		Short: "Keep a lease alive until it is gone, or a signal comes",
	}
	once := cmd.Flags().Bool("once", false, "have it begin anew, once")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := parseLeaseID(args, "lease keep-alive command needs lease ID as argument")
		if err != nil {
			return err
		}
		if *once {
			return t.run(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				res, err := c.KeepAliveOnce(ctx, id)
				if err != nil {
					return leaseRefused(err)
				}
				return t.show(t.shownKeepAlive(res))
			})
		}
		return t.keepAlive(cmd.Context(), id)
	}
	return cmd
}

// keepAlive keeps a lease alive, for as long as it takes. A signal is how that is
// meant to end.
func (t *tool) keepAlive(ctx context.Context, id client.LeaseID) error {
	c, err := t.reach(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	answers, err := c.KeepAlive(ctx, id)
	if err != nil {
		return leaseRefused(err)
	}
	for res := range answers {
		if err := t.show(t.shownKeepAlive(res)); err != nil {
			return err
		}
	}
	if ctx.Err() == nil {
		fmt.Fprintf(t.stdout, "lease %016x expired or revoked.\n", id)
	}
	return nil
}

func (t *tool) shownKeepAlive(r *client.LeaseKeepAliveResponse) shown {
	return shown{
		simple: func(w io.Writer) { fmt.Fprintf(w, "lease %016x keepalived with TTL(%d)\n", r.ID, r.TTL) },
		fields: func(w io.Writer) {
			t.fieldHeader(w, r.Header)
			fmt.Fprintf(w, "\"ID\" : %s\n\"TTL\" : %d\n", t.idText(uint64(r.ID)), r.TTL)
		},
		json:  func() any { return toJSONKeepAlive(r) },
		proto: r.Header,
	}
}

func (t *tool) leaseListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the leases",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return t.run(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				res, err := c.Leases(ctx)
				if err != nil {
					return leaseRefused(err)
				}
				return t.show(t.shownLeases(res))
			})
		},
	}
}

func (t *tool) shownLeases(r *client.LeaseLeasesResponse) shown {
	return shown{
		simple: func(w io.Writer) {
			fmt.Fprintf(w, "found %d leases\n", len(r.Leases))
			for _, l := range r.Leases {
				fmt.Fprintf(w, "%016x\n", l.ID)
			}
		},
		fields: func(w io.Writer) {
			t.fieldHeader(w, r.Header)
			for _, l := range r.Leases {
				fmt.Fprintf(w, "\"ID\" : %s\n", t.idText(uint64(l.ID)))
			}
		},
		json:  func() any { return toJSONLeases(r) },
		proto: r.Header,
	}
}
