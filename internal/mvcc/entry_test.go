package mvcc

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"etcd.alt/internal/store"
)

// The bytes on disk do not change.
func TestGoldenEntry(t *testing.T) {
	rev := store.Revision{Main: 7, Sub: 2}
	v := newVersion(rev, 5, 300, 0)
	v.size = 128
	require.Equal(t, "\x00\x05\xac\x02\x80\x01key", string(appendEntry(nil, "key", v)))
	require.Equal(t, "key", string(appendEntry(nil, "key", newVersion(rev, 0, 0, 0))))
}

func TestEntriesComeBack(t *testing.T) {
	for _, lease := range []int64{0, 1, math.MaxInt64, -1} {
		rev := store.Revision{Main: math.MaxInt64, Sub: 1 << 20}
		v := newVersion(rev, math.MaxInt64, math.MaxInt64, lease)
		v.size = math.MaxUint32
		key, back, err := decodeEntry(appendEntry(nil, "some key", v), rev, false)
		require.NoError(t, err)
		require.Equal(t, "some key", string(key))
		require.Equal(t, v.revision(), back.revision())
		require.Equal(t, []int64{v.create, v.count, v.lease(), int64(v.size)}, []int64{back.create, back.count, back.lease(), int64(back.size)})
		key, back, err = decodeEntry([]byte("k"), rev, true)
		require.NoError(t, err)
		require.Equal(t, "k", string(key))
		require.False(t, back.live())
	}
}

func FuzzEntry(f *testing.F) {
	f.Add([]byte("\x00\x05\xac\x02\x80\x01key"))
	f.Add([]byte{0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		rev := store.Revision{Main: 9}
		key, v, err := decodeEntry(b, rev, false)
		if err != nil {
			return
		}
		again, w, err := decodeEntry(appendEntry(nil, string(key), v), rev, false)
		require.NoError(t, err)
		require.Equal(t, key, again)
		require.Equal(t, v.size, w.size)
		require.Equal(t, v.lease(), w.lease())
	})
}
