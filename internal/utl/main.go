package utl

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"etcd.alt/api/version"
)

// Main runs etcdutl and returns the status to exit with: 0, or 1 after an error.
func Main(args []string, stdout, stderr io.Writer) int {
	root := root(stdout)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := root.Execute(); err != nil {
		fmt.Fprintf(stderr, "Error: %v\nRun 'etcdutl --help' for usage.\n", err)
		return 1
	}
	return 0
}

func root(stdout io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:           "etcdutl",
		Short:         "etcdutl works on the files of members and on snapshots.",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(&cobra.Command{
		Use:   "version",
		Short: "Print the version of etcdutl",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprint(stdout, version.Tool("etcdutl"))
			return err
		},
	})
	for _, name := range missing {
		root.AddCommand(&cobra.Command{
			Use:                name,
			Hidden:             true,
			DisableFlagParsing: true,
			RunE: func(*cobra.Command, []string) error {
				return fmt.Errorf("%s is not supported by this version", name)
			},
		})
	}
	return root
}

// missing are the commands of etcdutl that are not there yet.
var missing = []string{"defrag", "hashkv", "migrate", "snapshot"}
