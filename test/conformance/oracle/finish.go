package oracle

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

const (
	finalHashes      = 20
	finalCompactions = 3
	betweenFinal     = 60 // operations
)

// Finish ends a walk with what must hold of the whole: all keys at revisions
// spread over what is left of history, hashes there too, and the same after
// each of some compactions.
func (g *Generator) Finish(do func(Operation) error) error {
	g.waits = true
	for g.sweeping > 0 || len(g.queue) > 0 {
		if err := do(g.Next()); err != nil {
			return err
		}
	}
	if err := g.survey(do); err != nil {
		return err
	}
	if !g.can.compact {
		return nil
	}
	for range finalCompactions {
		for i := 0; i < betweenFinal || g.state.revision <= g.state.compacted; i++ {
			if err := do(g.Next()); err != nil {
				return err
			}
		}
		g.queue = nil // of a compaction, perhaps, which would come after ours
		low := max(1, g.state.compacted+1)
		at := low + g.rng.Int64N(g.state.revision-low+1)
		ops := []Operation{{&pb.CompactionRequest{Revision: at, Physical: true}}}
		if g.can.hashKV {
			ops = []Operation{{&pb.HashKVRequest{Revision: at}}, ops[0], {&pb.HashKVRequest{Revision: at}}}
		}
		for _, op := range ops {
			if err := do(op); err != nil {
				return err
			}
		}
		if err := g.survey(do); err != nil {
			return err
		}
	}
	return nil
}

// survey looks at revisions spread from just above the compaction to now.
func (g *Generator) survey(do func(Operation) error) error {
	low, now := max(1, g.state.compacted+1), g.state.revision
	if low > now {
		low = now
	}
	for i := range int64(finalHashes) {
		at := low + (now-low)*i/(finalHashes-1)
		if err := do(Operation{&pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Revision: at}}); err != nil {
			return err
		}
		if !g.can.hashKV || at <= g.state.compacted {
			continue
		}
		if err := do(Operation{&pb.HashKVRequest{Revision: at}}); err != nil {
			return err
		}
	}
	return nil
}
