package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"etcd.alt/api/errs"
	"etcd.alt/client"
)

func (t *tool) authCommand() *cobra.Command {
	return group("auth", "Commands about authentication", t.authEnableCommand(), t.authDisableCommand(), t.authStatusCommand())
}

// rootName is the user, and the role, that may do everything.
const rootName = "root"

func (t *tool) authEnableCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "enable",
		Short: "Have the cluster ask for users, of whom root must be one",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return badArguments("auth enable command does not accept any arguments")
			}
			return t.run(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				_, err := c.AuthEnable(ctx)
				if errors.Is(err, errs.RootRoleNotExist) {
					if err = grantRoot(ctx, c); err == nil {
						_, err = c.AuthEnable(ctx)
					}
				}
				if err == nil {
					fmt.Fprintln(t.stdout, "Authentication Enabled")
				}
				return err
			})
		},
	}
}

// grantRoot makes the role root, and gives it to the user.
func grantRoot(ctx context.Context, c *client.Client) error {
	if _, err := c.RoleAdd(ctx, rootName); err != nil {
		return err
	}
	_, err := c.UserGrantRole(ctx, rootName, rootName)
	return err
}

func (t *tool) authDisableCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "disable",
		Short: "Let everybody do everything again",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return badArguments("auth disable command does not accept any arguments")
			}
			return t.run(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				_, err := c.AuthDisable(ctx)
				if err == nil {
					fmt.Fprintln(t.stdout, "Authentication Disabled")
				}
				return err
			})
		},
	}
}

func (t *tool) authStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Say whether the cluster asks for users",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return badArguments("auth status command does not accept any arguments")
			}
			return t.run(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				r, err := c.AuthStatus(ctx)
				if err != nil {
					return err
				}
				return t.show(shown{
					simple: func(w io.Writer) {
						fmt.Fprintf(w, "Authentication Status: %v\nAuthRevision: %d\n", r.Enabled, r.AuthRevision)
					},
					json:  func() any { return jsonAuthStatus{toJSONHeader(r.Header), r.Enabled, r.AuthRevision} },
					proto: r,
				})
			})
		},
	}
}

// withHeader is an answer that has no more than its header.
type withHeader interface {
	proto.Message
	GetHeader() *client.ResponseHeader
}

// done shows that something was done, in a line.
func done(r withHeader, line string) shown {
	return shown{
		simple: func(w io.Writer) { fmt.Fprintln(w, line) },
		json:   func() any { return jsonEmpty{toJSONHeader(r.GetHeader())} },
		proto:  r,
	}
}
