package service

import (
	"sync/atomic"
	"time"

	"etcd.alt/internal/rpc"
)

// clock is the time of day at the price of an addition, for calls: the engine has read
// its own clock for them anyway. It follows steps of the time of day within a second.
type clock struct{ set atomic.Pointer[reading] }

// reading is what both clocks have said together.
type reading struct {
	wall   time.Time
	engine time.Duration
}

// read is the time at which a call has come; the present one without a call. other is
// read in its place, if there is one.
func (c *clock) read(other func() time.Time, call *rpc.Call) time.Time {
	if other != nil {
		return other()
	}
	if call == nil {
		return time.Now()
	}
	came := call.Turn()
	last := c.set.Load()
	if last == nil || came-last.engine > time.Second {
		last = &reading{time.Now().Round(0), call.Now()}
		c.set.Store(last)
	}
	return last.wall.Add(came - last.engine)
}
