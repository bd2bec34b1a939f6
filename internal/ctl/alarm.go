package ctl

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"etcd.alt/client"
)

func (t *tool) alarmCommand() *cobra.Command {
	list := &cobra.Command{
		Use:   "list",
		Short: "List the active alarms",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return t.run(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				res, err := c.AlarmList(ctx)
				if err != nil {
					return err
				}
				return t.show(t.shownAlarms(res))
			})
		},
	}
	disarm := &cobra.Command{
		Use:   "disarm",
		Short: "End every active alarm",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return t.run(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				ended, err := disarmAll(ctx, c)
				if err != nil {
					return err
				}
				return t.show(t.shownAlarms(ended))
			})
		},
	}
	return group("alarm", "Commands about alarms", list, disarm)
}

// disarmAll ends the alarms there are. The answer has those that were ended,
// and no header: it is several answers.
func disarmAll(ctx context.Context, c *client.Client) (*client.AlarmResponse, error) {
	active, err := c.AlarmList(ctx)
	if err != nil {
		return nil, err
	}
	ended := &client.AlarmResponse{}
	for _, a := range active.Alarms {
		res, err := c.AlarmDisarm(ctx, a)
		if err != nil {
			return nil, err
		}
		ended.Alarms = append(ended.Alarms, res.Alarms...)
	}
	return ended, nil
}

func (t *tool) shownAlarms(r *client.AlarmResponse) shown {
	return shown{
		simple: func(w io.Writer) {
			for _, a := range r.Alarms {
				fmt.Fprintf(w, "memberID:%d alarm:%v\n", a.MemberID, a.Alarm)
			}
		},
		fields: func(w io.Writer) {
			t.fieldHeader(w, r.Header)
			for _, a := range r.Alarms {
				fmt.Fprintf(w, "\"MemberID\" : %s\n\"AlarmType\" : %v\n\n", t.idText(a.MemberID), a.Alarm)
			}
		},
		json:  func() any { return toJSONAlarms(r) },
		proto: r,
	}
}
