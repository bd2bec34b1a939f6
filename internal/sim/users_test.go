package sim

import (
	"testing"

	"github.com/stretchr/testify/require"

	"etcd.alt/api/errs"
)

// Seeds with users go one way too, and their users do all that is to be seen of users.
func TestSeedsWithUsers(t *testing.T) {
	var sum summary
	for seed := uint64(4); seed < 8; seed++ {
		require.True(t, hasUsers(seed))
		out, err := RunCluster(seed, nil)
		require.NoError(t, err, "replay with: SIM_SEED=%d go test ./internal/sim -run TestClusterTrace -v", seed)
		if seed < 6 {
			again, err := RunCluster(seed, nil)
			require.NoError(t, err)
			require.Equal(t, out, again, "seed %d went two ways", seed)
		}
		sum.add(out)
	}
	u := sum.total.Users
	t.Logf("%+v", u)
	for _, n := range []int{u.Changes, u.Barred, u.Denied, u.Overtaken, u.Unread, u.Lagging, u.Withdrawn} {
		require.NotZero(t, n, "%+v", u)
	}
}

// A verdict that is not the policy's is found, whichever way it is wrong.
func TestAWrongVerdictIsFound(t *testing.T) {
	c := newCluster(6, nil)
	fromSeed(6, func() { require.NoError(t, c.run()) })
	wrong := map[string]func(op *operation) (err error, of bool){
		"a request that was denied is done": func(op *operation) (error, bool) { return nil, op.denied },
		"a request that was done is denied": func(op *operation) (error, bool) {
			return errs.PermissionDenied, op.answer.err == ""
		},
		"a request that was done is overtaken": func(op *operation) (error, bool) {
			return errs.AuthOldRevision, op.answer.err == ""
		},
		"a request that was denied has found no key": func(op *operation) (error, bool) {
			return errs.KeyNotFound, op.denied
		},
		"a change of users is answered as another would be": func(op *operation) (error, bool) {
			return errs.RoleNotFound, op.ask.kind == administer && op.answer.err == ""
		},
	}
	for name, change := range wrong {
		t.Run(name, func(t *testing.T) {
			found := 0
			for _, op := range c.history {
				if op.outcome != answered || op.ask.kind.reads() || op.client == 0 {
					continue
				}
				if err, of := change(op); of {
					c.err = nil
					c.checkVerdict(c.hosts[0], op, err)
					require.Error(t, c.err, "%v", op.ask)
					found++
				}
			}
			require.NotZero(t, found)
		})
	}
	t.Run("a request stands before what was answered before it", func(t *testing.T) {
		for _, op := range c.history {
			if op.ask.kind == administer && op.answer.err == "" && op.outcome == answered {
				c.err = nil
				late := *op
				late.ruled = c.model.byID[op.id]
				c.checkVerdict(c.hosts[0], &late, nil)
				require.ErrorContains(t, c.err, "answered before")
			}
		}
	})
}
