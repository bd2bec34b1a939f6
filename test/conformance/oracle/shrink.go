package oracle

import (
	"errors"
	"slices"
	"time"
)

// shrinkWithin bounds the time spent on a shorter history.
const shrinkWithin = 90 * time.Second

// Shrink looks for a short history that still ends in a mismatch, on fresh
// members for each attempt. It returns the best it found in time.
func Shrink(c Config, found *Mismatch) *Mismatch {
	best := found
	deadline := time.Now().Add(shrinkWithin)
	try := func(ops []Operation) bool {
		if time.Now().After(deadline) {
			return false
		}
		m := replay(c, ops)
		if m == nil || len(m.History) >= len(best.History) {
			return false
		}
		best = m
		return true
	}
	last := len(found.History) - 1
	writes := slices.DeleteFunc(slices.Clone(found.History[:last]), Operation.readsOnly)
	try(append(writes, found.History[last]))
	for chunk := (len(best.History) + 1) / 2; chunk > 0 && time.Now().Before(deadline); {
		if !dropChunks(chunk, &best, try) {
			chunk /= 2
		}
	}
	return best
}

// dropChunks tries to leave out each run of chunk operations, the last one
// never, and says whether any could go.
func dropChunks(chunk int, best **Mismatch, try func([]Operation) bool) bool {
	any := false
	for to := len((*best).History) - 1; to > 0; to -= chunk {
		history := (*best).History
		to = min(to, len(history)-1)
		from := max(0, to-chunk)
		any = try(append(slices.Clone(history[:from]), history[to:]...)) || any
	}
	return any
}

// replay does operations on fresh members and returns the mismatch they end in;
// nil if there is none.
func replay(c Config, ops []Operation) *Mismatch {
	p, err := newPair(c)
	if err != nil {
		return nil
	}
	defer p.close()
	for _, op := range ops {
		_, _, err := p.step(op)
		var m *Mismatch
		if errors.As(err, &m) {
			return m
		}
	}
	return nil
}
