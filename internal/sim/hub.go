package sim

import "time"

// A member's hub has neither a clock nor a goroutine. What its Runner does in
// production, when there is a processor for it, happens here at moments of the
// seed's choosing.

// attendance is how far a host is with what its hub has to do.
type attendance struct {
	coming   bool // somebody is about to read for those who lag
	catching bool // somebody does
	meantime bool // and something else happens at the same time
}

// drawInbox draws the room for what was not handed out, little for some members.
func (c *Cluster) drawInbox() int {
	if c.dice.IntN(3) == 0 {
		return 300 + c.dice.IntN(4000)
	}
	return 0
}

// dawdle draws how long it takes until there is time for something.
func (c *Cluster) dawdle() time.Duration {
	most := time.Millisecond
	switch n := c.dice.IntN(40); {
	case n == 0:
		most = 3 * time.Second
	case n < 8:
		most = 200 * time.Millisecond
	}
	return time.Duration(c.dice.Int64N(int64(most)))
}

// stir has the hub hand out what it has taken in, if there is anything.
func (h *host) stir() {
	select {
	case <-h.state.Watch.Due():
		if h.state.Watch.Stats().Pending == 0 {
			h.c.out.Watch.Overflows++
		}
		h.after(h.c.dawdle(), h.step)
	default:
	}
}

func (h *host) step() {
	h.state.Watch.Step()
	h.catchUp()
}

// catchUp has somebody look whether there is anything to be read for those who lag.
func (h *host) catchUp() {
	if h.attend.coming {
		return
	}
	h.attend.coming = true
	h.after(h.c.dawdle(), func() {
		h.attend.coming = false
		h.attend.catching = true
		again := h.state.Watch.Next()
		h.attend.catching = false
		if again {
			h.c.out.Watch.Slices++
			h.catchUp()
		}
	})
}

// meanwhile is called where somebody who reads for those who lag holds no lock: what
// others do at that time happens now.
func (h *host) meanwhile() {
	dice := h.c.dice
	if !h.attend.catching || h.attend.meantime || dice.IntN(3) > 0 {
		return
	}
	h.attend.meantime = true
	defer func() { h.attend.meantime = false }()
	switch dice.IntN(3) {
	case 0:
		h.state.Watch.Step()
	case 1:
		h.state.Watch.Next()
	default:
		for _, l := range h.c.listeners {
			if l.line != nil && l.line.h == h && l.line.life == h.life {
				l.line.serve()
			}
		}
	}
	h.catchUp()
}

// notifyInterval is after how long a silence watchers hear how far they are.
const notifyInterval = 3 * time.Second

// tickHub has those told how far they are who want that now and then.
func (h *host) tickHub() {
	dice := h.c.dice
	h.after(50*time.Millisecond+time.Duration(dice.Int64N(int64(time.Second))), func() {
		h.state.Watch.Tick(h.c.clock.now, notifyInterval, func(most time.Duration) time.Duration {
			return time.Duration(dice.Int64N(int64(most)))
		})
		h.tickHub()
	})
}
