package password

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What is comparable can be compared. Go's base64 passes over line ends, so that this
// salt is empty, which is none.
func TestHashWithoutASaltDoesNotPanic(t *testing.T) {
	k := New(Options{Cost: MinCost})
	defer k.Close()
	hash := []byte("$2a$04$" + strings.Repeat("\n", 22) + strings.Repeat("a", 31))
	require.NotPanics(t, func() {
		if !k.Comparable(hash) {
			return // refused before it is stored: good
		}
		same, err := k.Compare(t.Context(), "u", "a", func() ([]byte, error) { return hash, nil }, "x")
		require.NoError(t, err)
		require.False(t, same)
	})
}

// A hash that cannot be read takes as long as one of a user.
func TestHashWithABadSaltTakesItsTime(t *testing.T) {
	k := New(Options{Cost: 8, Share: 100})
	defer k.Close()
	took := func(hash []byte) time.Duration {
		from := time.Now()
		_, err := k.Compare(t.Context(), "u", "a", func() ([]byte, error) { return hash, nil }, "x")
		require.NoError(t, err)
		return time.Since(from)
	}
	unknown := took(nil)
	bad := []byte("$2a$08$" + strings.Repeat("!", 22) + strings.Repeat("a", 31))
	if !k.Comparable(bad) {
		bad = nil
	}
	require.Greater(t, took(bad), unknown/4, "an unknown user takes %v", unknown)
}

// Logins that fail because there is no leader wait, and compute nothing. Who logs in
// when there is a leader again must not pay for that.
func TestWaitingLookupsAreNoComputing(t *testing.T) {
	k := New(Options{Cost: MinCost, Share: 0.1, Parallel: 1})
	defer k.Close()
	noLeader := errors.New("no leader")
	for range 3 { // the service's patience is one second each
		_, err := k.Compare(t.Context(), "u", "a", func() ([]byte, error) {
			time.Sleep(time.Second)
			return nil, noLeader
		}, "x")
		require.ErrorIs(t, err, noLeader)
	}
	from := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := k.Compare(ctx, "u", "a", func() ([]byte, error) { return nil, nil }, "x")
	took := time.Since(from)
	require.NoError(t, err, "after %v", took)
	require.Less(t, took, time.Second)
}

// A run ends with its context, also while it waits for what it owes.
func TestPauseEndsWithItsContext(t *testing.T) {
	k := New(Options{Cost: MinCost, Share: 0.1, Parallel: 1})
	defer k.Close()
	k.charge(2 * time.Second) // owed
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	from := time.Now()
	_, _ = k.Compare(ctx, "u", "a", func() ([]byte, error) { return nil, nil }, "x")
	require.Less(t, time.Since(from), time.Second)
}
