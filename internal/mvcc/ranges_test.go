package mvcc

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRangesAgainstAList(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		var set, copied Ranges
		type span struct{ key, end []byte }
		var list []span
		key := func() []byte { return fmt.Appendf(nil, "%02d", r.IntN(60)) }
		for range r.IntN(40) {
			s := span{key: key()}
			switch r.IntN(12) {
			case 0:
				s.end = []byte{0}
				s.key = []byte("55")
			case 1, 2, 3, 4:
				s.end = key()
			}
			list = append(list, s)
			set.Add(s.key, s.end)
		}
		copied.AddAll(&set)
		for i := range 60 {
			k := fmt.Appendf(nil, "%02d", i)
			want := false
			for _, s := range list {
				want = want || covers(s.key, s.end, k)
			}
			require.Equal(t, want, set.Has(k), "%s in %q", k, list)
			require.Equal(t, want, copied.Has(k))
		}
	}
}

// covers says whether the range of a request holds name.
func covers(key, end, name []byte) bool {
	s := newSpan(key, end)
	if !s.ranged {
		return s.lo == view(name)
	}
	return s.lo <= view(name) && (s.open || view(name) < s.hi)
}
