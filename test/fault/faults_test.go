package fault

import (
	"context"
	"fmt"
	"time"

	"etcd.alt/test/fault/history"
	"etcd.alt/test/fault/network"
)

// fault is a kind of thing that happens. do brings it about, and may take a
// while; what it leaves stays until all is healed.
type fault struct {
	name string
	odds int
	do   func(r *run)
}

var faults = []fault{
	{"kill -9 of one", 4, func(r *run) { r.c.kill(r.anyone()) }},
	{"kill -9 of the leader", 3, func(r *run) { r.c.kill(r.leader()) }},
	{"kill -9 of two", 2, func(r *run) { a, b := r.two(); r.c.kill(a); r.c.kill(b) }},
	{"kill -9 of all", 1, func(r *run) {
		for i := range size {
			r.c.kill(i)
		}
	}},
	{"stop of one", 3, func(r *run) { r.c.pause(r.anyone()) }},
	{"stop of the leader", 3, func(r *run) { r.c.pause(r.leader()) }},
	{"stop of two", 1, func(r *run) { a, b := r.two(); r.c.pause(a); r.c.pause(b) }},
	{"slow disk", 2, slow},
	{"restart in order", 2, func(r *run) { i := r.anyone(); r.c.stop(i); r.c.launch(i) }},
	{"leadership moved", 3, moveLeader},
	{"one cut off", 3, func(r *run) { r.isolate(r.anyone(), both, r.loss()) }},
	{"the leader cut off", 3, func(r *run) { r.isolate(r.leader(), both, r.loss()) }},
	{"one is not heard", 2, func(r *run) { r.isolate(r.anyone(), out, r.loss()) }},
	{"one does not hear", 2, func(r *run) { r.isolate(r.anyone(), in, r.loss()) }},
	{"the leader is not heard", 2, func(r *run) { r.isolate(r.leader(), out, r.loss()) }},
	{"the leader does not hear", 2, func(r *run) { r.isolate(r.leader(), in, r.loss()) }},
	{"one link cut", 2, func(r *run) { a, b := r.two(); r.c.link(a, b, r.loss()) }},
	{"two cannot talk", 2, func(r *run) { a, b := r.two(); r.c.cut(a, b, r.loss()) }},
	{"delay", 3, func(r *run) {
		rule := network.Rule{Delay: time.Duration(r.rng.IntN(150)) * time.Millisecond, Jitter: time.Duration(1+r.rng.IntN(150)) * time.Millisecond}
		a, b := r.two()
		r.c.cut(a, b, rule)
	}},
	{"connections reset", 2, func(r *run) { a, b := r.two(); r.c.network.Reset(a, b) }},
}

// anyone draws a member.
func (r *run) anyone() int { return r.rng.IntN(size) }

// two draws two different members.
func (r *run) two() (a, b int) {
	a = r.rng.IntN(size)
	return a, (a + 1 + r.rng.IntN(size-1)) % size
}

// leader is the member that leads, or any where none does.
func (r *run) leader() int {
	if i := r.c.leader(); i >= 0 {
		return i
	}
	return r.anyone()
}

// loss draws how bytes are lost: for ever, or until the link is healed.
func (r *run) loss() network.Rule {
	if r.rng.IntN(2) == 0 {
		return network.Rule{Loss: network.Swallow}
	}
	return network.Rule{Loss: network.Hold}
}

// ways of isolation.
type way int

const (
	in way = 1 << iota
	out
	both = in | out
)

// isolate cuts a member off from all others.
func (r *run) isolate(i int, w way, rule network.Rule) {
	for other := range size {
		if other == i {
			continue
		}
		if w&in != 0 {
			r.c.link(other, i, rule)
		}
		if w&out != 0 {
			r.c.link(i, other, rule)
		}
	}
}

// slow has a member stand still again and again for a moment, as one does whose
// disk is slow.
func slow(r *run) {
	i := r.leader()
	if r.rng.IntN(2) == 0 {
		i = r.anyone()
	}
	for range 5 + r.rng.IntN(10) {
		r.c.pause(i)
		r.sleep(20, 200)
		r.c.resume(i)
		r.sleep(5, 50)
	}
}

// moveLeader has the leader hand over, if it will.
func moveLeader(r *run) {
	from := r.leader()
	to := (from + 1 + r.rng.IntN(size-1)) % size
	ctx, cancel := context.WithTimeout(r.c.t.Context(), time.Second)
	defer cancel()
	if _, err := r.c.at[from].MoveLeader(ctx, r.c.hosts[to].id.Load()); err == nil {
		r.moved++
	}
}

const (
	// bulkBytes is the size of a bulk value, bulkValues how many a member that
	// lags misses: more than is kept in memory for one that is not heard of.
	bulkBytes  = 512 << 10
	bulkValues = 48
)

// lag has a member miss so much that it must be sent the state, beside the clients
// that work. It begins and ends with all healed.
func (r *run) lag() {
	c := r.c
	c.heal()
	c.awaitServing(time.Minute)
	before, i := c.installed(), r.anyone()
	how := r.rng.IntN(3)
	switch how {
	case 0:
		r.brought["lag, killed"]++
		c.kill(i)
	case 1:
		r.brought["lag, stopped"]++
		c.pause(i)
	default:
		r.brought["lag, cut off"]++
		r.isolate(i, both, network.Rule{Loss: network.Swallow})
	}
	r.sleep(1500, 1600) // it is not heard of for longer than an election takes
	for n := 0; n < bulkValues; {
		o := &history.Op{Client: workers, Kind: history.Put, Key: fmt.Sprintf("bulk/%d", n), Value: "bulk" + r.record.value()}
		if r.record.do(c.asks[(i+1+n%2)%size], o, 5*time.Second) {
			n++
		}
		if c.t.Context().Err() != nil {
			return
		}
	}
	if how == 1 {
		// What waits in the connections would bring it up to date.
		for other := range size {
			c.network.Reset(i, other)
		}
	}
	c.heal()
	c.awaitServing(time.Minute)
	r.await("a member that lags is sent the state", func() bool { return c.installed() > before })
}

// replace has a member lose its disk and come back with nothing, beside the clients
// that work. It begins and ends with all healed.
func (r *run) replace() {
	r.c.heal()
	r.c.awaitServing(time.Minute)
	r.brought["member replaced"]++
	i := r.anyone()
	if r.rng.IntN(2) == 0 {
		i = r.leader()
	}
	r.c.replace(i)
	r.c.awaitServing(time.Minute)
}
