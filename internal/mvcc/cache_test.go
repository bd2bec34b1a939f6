package mvcc

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCacheKeepsToItsBudgetAndPrefersTheUsed(t *testing.T) {
	const size = 100
	c := newCache(10 * (size + valueOverhead))
	hot := &version{main: 1}
	c.put(hot, make([]byte, size))
	for i := range 1000 {
		require.NotNil(t, c.get(hot), "the used one stays, round %d", i)
		c.put(&version{main: int64(i)}, make([]byte, size))
		require.LessOrEqual(t, c.bytes(), c.budget)
	}
	cold := &version{}
	c.put(cold, make([]byte, size))
	for range 12 {
		c.put(&version{}, make([]byte, size))
	}
	require.Nil(t, c.get(cold))
	c.put(cold, make([]byte, 11*size*2))
	require.Nil(t, c.get(cold), "larger than the whole budget")
}

func TestCacheUnderReadersAndFillers(t *testing.T) {
	c := newCache(64 << 10)
	versions := make([]*version, 2000)
	for i := range versions {
		versions[i] = &version{main: int64(i)}
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 20_000 {
				v := versions[(i*7+g*131)%len(versions)]
				if kv := c.get(v); kv != nil {
					if len(kv) != 100+int(v.main)%50 {
						t.Error("a value of another version")
						return
					}
					continue
				}
				c.put(v, make([]byte, 100+int(v.main)%50))
			}
		})
	}
	wg.Wait()
	require.LessOrEqual(t, c.bytes(), c.budget)
}
