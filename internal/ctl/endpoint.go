package ctl

import (
	"context"
	"fmt"
	"sync"

	"github.com/spf13/cobra"

	"etcd.alt/client"
)

func (t *tool) endpointCommand() *cobra.Command {
	cluster := new(bool)
	g := group("endpoint", "Commands about endpoints", t.healthCommand(cluster), t.statusCommand(cluster), t.hashCommand(cluster))
	g.PersistentFlags().BoolVar(cluster, "cluster", false, "all members of the cluster, not --endpoints")
	return g
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
	c, err := t.connectTo(ctx, endpoints)
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
