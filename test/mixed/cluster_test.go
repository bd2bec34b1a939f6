package mixed

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"etcd.alt/api/errs"
	"etcd.alt/client"
	"etcd.alt/test/member"
)

// kind says whose program a member runs.
type kind int

const (
	ours kind = iota
	upstream
)

// cluster is three members, of which some are upstream's. It belongs to the
// test's goroutine, but for its clients and what mu guards.
type cluster struct {
	t        *testing.T
	binaries [2]string
	kinds    []kind
	members  []*member.Member
	peerURLs []string
	ids      []uint64
	// clients are root's, one of each member; some are those of a user who may not do
	// everything.
	clients, some []*client.Client
	rng           *rand.Rand
	away          int // the member that does not answer, -1 for none

	mu struct {
		sync.Mutex
		acknowledged int64            // the newest revision that anybody was told
		leases       []client.LeaseID // that were granted last, alive or not
	}
	compared  int64 // the last revision at which all were found equal
	compacted int64
}

// patience is how long anything may take.
const patience = time.Minute

func start(t *testing.T, theirs string, layout []kind) *cluster {
	t.Helper()
	c := &cluster{t: t, binaries: [2]string{member.Build(t), theirs}, kinds: layout, rng: rand.New(rand.NewPCG(1, 2)), away: -1}
	n := len(layout)
	c.members, c.peerURLs, c.ids = make([]*member.Member, n), make([]string, n), make([]uint64, n)
	c.clients, c.some = make([]*client.Client, n), make([]*client.Client, n)
	t.Cleanup(func() {
		for i := range n {
			c.disconnect(i)
		}
	})
	var initial []string
	for i := range layout {
		c.peerURLs[i] = "http://" + member.FreeAddress(t)
		initial = append(initial, fmt.Sprintf("m%d=%s", i, c.peerURLs[i]))
	}
	for i := range layout {
		c.enlist(i, "new", initial)
	}
	c.awaitAll()
	return c
}

// enlist begins a member with nothing.
func (c *cluster) enlist(i int, state string, initial []string) {
	c.t.Helper()
	m := member.Of(c.t, c.binaries[c.kinds[i]])
	m.Args("--name", fmt.Sprintf("m%d", i), "--listen-peer-urls", c.peerURLs[i], "--initial-advertise-peer-urls", c.peerURLs[i],
		"--initial-cluster", strings.Join(initial, ","), "--initial-cluster-state", state, "--initial-cluster-token", c.t.Name(),
		"--bcrypt-cost", "4")
	m.Launch()
	c.members[i] = m
	c.disconnect(i) // until it serves
	c.t.Cleanup(func() {
		if text := m.Log(); c.t.Failed() {
			c.t.Logf("the end of the log of m%d:\n%s", i, text[max(0, len(text)-4000):])
		}
	})
}

// persist tries something until it succeeds.
func (c *cluster) persist(what string, try func(ctx context.Context) error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	var why error
	for {
		one, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := try(one)
		cancel()
		if err == nil {
			return
		}
		if why == nil || ctx.Err() == nil {
			why = err // not that the time is over
		}
		require.NoError(c.t, ctx.Err(), "%s: %v", what, why)
		time.Sleep(100 * time.Millisecond)
	}
}

// awaitAll waits until each member answers a linearizable read, and knows who it
// is.
func (c *cluster) awaitAll() {
	c.t.Helper()
	for i := range c.members {
		c.persist(fmt.Sprintf("m%d does not serve", i), func(ctx context.Context) error {
			if err := c.connect(ctx, i); err != nil {
				return err
			}
			res, err := c.clients[i].Get(ctx, "x")
			if err == nil {
				c.ids[i] = res.Header.MemberId
			}
			return err
		})
	}
}

// connect makes the clients of a member that has none. They log in when somebody asks
// for it.
func (c *cluster) connect(ctx context.Context, i int) error {
	for user, all := range map[string][]*client.Client{root: c.clients, part: c.some} {
		if all[i] != nil {
			continue
		}
		one, err := c.as(ctx, i, user, passwords[user])
		if err != nil {
			return err
		}
		all[i] = one
	}
	return nil
}

// disconnect closes the clients of a member.
func (c *cluster) disconnect(i int) {
	c.t.Helper()
	for _, all := range [][]*client.Client{c.clients, c.some} {
		if all[i] != nil {
			require.NoError(c.t, all[i].Close())
			all[i] = nil
		}
	}
}

// as is a client of a member who is a user.
func (c *cluster) as(ctx context.Context, i int, user, password string) (*client.Client, error) {
	config := client.Config{Endpoints: []string{c.members[i].Address()}, Username: user, Password: password, DialTimeout: time.Second}
	return client.New(ctx, config)
}

// lead makes a member the leader.
func (c *cluster) lead(i int) {
	c.t.Helper()
	c.persist(fmt.Sprintf("m%d does not lead", i), func(ctx context.Context) error {
		s, err := c.clients[i].Status(ctx, c.members[i].Address())
		if err != nil || s.Leader == c.ids[i] {
			return err
		}
		at := slices.Index(c.ids, s.Leader)
		if at < 0 {
			return errors.New("there is no leader")
		}
		if _, err := c.clients[at].MoveLeader(ctx, c.ids[i]); err != nil {
			return err
		}
		return errors.New("leadership was moved, but not seen yet")
	})
}

// replace removes a member and has it join again with nothing.
func (c *cluster) replace(i int) {
	c.t.Helper()
	other := c.clients[(i+1)%len(c.clients)]
	c.members[i].Kill()
	c.persist("remove a member", func(ctx context.Context) error {
		_, err := other.MemberRemove(ctx, c.ids[i])
		if errors.Is(err, errs.MemberNotFound) {
			return nil // the answer to the first request was lost
		}
		return err
	})
	c.peerURLs[i] = "http://" + member.FreeAddress(c.t)
	c.persist("add a member", func(ctx context.Context) error {
		_, err := other.MemberAdd(ctx, []string{c.peerURLs[i]})
		if errors.Is(err, errs.PeerURLExist) {
			return nil
		}
		return err
	})
	var initial []string
	for k, url := range c.peerURLs {
		initial = append(initial, fmt.Sprintf("m%d=%s", k, url))
	}
	c.enlist(i, "existing", initial)
	c.awaitAll()
	c.work(200)
	c.agree()
}

// compact gives up the history at some revision that all have compared.
func (c *cluster) compact() {
	c.t.Helper()
	c.agree()
	at := c.compared - 50
	c.persist("compact", func(ctx context.Context) error {
		_, err := c.clients[c.rng.IntN(len(c.clients))].Compact(ctx, at, client.WithCompactPhysical())
		if errors.Is(err, errs.Compacted) {
			return nil // the answer to the first request was lost
		}
		return err
	})
	c.compacted = at
	c.compare(at)
	c.agree()
}

// agree holds all members to the same hash, leases and users now.
func (c *cluster) agree() {
	c.t.Helper()
	c.compare(c.newest())
	c.sameLeases()
	c.sameUsers()
}

// same waits until all members that were caught up answer a question alike, and
// returns the answer.
func same[T any](c *cluster, what string, ask func(ctx context.Context, at *client.Client) (T, error)) T {
	c.t.Helper()
	var answers []T
	c.persist("members do not agree on "+what, func(ctx context.Context) error {
		answers = nil
		for i, at := range c.clients {
			if _, err := at.Get(ctx, "x"); err != nil {
				return err // it lags behind
			}
			one, err := ask(ctx, at)
			if err != nil {
				return fmt.Errorf("m%d: %w", i, err)
			}
			if answers = append(answers, one); !reflect.DeepEqual(answers[0], one) {
				return fmt.Errorf("m0 says %+v, m%d says %+v", answers[0], i, one)
			}
		}
		return nil
	})
	return answers[0]
}

// compare holds all members to the same hash at a revision.
func (c *cluster) compare(at int64) {
	c.t.Helper()
	type hash struct {
		hash             uint32
		compacted, hash2 int64
	}
	var first hash
	for i, m := range c.members {
		var got hash
		c.persist(fmt.Sprintf("the hash of m%d at revision %d", i, at), func(ctx context.Context) error {
			if _, err := c.clients[i].Get(ctx, "x"); err != nil {
				return err // it lags behind
			}
			res, err := c.clients[i].HashKV(ctx, m.Address(), at)
			if err == nil {
				got = hash{res.Hash, res.CompactRevision, res.HashRevision}
			}
			return err
		})
		if i == 0 {
			first = got
		}
		require.Equal(c.t, first, got, "the hashes of m0 and m%d at revision %d", i, at)
	}
	c.compared = max(c.compared, at)
}
