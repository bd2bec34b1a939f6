package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"etcd.alt/api/errs"
	"etcd.alt/client"
)

// health is what was found of an endpoint.
type health struct {
	Endpoint string `json:"endpoint"`
	Health   bool   `json:"health"`
	Took     string `json:"took"`
	Error    string `json:"error,omitempty"`
}

func (t *tool) healthCommand(cluster *bool) *cobra.Command {
	return &cobra.Command{
		Use:   "health",
		Short: "Have each endpoint read through the log, and look for alarms",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			endpoints, err := t.every(ctx, *cluster)
			if err != nil {
				return err
			}
			config, err := t.config(endpoints)
			if err != nil {
				return err
			}
			list, well := t.healthOf(ctx, config, endpoints), true
			for _, h := range list {
				well = well && h.Health
			}
			if err := t.show(t.shownHealth(list)); err != nil {
				return err
			}
			if !well {
				return errors.New("unhealthy cluster")
			}
			return nil
		},
	}
}

// healthOf asks all endpoints at once. The answers stand in the order in which
// they came.
func (t *tool) healthOf(ctx context.Context, config client.Config, endpoints []string) []health {
	found := make(chan health)
	var asking sync.WaitGroup
	for _, e := range endpoints {
		asking.Go(func() {
			began := time.Now()
			err := t.checkHealth(ctx, config, e)
			h := health{Endpoint: e, Health: err == nil, Took: time.Since(began).String()}
			if err != nil {
				h.Error = t.brief(err)
			}
			found <- h
		})
	}
	go func() {
		asking.Wait()
		close(found)
	}()
	var all []health
	for h := range found {
		all = append(all, h)
	}
	return all
}

// illness is why an endpoint that answers is not healthy.
type illness string

func (i illness) Error() string { return string(i) }

// checkHealth is nil if an endpoint answers a linearizable read and knows of no
// alarm. That the user may not read is no illness.
func (t *tool) checkHealth(ctx context.Context, config client.Config, endpoint string) error {
	config.Endpoints = []string{endpoint}
	c, err := client.New(ctx, config)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, t.global.commandTimeout)
	defer cancel()
	if _, err := c.Get(ctx, "health"); err != nil && !errors.Is(err, errs.PermissionDenied) {
		return err
	}
	alarms, err := c.AlarmList(ctx)
	switch {
	case status.Code(err) == codes.Unimplemented, errors.Is(err, errs.PermissionDenied):
		return nil // a member that serves no alarms has none
	case err != nil:
		return illness("Unable to fetch the alarm list: " + t.brief(err))
	case len(alarms.Alarms) > 0:
		var text strings.Builder
		for _, a := range alarms.Alarms {
			fmt.Fprintf(&text, "%v ", a.Alarm)
		}
		return illness("Active Alarm(s): " + text.String())
	}
	return nil
}

func (t *tool) shownHealth(list []health) shown {
	return shown{
		simple: func(w io.Writer) {
			for _, h := range list {
				if h.Health {
					fmt.Fprintf(w, "%s is healthy: successfully committed proposal: took = %s\n", h.Endpoint, h.Took)
				} else {
					fmt.Fprintf(t.stderr, "%s is unhealthy: failed to commit proposal: %s\n", h.Endpoint, h.Error)
				}
			}
		},
		fields: func(w io.Writer) {
			for _, h := range list {
				fmt.Fprintf(w, "\"Endpoint\" : %q\n\"Health\" : %v\n\"Took\" : %s\n\"Error\" : %s\n\n", h.Endpoint, h.Health, h.Took, h.Error)
			}
		},
		table: func() table {
			out := table{header: []string{"Endpoint", "Health", "Took", "Error"}}
			for _, h := range list {
				out.rows = append(out.rows, []string{h.Endpoint, fmt.Sprint(h.Health), h.Took, h.Error})
			}
			return out
		},
		json: func() any { return list },
	}
}
