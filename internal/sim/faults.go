package sim

import (
	"errors"
	"strings"
	"time"

	"etcd.alt/internal/sim/disk"
)

// errInputOutput is what a disk says that fails.
var errInputOutput = errors.New("input/output error")

// fault is something that goes wrong: it strikes a host and returns what ends
// it, and when; nil if it is over at once. A fault that does not fit the moment
// says so.
type fault struct {
	name   string
	weight int
	strike func(c *Cluster, h *host) (end func(), ok bool)
}

// faults are all that there are, with how often they come.
var faults = []fault{
	{"power cut", 14, (*Cluster).powerCut},
	{"power cut of all", 3, (*Cluster).powerCutOfAll},
	{"kill", 8, (*Cluster).kill},
	{"restart", 4, (*Cluster).restart},
	{"pause", 8, (*Cluster).pause},
	{"isolation", 8, (*Cluster).isolate},
	{"absence", 5, (*Cluster).absence},
	{"partition", 6, (*Cluster).partition},
	{"one-way cut", 8, (*Cluster).oneWay},
	{"foul network", 10, (*Cluster).foulNetwork},
	{"distance", 8, (*Cluster).distance},
	{"slow disk", 9, (*Cluster).slowDisk},
	{"failing sync", 5, (*Cluster).failingSync},
	{"full disk", 5, (*Cluster).fullDisk},
	{"failing read", 5, (*Cluster).failingRead},
	{"hand-over", 6, (*Cluster).handOver},
}

// strike has something go wrong, and sets when the next thing will.
func (c *Cluster) strike() {
	if c.closing {
		return
	}
	total := 0
	for _, f := range faults {
		total += f.weight
	}
	n := c.rng.IntN(total)
	for _, f := range faults {
		if n -= f.weight; n >= 0 {
			continue
		}
		h := c.target()
		c.say("fault: %s, host %d", f.name, h.id)
		end, ok := f.strike(c, h)
		if !ok {
			c.say("not now")
			break
		}
		c.out.Faults[f.name]++
		if end != nil {
			c.active++
			c.clock.after(c.duration(), func() {
				c.active--
				c.say("it ends: %s, host %d", f.name, h.id)
				end()
			})
		}
		break
	}
	c.clock.after(c.between(500*time.Millisecond, 9*time.Second), c.strike)
}

// duration draws how long a fault lasts. Some last so long that the others give
// the beginning of their logs back meanwhile, and a snapshot is needed then.
func (c *Cluster) duration() time.Duration {
	if c.rng.IntN(6) == 0 {
		return c.between(10*time.Second, 40*time.Second)
	}
	return c.between(300*time.Millisecond, 8*time.Second)
}

// target draws a host, the leader more often than the others.
func (c *Cluster) target() *host {
	if h := c.byID[c.leader]; h != nil && c.rng.IntN(3) == 0 {
		return h
	}
	return c.hosts[c.rng.IntN(len(c.hosts))]
}

// powerCut takes what was not synced.
func (c *Cluster) powerCut(h *host) (func(), bool) {
	if !h.up {
		return nil, false
	}
	if c.rng.IntN(2) == 0 {
		h.tear()
	}
	h.interrupt()
	h.end(c.loss())
	return h.start, true
}

// loss draws what a power cut leaves.
func (c *Cluster) loss() disk.Crash {
	if c.rng.IntN(3) == 0 {
		return disk.LoseAll{}
	}
	return disk.Random(c.rng.Uint64())
}

func (c *Cluster) powerCutOfAll(*host) (func(), bool) {
	for _, h := range c.hosts {
		if h.up {
			h.end(c.loss())
		}
	}
	return func() {
		for _, h := range c.hosts {
			h.start()
		}
	}, true
}

// kill ends the process; what it wrote is kept.
func (c *Cluster) kill(h *host) (func(), bool) {
	if !h.up {
		return nil, false
	}
	h.end(disk.KeepAll{})
	return h.start, true
}

// restart stops a member in order.
func (c *Cluster) restart(h *host) (func(), bool) {
	if !h.up || h.damaged != "" || h.paused > 0 {
		return nil, false
	}
	h.stop()
	return h.start, true
}

// pause stops the process, clock and all, while the others go on.
func (c *Cluster) pause(h *host) (func(), bool) {
	if !h.up {
		return nil, false
	}
	h.pause()
	return h.resume, true
}

// isolate cuts a host off.
func (c *Cluster) isolate(h *host) (func(), bool) {
	var cut []link
	for _, o := range c.hosts {
		if o != h {
			cut = append(cut, link{h.id, o.id}, link{o.id, h.id})
		}
	}
	return c.network.sever(cut), true
}

// absence cuts a host off for so long that the others may give the beginning of
// their logs back, while its member goes on and has watchers.
func (c *Cluster) absence(h *host) (func(), bool) {
	mend, _ := c.isolate(h)
	c.active++
	c.clock.after(c.between(15*time.Second, 40*time.Second), func() {
		c.active--
		c.say("the absence of host %d ends", h.id)
		mend()
	})
	return nil, true
}

// partition cuts the hosts into two groups.
func (c *Cluster) partition(*host) (func(), bool) {
	var cut []link
	sides := c.rng.Uint64()
	for i, a := range c.hosts {
		for j, b := range c.hosts {
			if (sides>>i)&1 != (sides>>j)&1 {
				cut = append(cut, link{a.id, b.id})
			}
		}
	}
	return c.network.sever(cut), len(cut) > 0
}

// oneWay cuts some links of a host in one direction.
func (c *Cluster) oneWay(h *host) (func(), bool) {
	var cut []link
	out := c.rng.IntN(2) == 0
	for _, o := range c.hosts {
		switch {
		case o == h || c.rng.IntN(3) == 0:
		case out:
			cut = append(cut, link{h.id, o.id})
		default:
			cut = append(cut, link{o.id, h.id})
		}
	}
	return c.network.sever(cut), len(cut) > 0
}

// foulNetwork has messages lost, doubled, late and out of order.
func (c *Cluster) foulNetwork(*host) (func(), bool) {
	c.network.foul++
	return func() { c.network.foul-- }, true
}

// distance puts a host far away from the others.
func (c *Cluster) distance(h *host) (func(), bool) {
	h.far++
	return func() { h.far-- }, true
}

// slowDisk has syncs of the log take up to seconds.
func (c *Cluster) slowDisk(h *host) (func(), bool) {
	h.slow++
	return func() { h.slow-- }, true
}

// failingSync has syncs of the log fail, which ends the member.
func (c *Cluster) failingSync(h *host) (func(), bool) {
	if !h.up || h.damaged != "" {
		return nil, false
	}
	h.damaged = "failing sync"
	h.disk.Inject(failLog(disk.OpSync, errInputOutput))
	return h.repair(), true
}

// fullDisk leaves the log room for a few writes, which ends the member after
// them. Bytes are not counted: when the engine deletes its old files is its own
// affair.
func (c *Cluster) fullDisk(h *host) (func(), bool) {
	if !h.up || h.damaged != "" {
		return nil, false
	}
	h.damaged = "full disk"
	left := c.rng.IntN(20)
	h.disk.Inject(func(op disk.Op, path string) error {
		if op != disk.OpWrite && op != disk.OpCreate || !strings.HasPrefix(path, logDir) {
			return nil
		}
		if left--; left >= 0 {
			return nil
		}
		return errNoSpace
	})
	return h.repair(), true
}

// repair returns what ends a fault of the disk. A log that has failed is not
// used any more, so the member is killed if it has not ended.
func (h *host) repair() func() {
	life := h.life
	return func() {
		if h.life == life && h.up {
			h.end(disk.Random(h.c.rng.Uint64()))
			h.c.clock.after(time.Second, h.start)
		}
	}
}

// failingRead kills a member whose disk then fails one of the reads of its next
// start.
func (c *Cluster) failingRead(h *host) (func(), bool) {
	if !h.up {
		return nil, false
	}
	h.end(disk.KeepAll{})
	h.reads = readFailure{after: 1 + c.rng.IntN(40)}
	return h.start, true
}

// handOver has the leader give leadership to another.
func (c *Cluster) handOver(h *host) (func(), bool) {
	lead := c.byID[c.leader]
	if lead == nil || lead == h || !lead.up {
		return nil, false
	}
	lead.now(func() {
		lead.core.Transfer(h.id)
		lead.wake()
	})
	return nil, true
}
