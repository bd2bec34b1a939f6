package ctl

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"etcd.alt/client"
)

func (t *tool) hashCommand(cluster *bool) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hashkv",
		Short: "Print the hash of each endpoint's keys",
		Args:  cobra.NoArgs,
	}
	rev := cmd.Flags().Int64("rev", 0, "highest revision to hash (0: all)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		list, failed, err := askAll(cmd.Context(), t, *cluster, "hash", func(ctx context.Context, c *client.Client, e string) (*client.HashKVResponse, error) {
			return c.HashKV(ctx, e, *rev)
		})
		if err != nil {
			return err
		}
		if err := t.show(t.shownHash(list)); err != nil {
			return err
		}
		return failed
	}
	return cmd
}

func (t *tool) shownHash(list []asked[*client.HashKVResponse]) shown {
	rows := func() [][]string {
		var all [][]string
		for _, a := range list {
			all = append(all, []string{a.endpoint, fmt.Sprint(a.answer.Hash), fmt.Sprint(a.answer.HashRevision)})
		}
		return all
	}
	return shown{
		simple: func(w io.Writer) { writeRows(w, rows()) },
		table:  func() table { return table{[]string{"Endpoint", "Hash", "Hash Revision"}, rows()} },
		fields: func(w io.Writer) {
			for _, a := range list {
				t.fieldHeader(w, a.answer.Header)
				fmt.Fprintf(w, "\"Endpoint\" : %q\n\"Hash\" : %d\n\"HashRevision\" : %d\n\n", a.endpoint, a.answer.Hash, a.answer.HashRevision)
			}
		},
		json: func() any {
			type entry struct {
				Endpoint string
				HashKV   jsonHash
			}
			all := []entry{}
			for _, a := range list {
				all = append(all, entry{a.endpoint, toJSONHash(a.answer)})
			}
			return all
		},
	}
}
