package ctl

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"etcd.alt/client"
)

func (t *tool) userCommand() *cobra.Command {
	return group("user", "Commands about users", t.userAddCommand(), t.userDeleteCommand(), t.userGetCommand(), t.userListCommand(),
		t.userPasswdCommand(), t.userGrantRoleCommand(), t.userRevokeRoleCommand())
}

func (t *tool) userAddCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add <user name or user:password> [options]",
		Short: "Add a user; the password is asked for if there is none",
	}
	interactive := cmd.Flags().Bool("interactive", true, "ask for the password, twice; otherwise it is a line of stdin")
	given := cmd.Flags().String("new-user-password", "", "the password; the argument is the name alone then")
	none := cmd.Flags().Bool("no-password", false, "add a user without a password, who is known by a certificate")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name, err := onlyName(cmd, args)
		if err != nil {
			return err
		}
		password, inName := *given, false
		if !*none && *given == "" {
			name, password, inName = strings.Cut(name, ":")
		}
		if name == "" {
			return badArguments("empty user name is not allowed")
		}
		switch {
		case *none && *given != "":
			return badArguments("--no-password and --new-user-password exclude each other")
		case !*none && *given == "" && !inName:
			if password, err = t.newPassword(name, *interactive); err != nil {
				return err
			}
		}
		return t.run(cmd.Context(), func(ctx context.Context, c *client.Client) error {
			r, err := c.UserAddWithOptions(ctx, name, password, &client.UserAddOptions{NoPassword: *none})
			if err != nil {
				return err
			}
			return t.show(done(r, fmt.Sprintf("User %s created", name)))
		})
	}
	return cmd
}

// newPassword asks for a user's new password, twice, or reads a line.
func (t *tool) newPassword(user string, interactive bool) (string, error) {
	if !interactive {
		return t.readPassword("")
	}
	password, err := t.readPassword(fmt.Sprintf("Password of %s: ", user))
	if err != nil {
		return "", err
	}
	again, err := t.readPassword(fmt.Sprintf("Type password of %s again for confirmation: ", user))
	if err != nil {
		return "", err
	}
	if again != password {
		return "", badArguments("given passwords are different")
	}
	return password, nil
}

func (t *tool) userPasswdCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "passwd <user name> [options]", Short: "Change a user's password"}
	interactive := cmd.Flags().Bool("interactive", true, "ask for the password, twice; otherwise it is a line of stdin")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name, err := onlyName(cmd, args)
		if err != nil {
			return err
		}
		password, err := t.newPassword(name, *interactive)
		if err != nil {
			return err
		}
		return t.run(cmd.Context(), func(ctx context.Context, c *client.Client) error {
			r, err := c.UserChangePassword(ctx, name, password)
			if err != nil {
				return err
			}
			return t.show(done(r, "Password updated"))
		})
	}
	return cmd
}

func (t *tool) userDeleteCommand() *cobra.Command {
	return named(t, "delete <user name>", "Delete a user", (*client.Client).UserDelete, func(name string, r *client.AuthUserDeleteResponse) shown {
		return done(r, fmt.Sprintf("User %s deleted", name))
	})
}

func (t *tool) userGetCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "get <user name> [options]", Short: "Show a user's roles"}
	detail := cmd.Flags().Bool("detail", false, "show what the roles may do")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name, err := onlyName(cmd, args)
		if err != nil {
			return err
		}
		return t.run(cmd.Context(), func(ctx context.Context, c *client.Client) error {
			r, err := c.UserGet(ctx, name)
			switch {
			case err != nil:
				return err
			case *detail:
				return t.showRolesOf(ctx, c, name, r.Roles)
			}
			return t.show(shownUser(name, r))
		})
	}
	return cmd
}

// showRolesOf shows a user's roles one after the other, each in the format that was
// asked for.
func (t *tool) showRolesOf(ctx context.Context, c *client.Client, user string, roles []string) error {
	fmt.Fprintf(t.stdout, "User: %s\n", user)
	for _, role := range roles {
		r, err := c.RoleGet(ctx, role)
		if err != nil {
			return err
		}
		fmt.Fprintln(t.stdout)
		if err := t.show(t.shownRole(role, r)); err != nil {
			return err
		}
	}
	return nil
}

func shownUser(name string, r *client.AuthUserGetResponse) shown {
	return shown{
		simple: func(w io.Writer) {
			fmt.Fprintf(w, "User: %s\n%s\n", name, strings.Join(append([]string{"Roles:"}, r.Roles...), " "))
		},
		json:  func() any { return jsonRoles{toJSONHeader(r.Header), r.Roles} },
		proto: r,
	}
}

func (t *tool) userListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the users",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return badArguments("user list command requires no arguments")
			}
			return t.run(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				r, err := c.UserList(ctx)
				if err != nil {
					return err
				}
				return t.show(shown{
					simple: func(w io.Writer) { writeLines(w, r.Users) },
					json:   func() any { return jsonUsers{toJSONHeader(r.Header), r.Users} },
					proto:  r,
				})
			})
		},
	}
}

func (t *tool) userGrantRoleCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "grant-role <user name> <role name>",
		Short: "Give a user a role",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return badArguments("user grant command requires user name and role name as its argument")
			}
			return t.run(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				r, err := c.UserGrantRole(ctx, args[0], args[1])
				if err != nil {
					return err
				}
				return t.show(done(r, fmt.Sprintf("Role %s is granted to user %s", args[1], args[0])))
			})
		},
	}
}

func (t *tool) userRevokeRoleCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "revoke-role <user name> <role name>",
		Short: "Take a role from a user",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return badArguments("user revoke-role requires user name and role name as its argument")
			}
			return t.run(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				r, err := c.UserRevokeRole(ctx, args[0], args[1])
				if err != nil {
					return err
				}
				return t.show(done(r, fmt.Sprintf("Role %s is revoked from user %s", args[1], args[0])))
			})
		},
	}
}
