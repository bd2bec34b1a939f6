package ctl

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"etcd.alt/client"
)

func (t *tool) memberCommand() *cobra.Command {
	return group("member", "Commands about members",
		t.memberListCommand(), t.memberAddCommand(), t.memberRemoveCommand(), t.memberUpdateCommand(), t.memberPromoteCommand())
}

// parseMemberID reads the only argument of a command.
func parseMemberID(args []string) (uint64, error) {
	if len(args) != 1 {
		return 0, badArguments("member ID is not provided")
	}
	id, err := strconv.ParseUint(args[0], 16, 64)
	if err != nil {
		return 0, badArguments("bad member ID arg (%w), expecting ID in Hex", err)
	}
	return id, nil
}

func (t *tool) memberListCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "list [options]", Short: "List the members", Args: cobra.NoArgs}
	consistency := cmd.Flags().String("consistency", "l", "l (linearizable) or s (serializable: what one member knows)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var options []client.OpOption
		switch *consistency {
		case "l":
		case "s":
			options = append(options, client.WithSerializable())
		default:
			return &failure{exitFormat, fmt.Errorf("unknown consistency flag %q", *consistency)}
		}
		return t.run(cmd.Context(), func(ctx context.Context, c *client.Client) error {
			res, err := c.MemberList(ctx, options...)
			if err != nil {
				return err
			}
			return t.show(t.shownMemberList(res))
		})
	}
	return cmd
}

func (t *tool) shownMemberList(r *client.MemberListResponse) shown {
	rows := func() [][]string {
		var all [][]string
		for _, m := range r.Members {
			state := "started"
			if m.Name == "" {
				state = "unstarted"
			}
			all = append(all, []string{fmt.Sprintf("%x", m.ID), state, m.Name,
				strings.Join(m.PeerURLs, ","), strings.Join(m.ClientURLs, ","), fmt.Sprint(m.IsLearner)})
		}
		return all
	}
	return shown{
		simple: func(w io.Writer) { writeRows(w, rows()) },
		table: func() table {
			return table{[]string{"ID", "Status", "Name", "Peer Addrs", "Client Addrs", "Is Learner"}, rows()}
		},
		fields: func(w io.Writer) {
			t.fieldHeader(w, r.Header)
			for _, m := range r.Members {
				fmt.Fprintf(w, "\"ID\" : %s\n\"Name\" : %q\n", t.idText(m.ID), m.Name)
				for _, u := range m.PeerURLs {
					fmt.Fprintf(w, "\"PeerURL\" : %q\n", u)
				}
				for _, u := range m.ClientURLs {
					fmt.Fprintf(w, "\"ClientURL\" : %q\n", u)
				}
				fmt.Fprintf(w, "\"IsLearner\" : %v\n\n", m.IsLearner)
			}
		},
		json:  func() any { return t.toJSONMembers(r.Header, nil, r.Members) },
		proto: r,
	}
}

func (t *tool) memberAddCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add <name> --peer-urls=<URLs> [options]",
		Short: "Add a member, which is then to be started",
	}
	urls := cmd.Flags().StringSlice("peer-urls", nil, "where the others reach it")
	learner := cmd.Flags().Bool("learner", false, "add it without a vote")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return badArguments("member name not provided")
		case len(args) > 1:
			return badArguments("too many arguments: %q; URLs go with --peer-urls", args[1:])
		case len(*urls) == 0:
			return badArguments("member peer urls not provided")
		}
		return t.run(cmd.Context(), func(ctx context.Context, c *client.Client) error {
			add := c.MemberAdd
			if *learner {
				add = c.MemberAddAsLearner
			}
			res, err := add(ctx, *urls)
			if err != nil {
				return err
			}
			return t.show(t.shownMemberAdd(args[0], res))
		})
	}
	return cmd
}

// shownMemberAdd shows with simple output what the new member is to be started
// with.
func (t *tool) shownMemberAdd(name string, r *client.MemberAddResponse) shown {
	return shown{
		simple: func(w io.Writer) {
			as := "added"
			if r.Member.GetIsLearner() {
				as = "added as learner"
			}
			fmt.Fprintf(w, "Member %16x %s to cluster %16x\n", r.Member.GetID(), as, r.Header.GetClusterId())
			var cluster []string
			for _, m := range r.Members {
				of := m.Name
				if m.ID == r.Member.GetID() {
					of = name
				}
				for _, u := range m.PeerURLs {
					cluster = append(cluster, of+"="+u)
				}
			}
			fmt.Fprintf(w, "\nETCD_NAME=%q\n", name)
			fmt.Fprintf(w, "ETCD_INITIAL_CLUSTER=%q\n", strings.Join(cluster, ","))
			fmt.Fprintf(w, "ETCD_INITIAL_ADVERTISE_PEER_URLS=%q\n", strings.Join(r.Member.GetPeerURLs(), ","))
			fmt.Fprintf(w, "ETCD_INITIAL_CLUSTER_STATE=\"existing\"\n")
		},
		json:  func() any { return t.toJSONMembers(r.Header, r.Member, r.Members) },
		proto: r,
	}
}

// shownMembers shows that something was done to a member.
func (t *tool) shownMembers(id uint64, done string, h *client.ResponseHeader, members []*client.Member, message proto.Message) shown {
	return shown{
		simple: func(w io.Writer) { fmt.Fprintf(w, "Member %16x %s cluster %16x\n", id, done, h.GetClusterId()) },
		json:   func() any { return t.toJSONMembers(h, nil, members) },
		proto:  message,
	}
}

func (t *tool) memberRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "remove <memberID>",
		Short: "Remove a member for good",
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := parseMemberID(args)
			if err != nil {
				return err
			}
			return t.run(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				res, err := c.MemberRemove(ctx, id)
				if err != nil {
					return err
				}
				return t.show(t.shownMembers(id, "removed from", res.Header, res.Members, res))
			})
		},
	}
}

func (t *tool) memberUpdateCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "update <memberID> --peer-urls=<URLs>", Short: "Change where the others reach a member"}
	urls := cmd.Flags().StringSlice("peer-urls", nil, "where the others reach it")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := parseMemberID(args)
		if err != nil {
			return err
		}
		if len(*urls) == 0 {
			return badArguments("member peer urls not provided")
		}
		return t.run(cmd.Context(), func(ctx context.Context, c *client.Client) error {
			res, err := c.MemberUpdate(ctx, id, *urls)
			if err != nil {
				return err
			}
			return t.show(t.shownMembers(id, "updated in", res.Header, res.Members, res))
		})
	}
	return cmd
}

func (t *tool) memberPromoteCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "promote <memberID>",
		Short: "Give a learner its vote",
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := parseMemberID(args)
			if err != nil {
				return err
			}
			return t.run(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				res, err := c.MemberPromote(ctx, id)
				if err != nil {
					return err
				}
				return t.show(t.shownMembers(id, "promoted in", res.Header, res.Members, res))
			})
		},
	}
}
