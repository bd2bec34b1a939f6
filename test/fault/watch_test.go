package fault

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"etcd.alt/test/fault/history"
	"etcd.alt/test/fault/outside"
)

// follower watches all keys for an epoch, at one member or at whichever the client
// library takes.
type follower struct {
	name string
	mu   struct {
		sync.Mutex
		told  []outside.Event
		ended error
	}
}

// follow has followers watch from a revision on, until ctx ends.
func (r *run) follow(ctx context.Context, from int64, routines *sync.WaitGroup) {
	one := r.epochs % size // at a member; the other is anywhere
	r.followers = []*follower{{name: "a watch at " + name(one)}, {name: "a watch anywhere"}}
	for i, at := range []int{one, size} {
		f := r.followers[i]
		routines.Go(func() { r.c.asks[at].watch(ctx, from, f.take) })
	}
}

// take takes down what a watch tells.
func (f *follower) take(events []outside.Event, err error) {
	for i := range events {
		e := &events[i]
		e.Change.Value, _, _ = strings.Cut(e.Change.Value, " ")
		e.Before, _, _ = strings.Cut(e.Before, " ")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.told = append(f.mu.told, events...)
	if err != nil {
		f.mu.ended = err
	}
}

// reached says whether the follower was told of a revision, or will be told nothing
// any more.
func (f *follower) reached(revision int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.ended != nil || len(f.mu.told) > 0 && f.mu.told[len(f.mu.told)-1].Revision >= revision
}

// followed judges the followers: each was told what every revision has changed, once
// and in order, and what was there before.
func (r *run) followed(from, to int64) {
	t := r.c.t
	t.Helper()
	if to == from {
		return
	}
	for _, f := range r.followers {
		require.Eventually(t, func() bool { return f.reached(to) }, time.Minute, 10*time.Millisecond, "%s has not come to revision %d", f.name, to)
		f.mu.Lock()
		all, ended := f.mu.told, f.mu.ended
		f.mu.Unlock()
		require.NoError(t, ended, f.name)
		now := map[string]history.KV{}
		for _, kv := range r.ledger.List("", from) {
			now[kv.Key] = kv
		}
		next := from + 1
		for _, e := range all {
			if e.Revision > to {
				break
			}
			at := fmt.Sprintf("%s: epoch %d, revision %d", f.name, r.epochs, e.Revision)
			require.Equal(t, next, e.Revision, at)
			require.Equal(t, r.ledger.At(e.Revision), e.Change, at)
			before, had := now[e.Change.Key]
			require.Equal(t, had, e.Had, "%s: whether there was something before", at)
			require.Equal(t, before.Value, e.Before, "%s: what was there before", at)
			if e.Change.Deleted {
				delete(now, e.Change.Key)
			} else {
				kv := history.KV{Key: e.Change.Key, Value: e.Change.Value, Create: e.Revision}
				if had {
					kv.Create = before.Create
				}
				require.Equal(t, kv.Create, e.Created, "%s: when it was created", at)
				now[kv.Key] = kv
			}
			next++
		}
		require.Equal(t, to+1, next, f.name)
		r.told += len(all)
	}
}
