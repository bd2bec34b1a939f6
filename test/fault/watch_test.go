package fault

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"etcd.alt/client"
	"etcd.alt/test/fault/history"
)

// follower watches all keys for an epoch, at one member or at whichever the client
// library takes.
type follower struct {
	name string
	mu   struct {
		sync.Mutex
		told  []told
		ended error
	}
}

// told is an event.
type told struct {
	revision  int64
	change    history.Change
	had       bool // there was something before
	before    string
	createdAt int64
}

// follow has followers watch from a revision on, until ctx ends.
func (r *run) follow(ctx context.Context, from int64, routines *sync.WaitGroup) {
	r.followers = nil
	for i, c := range append(r.c.at[:], r.c.anywhere) {
		f := &follower{name: "a watch anywhere"}
		if i < size {
			f.name = "a watch at " + name(i)
		}
		if i < size && i != r.epochs%size {
			continue // one at a member will do
		}
		r.followers = append(r.followers, f)
		w := c.Watch(ctx, "", client.WithFromKey(), client.WithRev(from), client.WithPrevKV())
		routines.Go(func() { f.routineFollow(w) })
	}
}

func (f *follower) routineFollow(w client.WatchChan) {
	for res := range w {
		f.mu.Lock()
		if err := res.Err(); err != nil {
			f.mu.ended = err
		}
		for _, e := range res.Events {
			t := told{revision: e.Kv.ModRevision, createdAt: e.Kv.CreateRevision}
			t.change = history.Change{Key: string(e.Kv.Key), Deleted: e.Type == client.EventDelete}
			if !t.change.Deleted {
				t.change.Value, _, _ = strings.Cut(string(e.Kv.Value), " ")
			}
			if e.PrevKv != nil {
				t.had = true
				t.before, _, _ = strings.Cut(string(e.PrevKv.Value), " ")
			}
			f.mu.told = append(f.mu.told, t)
		}
		f.mu.Unlock()
	}
}

// reached says whether the follower was told of a revision, or will be told nothing
// any more.
func (f *follower) reached(revision int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.ended != nil || len(f.mu.told) > 0 && f.mu.told[len(f.mu.told)-1].revision >= revision
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
			if e.revision > to {
				break
			}
			at := fmt.Sprintf("%s: epoch %d, revision %d", f.name, r.epochs, e.revision)
			require.Equal(t, next, e.revision, at)
			require.Equal(t, r.ledger.At(e.revision), e.change, at)
			before, had := now[e.change.Key]
			require.Equal(t, had, e.had, "%s: whether there was something before", at)
			require.Equal(t, before.Value, e.before, "%s: what was there before", at)
			if e.change.Deleted {
				delete(now, e.change.Key)
			} else {
				kv := history.KV{Key: e.change.Key, Value: e.change.Value, Create: e.revision}
				if had {
					kv.Create = before.Create
				}
				require.Equal(t, kv.Create, e.createdAt, "%s: when it was created", at)
				now[kv.Key] = kv
			}
			next++
		}
		require.Equal(t, to+1, next, f.name)
		r.told += len(all)
	}
}
