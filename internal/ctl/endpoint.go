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

func (t *tool) endpointCommand() *cobra.Command {
	cluster := new(bool)
	g := group("endpoint", "Commands about endpoints", t.healthCommand(cluster), t.statusCommand(cluster), t.hashCommand(cluster))
	g.PersistentFlags().BoolVar(cluster, "cluster", false, "all members of the cluster, not --endpoints")
	return g
}

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
			config, err := t.config(ctx)
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

// asked is the answer of one endpoint.
type asked[T any] struct {
	endpoint string
	answer   T
	err      error
}

// askAll asks all endpoints at once; the answers stand in their order. Those
// that failed are said on stderr and left out; failed is the last of theirs.
func askAll[T any](ctx context.Context, t *tool, cluster bool, what string, ask func(ctx context.Context, c *client.Client, endpoint string) (T, error)) (good []asked[T], failed, err error) {
	endpoints, err := t.every(ctx, cluster)
	if err != nil {
		return nil, nil, err
	}
	c, err := t.connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer c.Close()
	all := make([]asked[T], len(endpoints))
	var asking sync.WaitGroup
	for i, e := range endpoints {
		asking.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, t.global.commandTimeout)
			defer cancel()
			answer, err := ask(ctx, c, e)
			all[i] = asked[T]{e, answer, err}
		})
	}
	asking.Wait()
	for _, a := range all {
		if a.err == nil {
			good = append(good, a)
			continue
		}
		failed = a.err
		fmt.Fprintf(t.stderr, "Failed to get the %s of endpoint %s (%s)\n", what, a.endpoint, t.brief(failed))
	}
	return good, failed, nil
}

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
		simple: func(w io.Writer) {
			for _, row := range rows() {
				fmt.Fprintln(w, strings.Join(row, ", "))
			}
		},
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
	return fmt.Sprintf("%.0f%%", float64(s.DbSize-s.DbSizeInUse)/float64(s.DbSize)*100)
}

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
		simple: func(w io.Writer) {
			for _, row := range rows() {
				fmt.Fprintln(w, strings.Join(row, ", "))
			}
		},
		table: func() table { return table{[]string{"Endpoint", "Hash", "Hash Revision"}, rows()} },
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
