package ctl

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"etcd.alt/client"
)

func (t *tool) statusCommand(cluster *bool) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Print the state of each endpoint",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, failed, err := askAll(cmd.Context(), t, *cluster, "status", func(ctx context.Context, c *client.Client, e string) (*client.StatusResponse, error) {
				return c.Status(ctx, e)
			})
			if err != nil {
				return err
			}
			if err := t.show(t.shownStatus(list)); err != nil {
				return err
			}
			if failed != nil {
				return said()
			}
			return nil
		},
	}
}

func (t *tool) shownStatus(list []asked[*client.StatusResponse]) shown {
	rows := func() [][]string {
		var all [][]string
		for _, a := range list {
			s := a.answer
			all = append(all, []string{
				a.endpoint,
				fmt.Sprintf("%x", s.Header.GetMemberId()),
				s.Version,
				s.StorageVersion,
				size(s.DbSize),
				size(s.DbSizeInUse),
				percentFree(s),
				size(s.DbSizeQuota),
				fmt.Sprint(s.Leader == s.Header.GetMemberId()),
				fmt.Sprint(s.IsLearner),
				fmt.Sprint(s.RaftTerm),
				fmt.Sprint(s.RaftIndex),
				fmt.Sprint(s.RaftAppliedIndex),
				strings.Join(s.Errors, ", "),
				s.DowngradeInfo.GetTargetVersion(),
				fmt.Sprint(s.DowngradeInfo.GetEnabled()),
			})
		}
		return all
	}
	return shown{
		simple: func(w io.Writer) { writeRows(w, rows()) },
		table: func() table {
			return table{[]string{
				"Endpoint", "ID", "Version", "Storage Version", "DB Size", "In Use", "Percentage Not In Use", "Quota", "Is Leader", "Is Learner",
				"Raft Term", "Raft Index", "Raft Applied Index", "Errors", "Downgrade Target Version", "Downgrade Enabled",
			}, rows()}
		},
		fields: func(w io.Writer) {
			for _, a := range list {
				t.fieldStatus(w, a.endpoint, a.answer)
			}
		},
		json: func() any {
			type entry struct {
				Endpoint string
				Status   jsonStatus
			}
			all := []entry{}
			for _, a := range list {
				all = append(all, entry{a.endpoint, toJSONStatus(a.answer)})
			}
			return all
		},
	}
}

func (t *tool) fieldStatus(w io.Writer, endpoint string, s *client.StatusResponse) {
	t.fieldHeader(w, s.Header)
	fmt.Fprintf(w, "\"Version\" : %q\n", s.Version)
	fmt.Fprintf(w, "\"StorageVersion\" : %q\n", s.StorageVersion)
	fmt.Fprintf(w, "\"DBSize\" : %d\n", s.DbSize)
	fmt.Fprintf(w, "\"DBSizeInUse\" : %d\n", s.DbSizeInUse)
	fmt.Fprintf(w, "\"DBSizeQuota\" : %d\n", s.DbSizeQuota)
	fmt.Fprintf(w, "\"Leader\" : %s\n", t.idText(s.Leader))
	fmt.Fprintf(w, "\"IsLearner\" : %v\n", s.IsLearner)
	fmt.Fprintf(w, "\"RaftIndex\" : %d\n", s.RaftIndex)
	fmt.Fprintf(w, "\"RaftTerm\" : %d\n", s.RaftTerm)
	fmt.Fprintf(w, "\"RaftAppliedIndex\" : %d\n", s.RaftAppliedIndex)
	fmt.Fprintf(w, "\"Errors\" : %v\n", s.Errors)
	fmt.Fprintf(w, "\"Endpoint\" : %q\n", endpoint)
	fmt.Fprintf(w, "\"DowngradeTargetVersion\" : %q\n", s.DowngradeInfo.GetTargetVersion())
	fmt.Fprintf(w, "\"DowngradeEnabled\" : %v\n\n", s.DowngradeInfo.GetEnabled())
}

// percentFree is the part of a member's file that is not in use.
func percentFree(s *client.StatusResponse) string {
	if s.DbSize <= 0 {
		return "0%"
	}
	return fmt.Sprintf("%.0f%%", float64(max(s.DbSize-s.DbSizeInUse, 0))/float64(s.DbSize)*100) // in use may be more: the disk has it compressed
}
