package mvcc

import (
	"fmt"
	"sync"
	"testing"

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
	var stalled sync.WaitGroup
	may, begun := make(chan struct{}), make(chan struct{})
	for range 3 * cap(view.keyspace.turns) {
		l := list()
		stalled.Go(func() {
			defer l.Close()
			n := 0
			require.NoError(t, l.Each(func([]byte) error {
				if n++; n == 1 {
					begun <- struct{}{}
					<-may
				}
				return nil
			}))
			require.Equal(t, keys, n)
		})
		<-begun
	}
	for range 2 * cap(view.keyspace.turns) {
		l := list()
		n := 0
		require.NoError(t, l.Each(func([]byte) error { n++; return nil }))
		require.Equal(t, keys, n)
		l.Close()
	}
	close(may)
	stalled.Wait()

	l := list()
	defer l.Close()
	loaded := 0
	p := portion{most: firstPortion, load: func(part []found) error {
		loaded += len(part)
		return view.keyspace.loadInTurn(part)
	}}
	stop := fmt.Errorf("nobody takes it")
	p.fn = func([]byte) error { return stop }
	require.ErrorIs(t, l.walk(p.add), stop)
	require.LessOrEqual(t, loaded, firstPortion/size+1)
}
