package ctl

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"etcd.alt/client"
)

func (t *tool) roleCommand() *cobra.Command {
	return group("role", "Commands about roles", t.roleAddCommand(), t.roleDeleteCommand(), t.roleGetCommand(), t.roleListCommand(),
		t.roleGrantCommand(), t.roleRevokeCommand())
}

func (t *tool) roleAddCommand() *cobra.Command {
	return named(t, "add <role name>", "Add a role", (*client.Client).RoleAdd, func(name string, r *client.AuthRoleAddResponse) shown {
		return t.doneToRole(r, fmt.Sprintf("Role %s created", name))
	})
}

func (t *tool) roleDeleteCommand() *cobra.Command {
	return named(t, "delete <role name>", "Delete a role, and take it from its users", (*client.Client).RoleDelete, func(name string, r *client.AuthRoleDeleteResponse) shown {
		return t.doneToRole(r, fmt.Sprintf("Role %s deleted", name))
	})
}

// doneToRole is done, with fields.
func (t *tool) doneToRole(r withHeader, line string) shown {
	s := done(r, line)
	s.fields = func(w io.Writer) { t.fieldHeader(w, r.GetHeader()) }
	return s
}

func (t *tool) roleGetCommand() *cobra.Command {
	return named(t, "get <role name>", "Show what a role may do", (*client.Client).RoleGet, t.shownRole)
}

func (t *tool) shownRole(name string, r *client.AuthRoleGetResponse) shown {
	return shown{
		simple: func(w io.Writer) {
			read, write := rangesOf(r.Perm, client.PermRead), rangesOf(r.Perm, client.PermWrite)
			if name == rootName && len(r.Perm) == 0 {
				// It may do everything, and nothing of that is written down.
				read = []string{rangeText("", openEnd)}
				write = read
			}
			fmt.Fprintf(w, "Role %s\nKV Read:\n", name)
			for _, text := range read {
				fmt.Fprintf(w, "\t%s\n", text)
			}
			fmt.Fprintln(w, "KV Write:")
			for _, text := range write {
				fmt.Fprintf(w, "\t%s\n", text)
			}
		},
		fields: func(w io.Writer) {
			t.fieldHeader(w, r.Header)
			for _, p := range r.Perm {
				fmt.Fprintf(w, "\"PermType\" :  %v\n\"Key\" : %q\n\"RangeEnd\" : %q\n", p.PermType, p.Key, p.RangeEnd)
			}
		},
		json:  func() any { return toJSONRole(r) },
		proto: r,
	}
}

// rangesOf are the ranges on which one thing is permitted, or both.
func rangesOf(perms []*client.Permission, what client.PermissionType) (texts []string) {
	for _, p := range perms {
		if p.PermType != what && p.PermType != client.PermReadWrite {
			continue
		}
		text := rangeText(string(p.Key), string(p.RangeEnd))
		if len(p.RangeEnd) > 0 && string(p.RangeEnd) != openEnd && client.PrefixEnd(string(p.Key)) == string(p.RangeEnd) {
			text += fmt.Sprintf(" (prefix %s)", p.Key)
		}
		texts = append(texts, text)
	}
	return texts
}

// openEnd is the end of a range that has none.
const openEnd = "\x00"

// rangeText is how a range is written.
func rangeText(key, end string) string {
	switch end {
	case "":
		return key
	case openEnd:
		return fmt.Sprintf("[%s, <open ended>", key)
	}
	return fmt.Sprintf("[%s, %s)", key, end)
}

func (t *tool) roleListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the roles",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return badArguments("role list command requires no arguments")
			}
			return t.run(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				r, err := c.RoleList(ctx)
				if err != nil {
					return err
				}
				return t.show(shown{
					simple: func(w io.Writer) { writeLines(w, r.Roles) },
					fields: func(w io.Writer) {
						t.fieldHeader(w, r.Header)
						fmt.Fprint(w, `"Roles" :`)
						for _, role := range r.Roles {
							fmt.Fprintf(w, " %q", role)
						}
						fmt.Fprintln(w)
					},
					json:  func() any { return jsonRoles{toJSONHeader(r.Header), r.Roles} },
					proto: r,
				})
			})
		},
	}
}

func writeLines(w io.Writer, lines []string) {
	for _, line := range lines {
		fmt.Fprintln(w, line)
	}
}

// permissionFlags span the range of a permission.
type permissionFlags struct{ prefix, fromKey bool }

func (p *permissionFlags) register(cmd *cobra.Command, does string) {
	cmd.Flags().BoolVar(&p.prefix, "prefix", false, does+" every key that begins with <key>")
	cmd.Flags().BoolVar(&p.fromKey, "from-key", false, does+" every key from <key> on")
}

// span is the range of a permission: a key, and its end if there is one.
func (p *permissionFlags) span(args []string) (key, end string, err error) {
	key = args[0]
	switch {
	case p.prefix && p.fromKey:
		return "", "", badArguments("--from-key and --prefix flags are mutually exclusive")
	case len(args) > 1 && p.prefix:
		return "", "", badArguments("unexpected endkey argument with --prefix flag")
	case len(args) > 1 && p.fromKey:
		return "", "", badArguments("unexpected endkey argument with --from-key flag")
	case len(args) > 1:
		return key, args[1], nil
	case key == "" && (p.prefix || p.fromKey):
		return openEnd, openEnd, nil // every key: the lowest is a zero byte
	case p.prefix:
		return key, client.PrefixEnd(key), nil
	case p.fromKey:
		return key, openEnd, nil
	}
	return key, "", nil
}

var permissionTypes = map[string]client.PermissionType{"read": client.PermRead, "write": client.PermWrite, "readwrite": client.PermReadWrite}

func (t *tool) roleGrantCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "grant-permission [options] <role name> <read|write|readwrite> <key> [endkey]",
		Short: "Let a role read or write a key, or the keys from <key> up to <endkey>",
	}
	var flags permissionFlags
	flags.register(cmd, "permit")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) < 3 || len(args) > 4 {
			return badArguments("role grant command requires role name, permission type, and key [endkey] as its argument")
		}
		what, known := permissionTypes[strings.ToLower(args[1])]
		if !known {
			return badArguments("invalid permission type: %s", args[1])
		}
		key, end, err := flags.span(args[2:])
		if err != nil {
			return err
		}
		return t.run(cmd.Context(), func(ctx context.Context, c *client.Client) error {
			r, err := c.RoleGrantPermission(ctx, args[0], key, end, what)
			if err != nil {
				return err
			}
			return t.show(t.doneToRole(r, fmt.Sprintf("Role %s updated", args[0])))
		})
	}
	return cmd
}

func (t *tool) roleRevokeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "revoke-permission [options] <role name> <key> [endkey]",
		Short: "Take a permission from a role, as it was granted",
	}
	var flags permissionFlags
	flags.register(cmd, "revoke")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) < 2 || len(args) > 3 {
			return badArguments("role revoke-permission command requires role name and key [endkey] as its argument")
		}
		key, end, err := flags.span(args[1:])
		if err != nil {
			return err
		}
		return t.run(cmd.Context(), func(ctx context.Context, c *client.Client) error {
			r, err := c.RoleRevokePermission(ctx, args[0], key, end)
			if err != nil {
				return err
			}
			of := "range"
			if end == "" {
				of = "key"
			}
			return t.show(t.doneToRole(r, fmt.Sprintf("Permission of %s %s is revoked from role %s", of, rangeText(key, end), args[0])))
		})
	}
	return cmd
}
