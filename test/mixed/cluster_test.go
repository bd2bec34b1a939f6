package mixed

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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
// test's goroutine, but for its clients.
type cluster struct {
	t        *testing.T
	binaries [2]string
	kinds    []kind
	members  []*member.Member
	peerURLs []string
	ids      []uint64
	clients  []*client.Client
	rng      *rand.Rand
	away     int // the member that does not answer, -1 for none

	mu struct {
		sync.Mutex
		acknowledged int64 // the newest revision that anybody was told
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
	c.members, c.peerURLs, c.ids, c.clients = make([]*member.Member, n), make([]string, n), make([]uint64, n), make([]*client.Client, n)
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
		"--initial-cluster", strings.Join(initial, ","), "--initial-cluster-state", state, "--initial-cluster-token", c.t.Name())
	m.Launch()
	c.members[i] = m
	if c.clients[i] != nil {
		require.NoError(c.t, c.clients[i].Close())
	}
	one, err := client.New(c.t.Context(), client.Config{Endpoints: []string{m.Address()}})
	require.NoError(c.t, err)
	c.t.Cleanup(func() { _ = one.Close() }) // a replaced member's is closed before
	c.clients[i] = one
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
	for {
		one, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := try(one)
		cancel()
		if err == nil {
			return
		}
		require.NoError(c.t, ctx.Err(), "%s: %v", what, err)
		time.Sleep(100 * time.Millisecond)
	}
}

// awaitAll waits until each member answers a linearizable read, and knows who it
// is.
func (c *cluster) awaitAll() {
	c.t.Helper()
	for i := range c.members {
		c.persist(fmt.Sprintf("m%d does not serve", i), func(ctx context.Context) error {
			res, err := c.clients[i].Get(ctx, "x")
			if err == nil {
				c.ids[i] = res.Header.MemberId
			}
			return err
		})
	}
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

// agree holds all members to the same hash now.
func (c *cluster) agree() {
	c.t.Helper()
	c.mu.Lock()
	at := c.mu.acknowledged
	c.mu.Unlock()
	c.compare(at)
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
