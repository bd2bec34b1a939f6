package server

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"etcd.alt/api/authpb"
	pb "etcd.alt/api/etcdserverpb"
)

// Users and roles lie in the memory of every member: what they take is bounded, and lists
// of them can be answered.
func TestUsersAndRolesTakeBoundedMemory(t *testing.T) {
	c := authConfig(t)
	c.QuotaBytes = 1 << 20
	m := start(t, c)
	defer func() { m.Close() }()
	anon := somebody{t, dial(t, m), ""}
	heap := func() int64 {
		var s runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&s)
		return int64(s.HeapAlloc)
	}
	refused, before := 0, heap()
	for i := range 200 {
		if _, err := ask[pb.AuthRoleAddResponse](anon, "Auth/RoleAdd", &pb.AuthRoleAddRequest{Name: fmt.Sprint(i, strings.Repeat("x", 1_400_000))}); err != nil {
			refused++
		}
	}
	_, err := ask[pb.AuthRoleListResponse](anon, "Auth/RoleList", &pb.AuthRoleListRequest{})
	if err != nil {
		t.Errorf("RoleList: %.200s", err)
	}
	require.NoError(t, m.Close())
	anon.conn.Close()
	m = start(t, c)
	if grown := heap() - before; grown > 64<<20 {
		t.Errorf("after a restart there are %d MiB of names in memory; %d of 200 were refused", grown>>20, refused)
	}
}

// What roles may do lies in the memory of every member, and is bounded.
func TestPermissionsTakeBoundedMemory(t *testing.T) {
	anon := somebody{t, dial(t, start(t, authConfig(t))), ""}
	anon.addRole("r")
	taken := 0
	for i := range 60 {
		p := permission(authpb.Permission_READ, fmt.Sprint(i, strings.Repeat("x", 1_000_000)), "")
		_, err := ask[pb.AuthRoleGrantPermissionResponse](anon, "Auth/RoleGrantPermission", &pb.AuthRoleGrantPermissionRequest{Name: "r", Perm: p})
		if err != nil {
			require.ErrorContains(t, err, "database space exceeded")
			break
		}
		taken++
	}
	require.Less(t, taken, 40)
	require.Greater(t, taken, 10)
	must[pb.AuthRoleDeleteResponse](anon, "Auth/RoleDelete", &pb.AuthRoleDeleteRequest{Role: "r"})
	anon.addRole("r", permission(authpb.Permission_READ, "k", ""))
}
