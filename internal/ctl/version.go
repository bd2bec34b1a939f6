package ctl

import (
	"fmt"

	"github.com/spf13/cobra"

	"etcd.alt/api/version"
)

func (t *tool) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of etcdctl",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprint(t.stdout, version.Tool("etcdctl"))
			return err
		},
	}
}
