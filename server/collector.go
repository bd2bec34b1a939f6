package server

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// How far the heap of a member's process may grow beyond what is alive before
// the garbage is collected. Go doubles it; a member with a million keys would
// carry as much garbage as keys. The index has few pointers, so that collecting
// more often costs little.
const (
	// smallestGarbage is allowed however little is alive.
	smallestGarbage = 64 << 20
	mostPercent     = 100
	leastPercent    = 35
	// loadingPercent holds while the index is read: almost all of that stays.
	loadingPercent = 400

	collectorInterval = 5 * time.Second
)

// collector sets how eagerly this process collects garbage. It belongs to a
// process that is nothing but a member; where the GOGC variable is set it leaves
// everything as it is.
type collector struct {
	off     bool
	percent int
}

// startCollector readies the process for reading the index.
func startCollector() *collector {
	c := &collector{off: os.Getenv("GOGC") != ""}
	c.set(loadingPercent)
	return c
}

// follow adapts to what is alive until ctx ends.
func (c *collector) follow(ctx context.Context) {
	if c.off {
		return
	}
	t := time.NewTicker(collectorInterval)
	defer t.Stop()
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	for {
		metrics.Read(live)
		if live[0].Value.Kind() == metrics.KindUint64 {
			c.set(percentFor(live[0].Value.Uint64()))
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// percentFor is the garbage allowed beside live bytes, in percent of them.
func percentFor(live uint64) int {
	return int(min(max(smallestGarbage*100/max(live, 1), leastPercent), mostPercent))
}

// set stops the world for a moment, and is spared where it would change little.
func (c *collector) set(percent int) {
	if d := percent - c.percent; c.off || (-5 < d && d < 5) {
		return
	}
	c.percent = percent
	debug.SetGCPercent(percent)
}
