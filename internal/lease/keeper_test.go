package lease

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func viewOf(leases ...Lease) *View {
	s := newState()
	for _, l := range leases {
		s.leases.Set(l.ID, l)
	}
	v, _ := s.Publish()
	return v
}

func promoted(p Pace, leases ...Lease) *Keeper {
	k := NewKeeper(p)
	k.Promote(1, viewOf(leases...), 0)
	return k
}

func noKeys(int64) int { return 0 }

func gone(ids ...int64) (changes []Change) {
	for _, id := range ids {
		changes = append(changes, Change{Lease{ID: id}, Revoked})
	}
	return changes
}

// Who takes over gives each lease what is left of it by the log, and the time that
// this took.
func TestAPromotion(t *testing.T) {
	k := promoted(Pace{Extension: time.Second}, Lease{1, 100, 0}, Lease{2, 100, 40}, Lease{3, 2, 0})
	left := func(id int64, now time.Duration) time.Duration {
		d, ok := k.Left(id, now)
		require.True(t, ok)
		return d
	}
	require.Equal(t, 101*time.Second, left(1, 0))
	require.Equal(t, 31*time.Second, left(2, 10*time.Second))
	require.Equal(t, time.Duration(0), left(3, 10*time.Second))
	_, ok := k.Left(4, 0)
	require.False(t, ok)
	k.Demote()
	require.Zero(t, k.Term())
	_, ok = k.Left(1, 0)
	require.False(t, ok)
	_, came, _ := k.Renew(1, 0)
	require.Equal(t, Unknown, came)
	require.Zero(t, k.Look(time.Hour, noKeys))
	k.Apply([]Change{{Lease{5, 10, 0}, Granted}}, 0)
	require.Zero(t, k.Len(), "who does not lead keeps nothing")
}

// A lease ends when its time is over, is given out once, and is gone when that was
// applied.
func TestAnEnd(t *testing.T) {
	k := promoted(Pace{})
	k.Apply([]Change{{Lease{1, 2, 0}, Granted}, {Lease{2, 2, 0}, Granted}}, time.Second)
	k.Apply([]Change{{Lease{1, 2, 0}, Granted}}, 2*time.Second) // told twice
	k.Sure(2 * time.Second)
	ttl, came, _ := k.Renew(2, 2*time.Second)
	require.Equal(t, Renewed, came)
	require.EqualValues(t, 2, ttl)
	require.Empty(t, k.Look(3*time.Second-1, noKeys).Revoke)
	require.Equal(t, []int64{1}, k.Look(3*time.Second, noKeys).Revoke)
	require.Empty(t, k.Look(3*time.Second, noKeys).Revoke)
	_, came, _ = k.Renew(1, 3*time.Second)
	require.Equal(t, Ended, came)
	k.Retry(1, 3*time.Second)
	_, came, _ = k.Renew(1, 3*time.Second)
	require.Equal(t, Ended, came, "it is not brought back to life")
	require.Empty(t, k.Look(3*time.Second, noKeys).Revoke)
	require.Equal(t, []int64{1, 2}, k.Look(4*time.Second, noKeys).Revoke)
	k.Apply(gone(1, 1), 4*time.Second)
	_, came, _ = k.Renew(1, 4*time.Second)
	require.Equal(t, Unknown, came)
	k.Retry(1, 4*time.Second)
	require.Equal(t, 1, k.Len())
	// One that has ended, and that nobody has looked at yet.
	k.Apply([]Change{{Lease{3, 5, 0}, Granted}}, 4*time.Second)
	_, came, _ = k.Renew(3, 9*time.Second)
	require.Equal(t, Ended, came)
}

// What is given out at a time is bounded, by leases and by their keys; one with
// more keys than that goes alone.
func TestEndsArePaced(t *testing.T) {
	var all []Lease
	for id := range int64(1000) {
		all = append(all, Lease{id + 1, 2, 0})
	}
	k := NewKeeper(Pace{Revokes: 100, Looks: 60})
	k.Promote(1, viewOf(all[:900]...), 0)
	k.Apply([]Change{{Lease{901, 2, 0}, Granted}}, 0)
	keys := func(id int64) int {
		switch {
		case id > 50:
			return 1
		case id == 50:
			return 1000
		}
		return 0
	}
	now, looks, revoked := 2*time.Second, 0, map[int64]bool{}
	for len(revoked) < 901 {
		due := k.Look(now, keys)
		weight := 0
		for _, id := range due.Revoke {
			require.False(t, revoked[id])
			revoked[id] = true
			weight += 1 + keys(id)
		}
		require.True(t, weight <= 100 || len(due.Revoke) == 1, "%d", weight)
		if len(due.Revoke) == 0 {
			t.Fatal("nothing is given out any more")
		}
		k.Apply(gone(due.Revoke...), now)
		looks++
	}
	require.Less(t, looks, 25)
	require.Zero(t, k.Len())
	require.Zero(t, k.revoking)
}

// Where many leases are piled up when a leader takes over, they end by and by.
func TestAPileIsSpread(t *testing.T) {
	var all []Lease
	for id := range int64(10_000) {
		all = append(all, Lease{id + 1, 10 + id%3, 0})
	}
	k := promoted(Pace{Revokes: 1 << 20, Looks: 1 << 20}, all...)
	total := 0
	for now := time.Duration(0); k.Len() > 0; now += time.Second {
		ended := 0
		for more := true; more; {
			due := k.Look(now, noKeys)
			more = due.More
			for _, id := range due.Revoke {
				require.GreaterOrEqual(t, now, seconds(all[id-1].TTL), "none ends before its time")
			}
			ended += len(due.Revoke)
			k.Apply(gone(due.Revoke...), now)
		}
		require.LessOrEqual(t, ended, spread)
		total += ended
		require.Less(t, now, time.Minute)
	}
	require.Equal(t, 10_000, total)
}

// What is left is written down by and by, so that who leads next is wrong by a
// tenth of the TTL at most, or by two seconds.
func TestCheckpoints(t *testing.T) {
	for _, ttl := range []int64{2, 5, 10, 60, 600, 36000} {
		k := promoted(Pace{})
		k.Apply([]Change{{Lease{1, ttl, 0}, Granted}}, 0)
		told, n := ttl, 0
		const look = 100 * time.Millisecond
		for now := look; now < seconds(ttl); now += look {
			due := k.Look(now, noKeys)
			for _, c := range due.Checkpoint {
				told = c.Remaining
				n++
				k.Apply([]Change{{c, Checkpointed}}, now)
			}
			left := seconds(ttl) - now
			wrong := seconds(told) - left
			require.GreaterOrEqual(t, wrong, time.Duration(0), "nobody ends it too early")
			require.Less(t, wrong, max(seconds(ttl)/10-intervalLag, leastInterval)+look)
		}
		require.LessOrEqual(t, n, int(max(12, ttl/300)))
	}
}

// A lease that is renewed after it was written down is short in the log. Nobody is
// told of the renewal before the log has all of its time.
func TestARenewalClearsWhatWasWrittenDown(t *testing.T) {
	k := promoted(Pace{}, Lease{1, 60, 0}, Lease{2, 60, 30})
	_, came, mark := k.Renew(2, 0)
	require.Equal(t, Short, came, "by a leader before")
	require.True(t, k.Cleared(2, mark))
	_, came, _ = k.Renew(2, 0)
	require.Equal(t, Renewed, came)

	k.Sure(5 * time.Second)
	_, came, _ = k.Renew(1, 5*time.Second)
	require.Equal(t, Renewed, came)
	require.Equal(t, []Lease{{2, 60, 54}}, k.Look(6*time.Second, noKeys).Checkpoint)
	require.Empty(t, k.Look(10500*time.Millisecond-1, noKeys).Checkpoint, "the time begins with the renewal")
	require.Equal(t, []Lease{{1, 60, 54}}, k.Look(11*time.Second, noKeys).Checkpoint)
	// It is on its way; who renews now cannot know whether it comes.
	k.Sure(12 * time.Second)
	_, came, first := k.Renew(1, 12*time.Second)
	require.Equal(t, Short, came)
	k.Apply([]Change{{Lease{1, 60, 54}, Checkpointed}}, 12*time.Second)
	require.False(t, k.Cleared(1, first), "not known to be the last word in the log")
	_, came, second := k.Renew(1, 12*time.Second)
	require.Equal(t, Short, came)
	for _, c := range k.Look(18*time.Second, noKeys).Checkpoint {
		require.NotEqual(t, int64(1), c.ID, "the log says no more than there is")
	}
	require.Contains(t, k.Look(24*time.Second, noKeys).Checkpoint, Lease{1, 60, 48}, "while the answer is awaited")
	require.False(t, k.Cleared(1, second))
	k.Sure(24 * time.Second)
	_, _, third := k.Renew(1, 24*time.Second)
	k.Apply([]Change{{Lease{1, 60, 0}, Checkpointed}}, 24*time.Second)
	require.True(t, k.Cleared(1, third))
	_, came, _ = k.Renew(1, 24*time.Second)
	require.Equal(t, Renewed, came)
	require.False(t, k.Cleared(9, 0))

	// Nobody has waited for the answer, and the log has all of the time again: that is
	// written down as if somebody had.
	k = promoted(Pace{}, Lease{1, 60, 9})
	_, came, _ = k.Renew(1, 0)
	require.Equal(t, Short, came)
	require.Empty(t, k.Look(5500*time.Millisecond, noKeys).Checkpoint)
	k.Apply([]Change{{Lease{1, 60, 0}, Checkpointed}}, 5500*time.Millisecond)
	require.Equal(t, []Lease{{1, 60, 55}}, k.Look(5500*time.Millisecond, noKeys).Checkpoint)
}

// A lease that ends before it could have its turn to be written down takes nobody
// else's.
func TestShortLeasesLeaveTheTurnsToOthers(t *testing.T) {
	k := NewKeeper(Pace{Checkpoints: 10})
	k.Promote(1, viewOf(), 0)
	for id := range int64(1000) {
		k.Apply([]Change{{Lease{id + 1, 2, 0}, Granted}}, 0)
	}
	k.Apply([]Change{{Lease{5000, 60, 0}, Granted}}, 0)
	var written []Lease
	for now := time.Duration(0); now < 7*time.Second; now += 100 * time.Millisecond {
		due := k.Look(now, noKeys)
		written = append(written, due.Checkpoint...)
		k.Apply(gone(due.Revoke...), now)
	}
	require.Contains(t, written, Lease{5000, 60, 55})
}

// What is granted from the leader's first entry on, and before its promotion, is granted
// by itself: it is owed no extension.
func TestWhatIsGrantedBeforeThePromotion(t *testing.T) {
	k := NewKeeper(Pace{Extension: time.Second})
	k.Expect(3)
	require.EqualValues(t, 3, k.Expected())
	require.Zero(t, k.Term())
	k.Apply([]Change{{Lease{1, 10, 0}, Granted}, {Lease{2, 10, 0}, Granted}, {Lease{2, 10, 0}, Revoked}}, time.Second)
	require.Empty(t, k.Look(time.Minute, noKeys).Revoke, "it keeps none yet")
	k.Promote(3, viewOf(Lease{1, 10, 0}, Lease{2, 10, 0}, Lease{3, 10, 0}), 1100*time.Millisecond)
	require.Zero(t, k.Expected())
	for id, end := range map[int64]time.Duration{1: 11 * time.Second, 2: 12100 * time.Millisecond, 3: 12100 * time.Millisecond} {
		left, ok := k.Left(id, 2*time.Second)
		require.True(t, ok)
		require.Equal(t, end-2*time.Second, left, "lease %d", id)
	}
	// Of another term it is of no use.
	k.Expect(4)
	require.Zero(t, k.Len())
	k.Apply([]Change{{Lease{1, 10, 0}, Granted}}, time.Second)
	k.Promote(5, viewOf(Lease{1, 10, 0}), time.Second)
	left, _ := k.Left(1, time.Second)
	require.Equal(t, 11*time.Second, left)
	k.Expect(6)
	k.Demote()
	require.Zero(t, k.Expected())
}

// However many leases there are, only so many are written down in a second, and
// each comes to its turn.
func TestCheckpointsAreBounded(t *testing.T) {
	const n, rate = 20_000, 1000
	k := NewKeeper(Pace{Checkpoints: rate})
	k.Promote(1, viewOf(), 0)
	for id := range int64(n) {
		k.Apply([]Change{{Lease{id + 1, 100, 0}, Granted}}, 0)
	}
	written, seconds := map[int64]bool{}, map[time.Duration]int{}
	for now := time.Duration(0); now < 40*time.Second; now += 100 * time.Millisecond {
		for more := true; more; {
			due := k.Look(now, noKeys)
			more = due.More
			require.LessOrEqual(t, len(due.Checkpoint), MostCheckpoints)
			for _, c := range due.Checkpoint {
				written[c.ID] = true
			}
			seconds[now/time.Second] += len(due.Checkpoint)
		}
	}
	require.Len(t, written, n)
	require.Zero(t, seconds[8])
	for s, did := range seconds {
		require.LessOrEqual(t, did, rate*5/4, "second %d", s)
	}
	require.Greater(t, seconds[20], rate*3/4)
}

// A member that has stood still makes sure that it leads before it renews.
func TestAStandstillIsDoubtful(t *testing.T) {
	k := promoted(Pace{Extension: time.Second}, Lease{1, 60, 0})
	renew := func(now time.Duration) Renewal {
		_, came, _ := k.Renew(1, now)
		return came
	}
	require.Equal(t, Renewed, renew(time.Second))
	require.Equal(t, Doubtful, renew(time.Second+1))
	left, _ := k.Left(1, time.Second+1)
	require.Less(t, left, time.Minute, "it is not renewed")
	k.Sure(time.Second + 1)
	require.Equal(t, Renewed, renew(time.Second+1))
	k.Look(2*time.Second, noKeys)
	require.NotEqual(t, Doubtful, renew(3*time.Second))
	require.Equal(t, Doubtful, renew(4*time.Second))
	k.Look(4*time.Second, noKeys)
	require.Equal(t, Doubtful, renew(4*time.Second), "a look proves nothing")
	require.Equal(t, Ended, renew(2*time.Minute))
}

// A random life of many leases, against a plain list of their ends.
func TestKeeperAgainstAModel(t *testing.T) {
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 2))
		k := promoted(Pace{Revokes: 3, Looks: 5})
		ends, out, id := map[int64]time.Duration{}, map[int64]bool{}, int64(0)
		ttl := map[int64]int64{}
		for now := time.Duration(0); now < 10*time.Minute; now += time.Duration(rng.IntN(300)) * time.Millisecond {
			switch n := rng.IntN(10); {
			case n < 4:
				id++
				ttl[id] = rng.Int64N(60) + 2
				k.Apply([]Change{{Lease{id, ttl[id], 0}, Granted}}, now)
				ends[id] = now + seconds(ttl[id])
			case n < 7 && id > 0:
				one := rng.Int64N(id) + 1
				k.Sure(now)
				_, came, _ := k.Renew(one, now)
				end, there := ends[one]
				switch {
				case !there:
					require.Equal(t, Unknown, came)
				case out[one] || now >= end:
					require.Equal(t, Ended, came)
				default:
					require.Contains(t, []Renewal{Renewed, Short}, came)
					ends[one] = now + seconds(ttl[one])
				}
			case n < 9:
				for one := range out {
					if rng.IntN(4) == 0 {
						k.Retry(one, now)
					} else {
						k.Apply(gone(one), now)
						delete(ends, one)
					}
					delete(out, one)
				}
			}
			for _, one := range k.Look(now, noKeys).Revoke {
				require.False(t, out[one])
				require.GreaterOrEqual(t, now, ends[one])
				out[one] = true
			}
			require.LessOrEqual(t, len(out), 3)
			require.Equal(t, len(ends), k.Len())
		}
		// In the end all go.
		for now := 20 * time.Minute; len(ends) > 0; now += time.Second {
			due := k.Look(now, noKeys)
			for one := range out {
				due.Revoke = append(due.Revoke, one)
			}
			clear(out)
			k.Apply(gone(due.Revoke...), now)
			for _, one := range due.Revoke {
				delete(ends, one)
			}
			require.Less(t, now, 40*time.Minute)
		}
	}
}
