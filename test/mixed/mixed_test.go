package mixed

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMixed(t *testing.T) {
	theirs := os.Getenv("ETCD_PEER")
	if theirs == "" {
		t.Skip("ETCD_PEER does not name the binary of an etcd 3.7: no mixed cluster was run")
	}
	for _, layout := range [][]kind{{ours, ours, upstream}, {ours, upstream, upstream}} {
		t.Run(fmt.Sprintf("%d of upstream's", count(layout, upstream)), func(t *testing.T) {
			c := start(t, theirs, layout)
			c.setUsers()
			first, last := 0, len(layout)-1
			// While the log still has its beginning: between an upstream member and one of
			// ours there are no snapshots.
			c.replace(first)
			c.replace(last)
			for _, leader := range []int{first, last} {
				c.lead(leader)
				c.work(1000)
				c.changes(40)
				c.tokens()
				c.leases()
				for _, i := range []int{first, last} {
					c.stumble(i)
				}
				c.lead(leader)
				c.disable()
				c.leases()
				c.changes(10)
				c.compact()
				c.work(500)
				c.enable()
			}
			c.rolling()
			c.work(1000)
		})
	}
}

func count(layout []kind, k kind) (n int) {
	for _, one := range layout {
		if one == k {
			n++
		}
	}
	return n
}

// stumble has a member be killed in the middle of the work, and stand still in
// the middle of more.
func (c *cluster) stumble(i int) {
	c.t.Helper()
	c.away = i
	c.during(func(ctx context.Context) {
		c.members[i].Kill()
		c.quietly(ctx, 300)
	})
	c.members[i].Launch()
	c.away = -1
	c.awaitAll()
	c.away = i
	c.during(func(ctx context.Context) {
		c.members[i].Pause()
		c.quietly(ctx, 600)
	})
	c.members[i].Resume()
	c.away = -1
	c.awaitAll()
	c.agree()
}

// rolling restarts one member after the other, in order.
func (c *cluster) rolling() {
	c.t.Helper()
	for i := range c.members {
		c.members[i].Stop()
		c.members[i].Launch()
		c.awaitAll()
	}
	c.agree()
	for i := range c.members {
		require.NotContains(c.t, strings.ToLower(c.members[i].Log()), "panic", "member %d", i)
	}
}
