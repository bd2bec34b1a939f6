package ctl

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"etcd.alt/api/version"
)

func (t *tool) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of etcdctl",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(t.stdout, "etcdctl version: %s\nAPI version: %s\nGit SHA: %s\nGo Version: %s\nGo OS/Arch: %s/%s\n",
				version.Server, version.API, version.GitSHA, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}
