package mvcc

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"etcd.alt/internal/sim/disk"
)

// Lists that nobody takes hold little, and keep nobody from reading: each waits with its
// first portion while others, more than may read at a time, are read to the end.
func TestListsThatNobodyTakes(t *testing.T) {
	s := open(t, disk.New())
	defer s.Close()
	u, err := Load(s, 1, 1) // nothing is cached
	require.NoError(t, err)
	const keys, size = 2000, 500
	for i := range keys {
		u.Put(fmt.Appendf(nil, "%05d", i), make([]byte, size), 0)
		u.End()
	}
	view := commit(t, s, u)
	list := func() *Listing {
		l, err := view.List(everything(0), 1<<20)
		require.NoError(t, err)
		require.NoError(t, l.Pin(false))
		return l
	}
	read := func(l *Listing, see func(n int)) error {
		n := 0
		err := l.Each(func([]byte) error {
			n++
			see(n)
			return nil
		})
		if err == nil && n != keys {
			err = fmt.Errorf("%d of %d keys", n, keys)
		}
		l.Close()
		return err
	}
	turns := cap(view.keyspace.turns)
	stalled := make(chan error, 3*turns)
	may, begun := make(chan struct{}), make(chan struct{}, 3*turns)
	for range cap(stalled) {
		l := list()
		go func() {
			stalled <- read(l, func(n int) {
				if n == 1 {
					begun <- struct{}{}
					<-may
				}
			})
		}()
	}
	for range cap(stalled) {
		select {
		case <-begun:
		case err := <-stalled:
			require.NoError(t, err)
		case <-time.After(time.Minute):
			t.Fatal("who is not taken from keeps others from reading")
		}
	}
	require.NoError(t, read(list(), func(int) {}))
	close(may)
	for range cap(stalled) {
		require.NoError(t, <-stalled)
	}

	l := list()
	defer l.Close()
	loaded := 0
	stop := errors.New("nobody takes it")
	p := l.portion(func([]byte) error { return stop })
	inner := p.load
	p.load = func(part []found) error {
		loaded += len(part)
		return inner(part)
	}
	require.ErrorIs(t, l.walk(p.add), stop)
	require.LessOrEqual(t, loaded, firstPortion/size+1)
}

// Where all turns are taken a list waits for one, until its reader has gone; small lists
// need none.
func TestTurnsOfLists(t *testing.T) {
	s := open(t, disk.New())
	defer s.Close()
	u, err := Load(s, 1, 1)
	require.NoError(t, err)
	u.Put([]byte("k"), []byte("v"), 0)
	u.End()
	view := commit(t, s, u)
	for range cap(view.keyspace.turns) {
		view.keyspace.turns <- struct{}{}
	}
	list := func() *Listing {
		l, err := view.List(everything(0), 1<<20)
		require.NoError(t, err)
		t.Cleanup(l.Close)
		return l
	}
	nothing := func([]byte) error { return nil }
	require.NoError(t, list().Each(nothing), "it is not pinned")
	gone := make(chan struct{})
	close(gone)
	l := list()
	require.NoError(t, l.Pin(false))
	l.InTurn(gone, func() { t.Error("there is no turn") })
	require.ErrorIs(t, l.Each(nothing), context.Canceled)

	turned := 0
	l = list()
	require.NoError(t, l.Pin(true))
	l.InTurn(t.Context().Done(), func() { turned++ })
	ended := make(chan error)
	go func() { ended <- l.Each(nothing) }()
	select {
	case err := <-ended:
		t.Fatal("it did not wait for its turn", err)
	case <-time.After(50 * time.Millisecond):
	}
	<-view.keyspace.turns
	require.NoError(t, <-ended)
	require.Equal(t, 1, turned)
}
