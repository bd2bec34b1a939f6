package ctl

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// help describes a command. The global flags are left to the command options.
func help(cmd *cobra.Command, _ []string) {
	text := cmd.Long
	if text == "" {
		text = cmd.Short
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s\n\n", strings.TrimSpace(text))
	usage(cmd)
}

func usage(cmd *cobra.Command) error {
	w := cmd.OutOrStdout()
	line := cmd.CommandPath() + " <command>"
	if cmd.HasParent() {
		line = cmd.Parent().CommandPath() + " " + cmd.Use
	}
	fmt.Fprintf(w, "Usage:\n  %s\n", line)
	commands := listed(cmd)
	if len(commands) > 0 {
		fmt.Fprintf(w, "\nCommands:\n")
		list(w, "  ", commands)
	}
	if flags := ownFlags(cmd).FlagUsages(); flags != "" {
		fmt.Fprintf(w, "\nOptions:\n%s", flags)
	}
	fmt.Fprintln(w, "\nOptions of all commands: etcdctl options")
	if len(commands) > 0 {
		fmt.Fprintf(w, "More about a command: %s <command> --help\n", cmd.CommandPath())
	}
	return nil
}

func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [command]",
		Short: "Describe a command",
		RunE: func(cmd *cobra.Command, args []string) error {
			of, rest, err := cmd.Root().Find(args)
			if err == nil && len(rest) > 0 {
				err = fmt.Errorf("unknown command %q for %q", rest[0], of.CommandPath())
			}
			if err != nil {
				return &usageError{of.CommandPath(), err}
			}
			return of.Help()
		},
	}
}

// listed are the commands that do something below cmd.
func listed(cmd *cobra.Command) []*cobra.Command {
	var all []*cobra.Command
	for _, c := range cmd.Commands() {
		switch {
		case !c.IsAvailableCommand():
		case c.HasAvailableSubCommands():
			all = append(all, listed(c)...)
		default:
			all = append(all, c)
		}
	}
	return all
}

func list(w io.Writer, indent string, commands []*cobra.Command) {
	width := 0
	for _, c := range commands {
		width = max(width, len(nameOf(c)))
	}
	for _, c := range commands {
		fmt.Fprintf(w, "%s%-*s  %s\n", indent, width, nameOf(c), c.Short)
	}
}

// nameOf is how a command is called after the name of the program.
func nameOf(c *cobra.Command) string {
	_, name, _ := strings.Cut(c.CommandPath(), " ")
	return name
}

// ownFlags are those of a command and of the group it is in.
func ownFlags(cmd *cobra.Command) *pflag.FlagSet {
	own := pflag.NewFlagSet(cmd.Name(), pflag.ContinueOnError)
	global := cmd.Root().PersistentFlags()
	add := func(f *pflag.Flag) {
		if global.Lookup(f.Name) == nil {
			own.AddFlag(f)
		}
	}
	cmd.NonInheritedFlags().VisitAll(add)
	cmd.InheritedFlags().VisitAll(add)
	return own
}

func (t *tool) optionsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "options",
		Short: "List the options of all commands",
		Long: `List the options of all commands.

Each may be given by an environment variable instead: ETCDCTL_ and the name in
upper case, with _ for -, such as ETCDCTL_ENDPOINTS. To give both is an error.`,
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprintf(t.stdout, "Options of all commands:\n\n%s", cmd.Root().PersistentFlags().FlagUsages())
		},
	}
}
