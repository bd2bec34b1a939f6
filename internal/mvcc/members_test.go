package mvcc

import (
	"fmt"
	"math/rand/v2"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"etcd.alt/api/etcdserverpb"
	"etcd.alt/internal/sim/disk"
	"etcd.alt/internal/store"
)

type mem struct {
	s  *store.Store
	u  *Update
	fs *disk.FS
}

func dump(m map[string]string) string {
	var ks []string
	for k, v := range m {
		ks = append(ks, k+"="+v)
	}
	sort.Strings(ks)
	return strings.Join(ks, ",")
}

// Two members of one history agree on everything at every moment, though one sweeps
// at once and the other late, and is loaded from its store again and again; and both
// agree with a map.
func TestTwoMembersOfOneHistory(t *testing.T) {
	for seed := range uint64(6) {
		r := rand.New(rand.NewPCG(seed, 77))
		long := func() string {
			if seed%4 == 3 && r.IntN(3) == 0 {
				return strings.Repeat("x", r.IntN(9000))
			}
			return ""
		}
		pad := map[int]string{}
		key := func(i int) []byte {
			if _, ok := pad[i]; !ok {
				pad[i] = long()
			}
			return fmt.Appendf(nil, "k%04d%s", i, pad[i])
		}
		var a, b mem
		for _, x := range []*mem{&a, &b} {
			x.fs = disk.New()
			x.s = open(t, x.fs)
			u, err := Load(x.s, 1, 1<<14)
			require.NoError(t, err)
			u.epochs.kept = 2
			x.u = u
		}
		cur := map[string]string{}
		hist := map[int64]map[string]string{1: {}}
		n := 50 + r.IntN(400)
		for round := range 60 {
			batch := 1 + r.IntN(30)
			for range batch {
				ops := r.IntN(4)
				var log []func(u *Update)
				for range ops {
					k := r.IntN(n)
					switch r.IntN(5) {
					case 0:
						log = append(log, func(u *Update) { _, _, err := u.DeleteRange(key(k), nil, false); require.NoError(t, err) })
						delete(cur, string(key(k)))
					case 1:
						lo, hi := key(k), key(min(k+r.IntN(n/3+1), n-1))
						log = append(log, func(u *Update) { _, _, err := u.DeleteRange(lo, hi, false); require.NoError(t, err) })
						for x := range cur {
							if x >= string(lo) && x < string(hi) {
								delete(cur, x)
							}
						}
					default:
						v := fmt.Sprint(seed, round, k, r.IntN(100))
						lease := int64(r.IntN(2))
						log = append(log, func(u *Update) { u.Put(key(k), []byte(v), lease) })
						cur[string(key(k))] = v
					}
				}
				for _, f := range log {
					f(a.u)
					f(b.u)
				}
				ra, rb := a.u.End(), b.u.End()
				require.Equal(t, ra, rb)
				c := map[string]string{}
				for k, v := range cur {
					c[k] = v
				}
				hist[ra] = c
				if r.IntN(40) == 0 {
					at := a.u.Revision() - r.Int64N(20)
					ea, eb := a.u.Compact(at), b.u.Compact(at)
					require.Equal(t, ea, eb)
				}
			}
			va, vb := commit(t, a.s, a.u), commit(t, b.s, b.u)
			require.Equal(t, va.InUse, vb.InUse)
			require.Equal(t, va.Compacted, vb.Compacted)
			check(t, va.tree)
			check(t, vb.tree)
			// a sweeps a lot, b little
			for _, x := range []*mem{&a, &b} {
				steps := 200
				if x == &b {
					steps = r.IntN(6)
				}
				for range steps {
					bt := x.s.NewBatch()
					_, err := x.u.Sweep(bt, 1+r.IntN(30))
					require.NoError(t, err)
					require.NoError(t, bt.Commit())
				}
			}
			if r.IntN(6) == 0 {
				require.NoError(t, b.s.Close())
				b.s = open(t, b.fs)
				u, err := Load(b.s, b.u.Revision(), 1<<14)
				require.NoError(t, err)
				u.epochs.kept = 3
				b.u = u
			}
			va, vb = a.u.Publish(), b.u.Publish()
			check(t, va.tree)
			check(t, vb.tree)
			require.Equal(t, va.InUse, vb.InUse)
			ha, err := va.Hash(0)
			require.NoError(t, err)
			hb, err := vb.Hash(0)
			require.NoError(t, err)
			require.Equal(t, ha, hb)
			for rev := max(va.Compacted, 1); rev <= va.Revision; rev += 1 + r.Int64N(5) {
				for _, v := range []*View{va, vb} {
					got := map[string]string{}
					res, err := v.Range(everything(rev))
					require.NoError(t, err)
					for _, kv := range res.KVs {
						d, err := decodeKeyValue(kv)
						require.NoError(t, err)
						got[string(d.key)] = string(d.value)
					}
					require.Equal(t, dump(hist[rev]), dump(got), "seed %d rev %d", seed, rev)
					lo, hi := key(r.IntN(n)), key(r.IntN(n))
					want := 0
					for k := range hist[rev] {
						if k >= string(lo) && k < string(hi) {
							want++
						}
					}
					res, err = v.Range(&etcdserverpb.RangeRequest{Key: lo, RangeEnd: hi, Revision: rev, CountOnly: true})
					require.NoError(t, err)
					require.EqualValues(t, want, res.Count)
					res, err = v.Range(&etcdserverpb.RangeRequest{Key: lo, RangeEnd: hi, Revision: rev, Limit: 3})
					require.NoError(t, err)
					require.EqualValues(t, want, res.Count)
				}
			}
		}
		a.s.Close()
		b.s.Close()
	}
}
