package sim

import (
	"errors"
	"fmt"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"etcd.alt/api/errs"
	"etcd.alt/internal/datadir"
	"etcd.alt/internal/member"
	"etcd.alt/internal/sim/disk"
)

// The size of a cluster: it is not made smaller than three voters, nor larger than
// five members, and has no more than so many hosts in its time.
const (
	leastVoters = 3
	mostMembers = 5
	mostHosts   = 9
)

// administer changes the membership now and then, through the leader.
func (c *Cluster) administer() {
	if c.closing {
		return
	}
	c.clock.after(c.between(5*time.Second, 25*time.Second), c.administer)
	lead := c.byID[c.leader]
	if lead == nil || !lead.up || !lead.served || lead.paused > 0 {
		return
	}
	change, err := c.drawChange(lead.machine.View().Members)
	if err != nil {
		c.fail(err)
		return
	}
	if change == nil {
		return
	}
	c.nextID++
	change.Id = proto.Uint64(c.nextID)
	data, err := proto.Marshal(change)
	if err != nil {
		c.fail(err)
		return
	}
	c.say("the administrator asks host %d: %v of %d", lead.id, change.GetType(), change.GetNodeId())
	c.calls++
	w := &changing{c: c, id: c.nextID}
	if err := lead.core.ProposeChange(c.nextID, data, nil, w); err != nil {
		w.Done(nil, err)
	}
	lead.wake()
}

// drawChange draws a change that fits the membership; nil for none.
func (c *Cluster) drawChange(now *member.View) (*raftpb.ConfChange, error) {
	var voters, learners []uint64
	for _, m := range now.Members {
		if m.Learner {
			learners = append(learners, m.ID)
		} else {
			voters = append(voters, m.ID)
		}
	}
	switch n := c.rng.IntN(3); {
	case n == 0 && len(learners) > 0:
		return member.Promote(learners[0])
	case n == 1 && len(voters) > leastVoters:
		return member.Remove(voters[c.rng.IntN(len(voters))]), nil
	case len(now.Members) < mostMembers && len(c.hosts) < mostHosts:
		m := newMember(uint64(len(c.hosts) + 1))
		m.Name, m.Learner = "", c.rng.IntN(2) == 0
		return member.Add(m)
	}
	return nil, nil
}

// changing is the caller of a change.
type changing struct {
	c    *Cluster
	id   uint64
	told bool
}

// Done is replica.Caller's.
func (w *changing) Done(_ any, err error) {
	if w.told {
		w.c.fail(fmt.Errorf("change %d was answered twice", w.id))
		return
	}
	w.told = true
	w.c.calls--
	var known *errs.Error
	if err != nil && !errors.As(err, &known) {
		w.c.fail(fmt.Errorf("change %d: %w", w.id, err))
		return
	}
	w.c.say("the administrator hears of change %d: %v", w.id, err)
}

// follow takes note of the membership that a member has published. It is called
// when nobody has applied more; a member that is new gets a host.
func (c *Cluster) follow(h *host) {
	now := h.machine.View().Members
	if s := fmt.Sprint(now.ConfState()); s != c.membership {
		if c.membership != "" {
			c.out.Changes++
		}
		c.membership = s
		c.say("the members are now %s", s)
	}
	for _, m := range now.Members {
		if c.byID[m.ID] == nil {
			id, cluster := m.ID, h.data.Identity.ClusterID
			joins := c.add(id, func() (datadir.Beginning, error) { return datadir.Beginning{Self: id, ClusterID: cluster}, nil })
			c.clock.after(c.between(100*time.Millisecond, 2*time.Second), joins.start)
		}
	}
}

// leave takes a host away whose member was removed.
func (c *Cluster) leave(h *host) {
	c.say("host %d is gone", h.id)
	if h.up {
		h.end(disk.KeepAll{})
	}
	h.gone = true
}

// dismissed are the hosts whose members the newest membership does not have. It is
// known when a member that is up has applied all there is.
func (c *Cluster) dismissed() (gone []*host, ok bool) {
	for _, h := range c.hosts {
		if h.gone || !h.up || h.machine.View().Applied != c.model.Index {
			continue
		}
		for _, o := range c.hosts {
			if _, in := h.machine.View().Members.Get(o.id); !in && !o.gone {
				gone = append(gone, o)
			}
		}
		return gone, true
	}
	return nil, false
}
