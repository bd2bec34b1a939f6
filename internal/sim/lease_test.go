package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"etcd.alt/internal/sim/disk"
)

// tenancy is the story of a lease with a key that nobody renews, and of leaders that
// end meanwhile.
type tenancy struct {
	ttl   time.Duration
	ends  []time.Duration // when the leader ends, after the grant; if all are there then
	how   func(c *Cluster, h *host) (back func())
	again time.Duration // after which a leader that has ended comes back

	ended  int           // leaders
	vacant time.Duration // the time until there was another, of all
}

// electionTimeout is that of the hosts, by a clock that is right.
const electionTimeout = time.Second

// mostBehind is by how much the log may be behind with what is left of the lease.
func (y *tenancy) mostBehind() time.Duration { return max(2*time.Second, y.ttl/10) }

// mostLate is how late the key may go. Each leader that ends takes with it what the log
// was behind, and the time until there is another, which gives the lease an election
// timeout more. The rest is for what is looked at and written with the beat of a clock.
func (y *tenancy) mostLate() time.Duration {
	return time.Duration(y.ended)*(y.mostBehind()+electionTimeout) + y.vacant + 500*time.Millisecond
}

const tenant = "k0"

// live has the lease granted and the key put, and says how long the key was there,
// counted from the moment at which the grant was asked for and from the one at which
// it was known.
func (y *tenancy) live(seed uint64) (longest, shortest time.Duration, err error) {
	fromSeed(seed, func() {
		c := newCluster(seed, nil)
		err = unlessPanic(func() (err error) {
			longest, shortest, err = y.in(c)
			return err
		})
	})
	if err != nil {
		err = fmt.Errorf("seed %d: %w", seed, err)
	}
	return longest, shortest, err
}

func (y *tenancy) in(c *Cluster) (longest, shortest time.Duration, err error) {
	for _, h := range c.hosts {
		h.start()
	}
	lead := func() *host {
		if h := c.byID[c.leader]; h != nil && h.answers() && h.core.Status().Established && h.keeper.Term() == h.core.Status().Term {
			return h
		}
		return nil
	}
	if err := c.until(20*time.Second, func() bool { return lead() != nil }); err != nil {
		return 0, 0, err
	}
	c.closing = true // there are no clients
	asked := c.clock.now
	if err := y.ask(c, lead(), question{kind: grant, lease: 1, ttl: int64(y.ttl / time.Second)}); err != nil {
		return 0, 0, err
	}
	granted := c.clock.now
	if err := y.ask(c, lead(), question{kind: put, key: tenant, value: "v", lease: 1}); err != nil {
		return 0, 0, err
	}
	var since time.Duration // when the leader of term has ended
	var term uint64
	for _, at := range y.ends {
		c.clock.after(asked+at-c.clock.now, func() {
			h := lead()
			if h == nil || c.active > 0 {
				return
			}
			y.ended++
			c.active++
			since, term = c.clock.now, h.core.Status().Term
			back := y.how(c, h)
			c.clock.after(y.again, func() {
				c.active--
				back()
			})
		})
	}
	gone := func() bool {
		for _, h := range c.hosts {
			if s := h.core.Status(); term > 0 && h.answers() && s.Established && s.Term > term {
				y.vacant += c.clock.now - since
				term = 0
			}
		}
		return len(c.model.On(1)) == 0
	}
	if err := c.until(2*y.ttl+30*time.Second, gone); err != nil {
		return 0, 0, err
	}
	return c.clock.now - asked, c.clock.now - granted, c.close()
}

// ask asks a member for a write and waits for its answer.
func (y *tenancy) ask(c *Cluster, h *host, q question) error {
	c.nextID++
	op := &operation{id: c.nextID, ask: q, returned: math.MaxInt64}
	cl := &client{c: c, open: op}
	h.take(cl, op)
	if err := c.until(5*time.Second, func() bool { return op.outcome != unknown }); err != nil {
		return err
	}
	if op.outcome != answered || op.answer.err != "" {
		return fmt.Errorf("%v: %v", q, op.answer)
	}
	return nil
}

func kill(_ *Cluster, h *host) func() {
	h.end(disk.KeepAll{})
	return h.start
}

// A lease of a minute that nobody renews, and the leader is killed after 40 seconds:
// the key is there for the minute, and gone soon after it.
func TestALeaseOutlivesItsLeader(t *testing.T) {
	var least, most time.Duration = math.MaxInt64, 0
	for seed := range uint64(100) {
		y := &tenancy{ttl: time.Minute, ends: []time.Duration{40 * time.Second}, how: kill, again: time.Minute}
		longest, shortest, err := y.live(seed)
		require.NoError(t, err)
		require.GreaterOrEqual(t, longest, y.ttl, "seed %d: the key was gone before its time", seed)
		require.LessOrEqual(t, shortest, y.ttl+y.mostBehind()+2*electionTimeout+time.Second, "seed %d: the key stayed", seed)
		least, most = min(least, shortest-y.ttl), max(most, shortest-y.ttl)
	}
	t.Logf("the key went between %v and %v after its minute", least, most)
}

// The same for other leases, and for leaders that end at any time, once or more, in
// other ways, and come back.
func TestLeasesOutliveLeaders(t *testing.T) {
	ways := []func(c *Cluster, h *host) func(){
		kill,
		func(c *Cluster, h *host) func() {
			h.end(c.loss())
			return h.start
		},
		func(_ *Cluster, h *host) func() { // it believes that it leads when it goes on
			h.pause()
			return h.resume
		},
		func(c *Cluster, h *host) func() {
			mend, _ := c.isolate(h)
			return mend
		},
	}
	for seed := range uint64(100) {
		dice := rand.New(rand.NewPCG(seed, 0x1ea5e))
		y := &tenancy{ttl: time.Duration(2+dice.IntN(120)) * time.Second, how: ways[dice.IntN(len(ways))], again: time.Second + time.Duration(dice.Int64N(int64(20*time.Second)))}
		for range 1 + dice.IntN(3) {
			y.ends = append(y.ends, time.Duration(dice.Int64N(int64(y.ttl))))
		}
		longest, shortest, err := y.live(seed)
		require.NoError(t, err, "%+v", y)
		require.GreaterOrEqual(t, longest, y.ttl, "seed %d: the key was gone before its time: %+v", seed, y)
		require.LessOrEqual(t, shortest, y.ttl+y.mostLate(), "seed %d: the key stayed: %+v", seed, y)
	}
}

// Who is granted a lease by a leader that takes over has it for as long as was said,
// though the leader has not looked at its leases yet: they are no older than it is. Those
// who ask wait for a leader already.
func TestALeaseOfANewLeader(t *testing.T) {
	granted := 0
	for seed := range uint64(100) {
		fromSeed(seed, func() {
			c := newCluster(seed, nil)
			require.NoError(t, unlessPanic(func() error { return grantAtOnce(t, c, &granted) }), "seed %d", seed)
		})
	}
	require.Greater(t, granted, 20, "leases that were granted while a leader took over")
}

// grantAtOnce has the leader killed, and leases asked for at the others before one of them
// leads.
func grantAtOnce(t *testing.T, c *Cluster, granted *int) error {
	for _, h := range c.hosts {
		h.start()
	}
	lead := func() *host {
		if h := c.byID[c.leader]; h != nil && h.answers() && h.core.Status().Established {
			return h
		}
		return nil
	}
	if err := c.until(20*time.Second, func() bool { return lead() != nil }); err != nil {
		return err
	}
	c.closing = true // there are no clients
	first := lead()
	back := kill(c, first)
	// It is known that nobody leads when an election timeout has passed.
	over := c.clock.now + electionTimeout
	if err := c.until(2*electionTimeout, func() bool { return c.clock.now > over }); err != nil {
		return err
	}
	var asked []*operation
	for i, h := range c.hosts {
		if h == first {
			continue
		}
		c.nextID++
		op := &operation{id: c.nextID, ask: question{kind: grant, lease: int64(i + 1), ttl: 60}, returned: math.MaxInt64}
		h.take(&client{c: c, open: op}, op)
		asked = append(asked, op)
	}
	again := func() bool { return lead() != nil && lead() != first }
	if err := c.until(10*time.Second, again); err != nil {
		return err
	}
	// Until the next look, and no longer.
	h := lead()
	if err := c.until(time.Second, func() bool { return h.keeper.Term() == h.core.Status().Term }); err != nil {
		return err
	}
	for _, op := range asked { // the others have gone to the leader that is dead
		if left, ok := h.keeper.Left(op.ask.lease, c.clock.now); ok {
			*granted++
			require.LessOrEqual(t, left, time.Minute, "lease %d", op.ask.lease)
		}
	}
	if err := c.until(10*time.Second, func() bool { return c.calls == 0 }); err != nil {
		return err
	}
	back()
	return c.close()
}
