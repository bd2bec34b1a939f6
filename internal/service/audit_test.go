package service

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	pb "etcd.alt/api/etcdserverpb"
	"etcd.alt/api/lockpb"
	"etcd.alt/internal/audit"
)

// A stranger's Authenticate has a line whose size is his choice: what waits for the
// disk is bounded in number alone.
func TestARecordIsBounded(t *testing.T) {
	var r audit.Record
	describe(&r, &pb.AuthenticateRequest{Name: strings.Repeat("n", 1_500_000)})
	size := 0
	for _, n := range r.Names {
		size += len(n)
	}
	require.LessOrEqual(t, size, 64<<10, "8,192 of these may wait in memory")
}

// A lock is on keys, and its record says on which.
func TestLocksHaveTheirKeys(t *testing.T) {
	var r audit.Record
	describe(&r, &lockpb.LockRequest{Name: []byte("mine")})
	require.NotEmpty(t, r.Keys)
}
