package sim

import (
	crand "crypto/rand"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"etcd.alt/internal/datadir"
	"etcd.alt/internal/member"
	"etcd.alt/internal/sim/disk"
	"etcd.alt/internal/wal"
)

// What a seed has at least.
const (
	leastTime       = 3 * time.Minute
	leastOperations = 500
	leastFaults     = 10
)

// mostTime is the end of a seed that does not come to that: something stands
// still.
const mostTime = 10 * time.Minute

// segmentBytes is the size of a segment of the log. Some dozen entries fill it, so
// that a member which is away for a while has to be sent a snapshot.
const segmentBytes = 4 << 10

// clients is how many ask at the same time.
const clients = 6

// requestTicks is how long a member tries to answer; requestTime is about the same.
const (
	requestTicks = 70
	requestTime  = 7 * time.Second
)

// Tally is what a seed of a cluster has to show.
type Tally struct {
	Time       time.Duration
	Members    int
	Operations int // that were asked
	Answered   int
	Refused    int // by members that do not serve
	Lost       int // messages
	Stopped    int // members that have ended themselves
	Entries    int // that were applied
	Faults     map[string]int

	LeaderChanges int
	Changes       int // of the membership
	Snapshots     int // that were installed
	Interrupted   int // installs in the midst of which the power was cut
	Compactions   int
	Ended         int // leases whose time was over
	Renewals      int
	Truncations   int // ends of logs that others have replaced
	Released      int // starts with a log whose beginning was given back

	Watch WatchTally
	Users UserTally

	// Trace is a hash over everything that happened: the same seed gives the
	// same.
	Trace uint64
}

// WatchTally is what those have seen who watch.
type WatchTally struct {
	Events    int // that were told
	Responses int // with events
	Fragments int // responses with more to come
	Created   int // watches that began
	Resumed   int // on another stream, behind what was told
	Behind    int // of these, on members that were not as far
	Refused   int // watches
	Canceled  int // at the client's wish
	Compacted int // cancelled since what they were to be told was compacted
	Asked     int // progress that was asked for, and told
	Notified  int // progress that came by itself
	Slices    int // of the history that were read for those who lag
	Full      int // responses that found no room
	Forgotten int // events without what they replaced, since that was compacted
	Replaced  int // installs of snapshots on members with watchers
	Overflows int // of the inboxes of hubs
}

// Cluster is a whole cluster in one goroutine: hosts, the network between them,
// clients, faults.
type Cluster struct {
	seed       uint64
	rng        *rand.Rand
	dice       *rand.Rand // for all that has to do with watchers, who change nothing of what they watch
	lots       *rand.Rand // for all that has to do with users
	clock      clock
	network    *network
	hosts      []*host
	byID       map[uint64]*host
	clients    []*client
	membership string // the newest that was applied
	listeners  []*listener
	closing    bool // the clients ask nothing new
	active     int  // faults under way

	model    *Model // what was applied by whoever was first
	hashes   map[[2]int64]uint32
	leaders  map[uint64]uint64     // by term
	leader   uint64                // the last one
	tails    map[wal.Position]bool // the last entries that logs have had
	decided  map[uint64]decision   // by request
	promised map[int64]promise     // by lease

	history      []*operation
	nextID       uint64
	values       int // so far; each is written once
	stamps       int64
	calls        int    // that were not answered yet
	acknowledged int64  // the newest revision that anybody was told
	ruled        uint64 // the last entry with a change of users that anybody was told

	trace io.Writer
	hash  hash.Hash64
	out   Tally
	err   error
}

// RunCluster runs a cluster from a seed until it has seen enough, and returns
// what it found wrong. The trace in words goes to trace, which may be nil. One
// runs at a time.
func RunCluster(seed uint64, trace io.Writer) (out Tally, err error) {
	fromSeed(seed, func() {
		c := newCluster(seed, trace)
		err = unlessPanic(c.run)
		c.out.Time, c.out.Members, c.out.Operations, c.out.Entries = c.clock.now, len(c.hosts), len(c.history), int(c.model.Index)
		c.out.Trace = c.hash.Sum64()
		out = c.out
		if err != nil {
			err = fmt.Errorf("seed %d, at %v: %w", seed, c.clock.now, err)
		}
	})
	return out, err
}

// unlessPanic makes an error of a panic: the consensus library panics where its
// own invariants do not hold, and the seed must be told.
func unlessPanic(run func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return run()
}

// randomness is held by the run that has crypto/rand.Reader.
var randomness sync.Mutex

// fromSeed runs a cluster while crypto/rand.Reader, from which the raft library
// draws its election timeouts, is the seed's stream.
func fromSeed(seed uint64, run func()) {
	randomness.Lock()
	defer randomness.Unlock()
	var key [32]byte
	binary.BigEndian.PutUint64(key[:], seed)
	system := crand.Reader
	crand.Reader = rand.NewChaCha8(key)
	defer func() { crand.Reader = system }()
	run()
}

func newCluster(seed uint64, trace io.Writer) *Cluster {
	c := &Cluster{
		seed: seed, rng: rand.New(rand.NewPCG(seed, 0xc1a5)), dice: rand.New(rand.NewPCG(seed, 0x3a7c)), lots: rand.New(rand.NewPCG(seed, 0xa074)), trace: trace, hash: fnv.New64a(),
		model: NewModel(), byID: map[uint64]*host{}, hashes: map[[2]int64]uint32{}, leaders: map[uint64]uint64{}, tails: map[wal.Position]bool{}, decided: map[uint64]decision{}, promised: map[int64]promise{},
		out: Tally{Faults: map[string]int{}},
	}
	c.network = newNetwork(c)
	size := 3
	if seed%8 == 7 {
		size = 5
	}
	var members []member.Member
	for id := uint64(1); id <= uint64(size); id++ {
		members = append(members, newMember(id))
	}
	for _, m := range members {
		c.add(m.ID, datadir.NewCluster(m.ID, members))
	}
	for i := range clients {
		c.clients = append(c.clients, &client{c: c, id: i + 1})
	}
	for i := range listeners {
		c.listeners = append(c.listeners, &listener{c: c, id: i + 1})
	}
	return c
}

// newMember is the member of an id.
func newMember(id uint64) member.Member {
	return member.Member{ID: id, Name: fmt.Sprintf("m%d", id), PeerURLs: []string{fmt.Sprintf("http://127.0.0.1:%d", 2380+id)}}
}

// add adds a host with an empty disk.
func (c *Cluster) add(id uint64, begin func() (datadir.Beginning, error)) *host {
	h := &host{c: c, id: id, disk: disk.New(), begin: begin}
	c.hosts, c.byID[id] = append(c.hosts, h), h
	return h
}

// run is the whole story of a seed.
func (c *Cluster) run() error {
	for _, h := range c.hosts {
		h.start()
	}
	for _, cl := range c.clients {
		cl.think()
	}
	for _, l := range c.listeners {
		l.act()
	}
	c.populate()
	c.clock.after(c.between(2*time.Second, 8*time.Second), c.strike)
	c.clock.after(c.between(5*time.Second, 25*time.Second), c.administer)
	if err := c.until(mostTime, c.enough); err != nil {
		return err
	}
	if err := c.heal(); err != nil {
		return err
	}
	if err := c.cutAll(); err != nil {
		return err
	}
	if err := c.close(); err != nil {
		return err
	}
	return c.judge()
}

// enough says whether a seed has what it must have.
func (c *Cluster) enough() bool {
	return c.clock.now >= leastTime && len(c.history) >= leastOperations && c.faults() >= leastFaults
}

func (c *Cluster) faults() int {
	n := 0
	for _, of := range c.out.Faults {
		n += of
	}
	return n
}

// until lets things happen until done says so, which may take no longer than
// most from now.
func (c *Cluster) until(most time.Duration, done func() bool) error {
	end := c.clock.now + most
	for c.err == nil && !done() {
		do := c.clock.next()
		if do == nil || c.clock.now > end {
			return fmt.Errorf("the cluster does not come to rest: %s", c.state())
		}
		do()
	}
	return c.err
}

// heal ends all faults, lets the clients come to an end, and waits until all
// members stand at the same entry; then it compares them.
func (c *Cluster) heal() error {
	c.say("no more faults from now on")
	c.closing = true // faults under way end by themselves
	return c.settle()
}

// settle waits until all members stand at the same entry, compares them, and waits
// until all who watch were told everything.
func (c *Cluster) settle() error {
	if err := c.converge(); err != nil {
		return err
	}
	if err := c.compare(); err != nil {
		return err
	}
	return c.until(hearTime, c.heardAll)
}

// cutAll cuts everybody's power and looks whether all is there after it.
func (c *Cluster) cutAll() error {
	c.say("all lose their power")
	for _, h := range c.hosts {
		if h.up {
			h.end(disk.LoseAll{})
		}
	}
	for _, h := range c.hosts {
		h.start()
	}
	return c.settle()
}

// hearTime is how long it may take until all who watch were told everything, once
// the cluster is at rest.
const hearTime = 30 * time.Second

// restTime is how long a whole cluster may take to come to rest: faults that are
// under way end within it, elections and requests too.
const restTime = 90 * time.Second

func (c *Cluster) converge() error {
	return c.until(restTime, func() bool {
		for _, cl := range c.clients {
			if cl.open != nil {
				return false
			}
		}
		lead := c.byID[c.leader]
		if c.active > 0 || c.calls > 0 || lead == nil {
			return false
		}
		gone, ok := c.dismissed()
		if !ok {
			return false
		}
		for _, h := range gone {
			c.leave(h)
		}
		for _, h := range c.hosts {
			if h.gone {
				continue
			}
			if !h.up || !h.served || h.paused > 0 {
				return false
			}
			s := h.core.Status()
			if s.Leader != c.leader || s.Applied != c.model.Index || s.Commit != s.Applied || h.data.Log.Last().Index != s.Applied {
				return false
			}
		}
		return true
	})
}

// compare holds every member against the model, with its whole past.
func (c *Cluster) compare() error {
	var members string
	for _, h := range c.hosts {
		if h.gone {
			continue
		}
		now := fmt.Sprint(h.machine.View().Members.Members)
		if members == "" {
			members = now
		}
		if now != members {
			return fmt.Errorf("host %d, in the end, knows the members %s, and another %s", h.id, now, members)
		}
		if err := verify(h.machine.View(), c.model); err != nil {
			return fmt.Errorf("host %d, in the end: %w", h.id, err)
		}
		c.checkHash(h)
	}
	return c.err
}

func (c *Cluster) close() error {
	for _, h := range c.hosts {
		if h.up {
			h.stop()
		}
	}
	return c.err
}

// state tells where everybody stands.
func (c *Cluster) state() string {
	s := fmt.Sprintf("the newest applied entry is %d, %d faults are under way, %d callers were not told", c.model.Index, c.active, c.calls)
	for _, h := range c.hosts {
		s += fmt.Sprintf("; host %d: up %v, serves %v, paused %d, gone %v", h.id, h.up, h.served, h.paused, h.gone)
		if h.up {
			st := h.core.Status()
			s += fmt.Sprintf(", leader %d, term %d, commit %d, applied %d, log to %d", st.Leader, st.Term, st.Commit, st.Applied, h.data.Log.Last().Index)
		}
	}
	for _, cl := range c.clients {
		if cl.open != nil {
			s += fmt.Sprintf("; client %d waits for %d", cl.id, cl.open.id)
		}
	}
	for _, l := range c.listeners {
		if !l.heardAll() {
			s += "; " + l.state()
		}
	}
	return s
}

// fail ends the run; the first reason counts.
func (c *Cluster) fail(err error) {
	if c.err == nil {
		c.err = err
		c.say("wrong: %v", err)
	}
}

// stamp is the next place in the history.
func (c *Cluster) stamp() int64 {
	c.stamps++
	return c.stamps
}

// between draws a time.
func (c *Cluster) between(least, most time.Duration) time.Duration {
	return least + time.Duration(c.rng.Int64N(int64(most-least)))
}

// say puts a line into the trace, and into its hash.
func (c *Cluster) say(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	c.note(noteLine)
	_, _ = io.WriteString(c.hash, line)
	c.write(line)
}

// tell puts a line into the trace alone; what it tells of has been noted.
func (c *Cluster) tell(format string, args ...any) { c.write(fmt.Sprintf(format, args...)) }

func (c *Cluster) write(line string) {
	if c.trace != nil {
		fmt.Fprintf(c.trace, "%11.6f  %s\n", c.clock.now.Seconds(), line)
	}
}

// What is noted without words.
const (
	noteLine = iota
	noteSend
	noteDeliver
	noteLose
	noteFlush
	noteWrite
	noteApply
	noteHash
	noteTold
)

// note puts numbers into the hash of the trace.
func (c *Cluster) note(what uint64, numbers ...uint64) {
	var b [64]byte
	data := binary.LittleEndian.AppendUint64(b[:0], what)
	data = binary.LittleEndian.AppendUint64(data, uint64(c.clock.now))
	for _, n := range numbers {
		data = binary.LittleEndian.AppendUint64(data, n)
	}
	_, _ = c.hash.Write(data)
}
